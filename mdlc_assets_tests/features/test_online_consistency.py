"""`online_consistency` and the store's freshness, as Dagster runs them on a filled, a late and a wrong store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.features.online_consistency import compare_day, freshness, not_comparable
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.testing import SamplePlatform, sample_platform
from mdlc_assets_tests.conftest import SHIPPED

_DAYS = 10


@pytest.fixture(scope="module")
def platform() -> Iterator[SamplePlatform]:
    with sample_platform(SHIPPED / "payments_fraud" / "defs.yaml") as found:
        days = found.land_samples(days=_DAYS, rows=60)
        for workflow in ("labels", "history"):
            ran = found.run(workflow, days)
            assert ran.success, ran.error
        yield found


def _store(platform: SamplePlatform):  # type: ignore[no-untyped-def]
    return platform.loop.resources["online_store"].store


def _verdict(platform: SamplePlatform, asset: str, check: str) -> tuple[bool, str]:
    """What a check said last."""
    key = dg.AssetCheckKey(dg.AssetKey(["payments_fraud", asset]), check)
    record = platform.loop.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert record.event is not None and record.event.dagster_event is not None
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    return evaluation.passed, evaluation.description or ""


def test_before_there_is_a_store_nothing_is_compared_and_that_is_said(platform: SamplePlatform) -> None:
    day = platform.days(_DAYS)[-1]
    ran = platform.run("online_day", [day])
    assert ran.success, ran.error
    document = platform.document("online_consistency", day)
    assert document["sampled"] == 0 and "there is no online store yet" in document["skipped"]
    lake = platform.loop.resources["lake"]
    assert "no online store" in freshness(platform.declaration, lake, _store(platform)).absent


def test_a_filled_store_has_no_difference(platform: SamplePlatform) -> None:
    filled = platform.run("online_fill")
    assert filled.success, filled.error
    days = platform.days(_DAYS)[-2:]
    ran = platform.run("online_day", days)
    assert ran.success, ran.error
    for day in days:
        document = platform.document("online_consistency", day)
        assert document["sampled"] == document["events"] == 60
        assert set(document["features"]) == set(platform.declaration.features.names())
        assert document["different"] == 0
        assert document["features"]["customer_payments_1d"]["exact"]
    assert _verdict(platform, "online_consistency", "no_difference") == (True, "no difference")
    assert _verdict(platform, "online_features", "fresh") == (True, "has all that the lake has")


def test_one_event_that_the_stream_lost_is_found(platform: SamplePlatform) -> None:
    day, store = platform.days(_DAYS)[-1], _store(platform)
    fill_store(platform.declaration, platform.loop.resources["lake"], store)
    events = platform.table("validated", [day])
    by_customer = events.group_by("customer_id", maintain_order=True)
    twice = by_customer.agg(pl.len(), pl.col("transaction_id").first()).filter(pl.col("len") > 1)
    lost = twice["transaction_id"][0]
    space = OnlineFeatures(platform.declaration, store).space
    assert store.remove(space, [lost]) == 1
    found = compare_day(platform.declaration, platform.loop.resources["lake"], store, day)
    assert found.wrong["customer_payments_1d"].greatest == 1
    assert lost not in found.wrong["customer_payments_1d"].examples, "it counts in its own windows all the same"
    assert "terminal_payments_1d" not in found.wrong, "that window ends a week ago"
    late = freshness(platform.declaration, platform.loop.resources["lake"], store)
    assert late.days_behind == [day]
    ran = platform.run("online_day", [day])
    assert ran.success, "the figures are kept whatever they say"
    assert platform.document("online_consistency", day)["different"] > 0
    passed, text = _verdict(platform, "online_consistency", "no_difference")
    assert not passed and text.startswith(f"{day}: ") and "customer_payments_1d differs for" in text


def test_a_store_that_ends_early_or_lets_go_says_why(platform: SamplePlatform) -> None:
    lifecycle, store = platform.declaration, _store(platform)
    last = platform.days(_DAYS)[-1]
    assert f"ends before {last + timedelta(days=1)}" in not_comparable(lifecycle, store, last + timedelta(days=1))
    assert "no longer in the online store" in not_comparable(lifecycle, store, last - timedelta(days=8))
    assert not_comparable(lifecycle, store, last - timedelta(days=7)) == ""
    found = freshness(lifecycle, platform.loop.resources["lake"], store)
    behind = found.behind_now(datetime(2018, 4, 12, tzinfo=UTC).timestamp())
    assert found.through == last and behind is not None and behind > 86_400
