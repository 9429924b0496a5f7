"""The test kit: it runs a real platform, and it says no where something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.rows import part_rows
from mdlc_assets.testing import SamplePlatform, sample_labels, sample_platform, sample_rows
from mdlc_assets.testing.samples import SampleError
from mdlc_assets_tests.conftest import SHIPPED

_DEFS = SHIPPED / "payments_fraud" / "defs.yaml"


@pytest.fixture(scope="module")
def platform() -> Iterator[SamplePlatform]:
    with sample_platform(_DEFS) as found:
        days = found.land_samples(days=10, rows=40)
        for workflow in ("labels", "history"):
            ran = found.run(workflow, days)
            assert ran.success, ran.error
        yield found


def test_windows_are_what_the_oracle_finds(platform: SamplePlatform) -> None:
    days = platform.days(10)[-3:]
    assert platform.table("features", days)["terminal_fraud_share_7d"].max() > 0, "labels have come by then"
    platform.check_windows(days)


def test_a_wrong_window_is_found(platform: SamplePlatform) -> None:
    day = platform.days(10)[-1]
    table = platform.loop.resources["lake"].table("payments_fraud", "features")
    right = table.read_day(day)
    wrong = pl.col("customer_payments_7d") + pl.when(pl.int_range(pl.len()) == 7).then(1.0).otherwise(0.0)
    table.write_day(day, right.with_columns(wrong.alias("customer_payments_7d")))
    try:
        with pytest.raises(AssertionError, match=r"customer_payments_7d of \d+ is .*, and should be"):
            platform.check_windows([day])
    finally:
        table.write_day(day, right)


def test_a_broken_day_is_stopped(platform: SamplePlatform) -> None:
    day = platform.first_day.replace(day=11)
    platform.land(day, platform.sample(day, rows=10))
    ran = platform.run("history", [day])
    assert not ran.success
    assert "volume" in [check for check, _ in ran.stopped_by]
    assert day not in platform.loop.resources["lake"].table("payments_fraud", "features").days()


def test_samples_keep_the_rules_and_are_the_same_each_time(payments_fraud: LifecycleDeclaration) -> None:
    day = date(2018, 5, 1)
    rows = sample_rows(payments_fraud, day, 200)
    assert rows.equals(sample_rows(payments_fraud, day, 200))
    assert not rows.equals(sample_rows(payments_fraud, day, 200, seed=1))
    raw = rows.with_columns(
        _source_file=pl.lit("a"),
        _source_row=pl.int_range(pl.len(), dtype=pl.Int64),
        _unreadable=pl.lit(None, pl.String),
    )
    assert part_rows(payments_fraud, day, raw).validated.height == 200
    ages = [
        sample_rows(payments_fraud, d, 200).group_by("customer_id").agg(pl.col("account_age_days").unique())
        for d in (day, date(2018, 5, 2))
    ]
    before, after = (dict(age.explode("account_age_days").iter_rows()) for age in ages)
    assert all(after[customer] == before[customer] + 1 for customer in before.keys() & after.keys())
    labels = sample_labels(payments_fraud, rows)
    assert 0 < labels["is_fraud"].mean() < 0.6


def test_rules_that_samples_cannot_keep_are_named(payments_fraud: LifecycleDeclaration) -> None:
    content = payments_fraud.model_dump(mode="json")
    content["quality"]["rows"] = [{"name": "exact", "holds": "amount = 12.34", "reason": "none else"}]
    with pytest.raises(SampleError, match=r"only \d+ keep the rules exact. Mend: land rows of your own"):
        sample_rows(LifecycleDeclaration.model_validate(content), date(2018, 5, 1), 100)
