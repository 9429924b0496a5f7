"""The feature table: the handbook's fifteen on real data, ranges and single days alike, mistakes in words."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
import yaml

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.declared import features_problems
from mdlc_assets.features.table import days_needed, describe_features, feature_table, label_days_needed, sources_of
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.conftest import PAYMENTS, handbook_day


def _world(lifecycle: LifecycleDeclaration, days: int) -> tuple[pl.DataFrame, pl.DataFrame, list[date]]:
    world = Simulator(start=lifecycle.dataset.start, customers=60, terminals=90)
    span = [lifecycle.dataset.start + timedelta(days=i) for i in range(days)]
    return pl.concat(map(world.transactions, span)), pl.concat(map(world.labels, span)), span


def test_a_range_gives_what_its_days_give(payments_fraud: LifecycleDeclaration) -> None:
    events, labels, days = _world(payments_fraud, 45)
    whole = feature_table(payments_fraud, events, labels, days[0], days[-1])
    day = pl.col("event_time").dt.date()
    for some in (days[0], days[8], days[40]):
        needed = events.filter(day.is_in(days_needed(payments_fraud, some, some)))
        label_days = label_days_needed(payments_fraud, some, some)
        ids = events.filter(day.is_in(label_days))["transaction_id"].implode()
        known = labels.filter(pl.col("transaction_id").is_in(ids)) if label_days else None
        assert feature_table(payments_fraud, needed, known, some, some).equals(whole.filter(day == some))


def test_which_days_are_needed(payments_fraud: LifecycleDeclaration) -> None:
    day = date(2018, 6, 30)
    assert days_needed(payments_fraud, day, day)[0] == date(2018, 5, 24)
    assert label_days_needed(payments_fraud, day, day)[-1] == date(2018, 6, 23)
    assert label_days_needed(payments_fraud, date(2018, 4, 3), date(2018, 4, 3)) == []


def test_no_label_is_used_before_it_is_known(payments_fraud: LifecycleDeclaration) -> None:
    events, labels, days = _world(payments_fraud, 20)
    last = days[-1]
    told = feature_table(payments_fraud, events, labels, last, last)
    late = events.filter(pl.col("event_time").dt.date() > last - timedelta(days=7))["transaction_id"].implode()
    lied = labels.with_columns(
        pl.when(pl.col("transaction_id").is_in(late))
        .then(1)
        .otherwise(pl.col("is_fraud"))
        .cast(pl.Int8)
        .alias("is_fraud")
    )
    assert feature_table(payments_fraud, events, lied, last, last).equals(told)


def test_each_feature_says_what_it_is_and_whence(payments_fraud: LifecycleDeclaration) -> None:
    said = describe_features(payments_fraud)
    assert list(said) == payments_fraud.features.names()
    assert "ending 7d before" in said["terminal_fraud_share_30d"]
    assert ("labels", "is_fraud") in sources_of(payments_fraud, "terminal_fraud_share_30d")
    assert sources_of(payments_fraud, "is_night") == [("validated", "event_time")]


def test_a_row_may_set_windowed_features_side_by_side(payments_fraud: LifecycleDeclaration) -> None:
    events, labels, days = _world(payments_fraud, 9)
    family = {"entity": "customer_id", "windows": ["1d", "7d"], "aggregate": {"total": "sum(amount)"}}
    rows = {"share_today": "total_1d / total_7d", "large": "amount > 2 * total_7d / 7"}
    features = type(payments_fraud.features).model_validate({"rows": rows, "windows": [family]})
    lifecycle = payments_fraud.model_copy(update={"features": features})
    assert features_problems(lifecycle) == []
    table = feature_table(lifecycle, events, labels, days[-1], days[-1])
    assert table.columns[-4:] == ["share_today", "large", "total_1d", "total_7d"]
    assert table["share_today"].equals((table["total_1d"] / table["total_7d"]).alias("share_today"))
    assert sources_of(lifecycle, "share_today") == [
        ("validated", "customer_id"),
        ("validated", "event_time"),
        ("validated", "amount"),
    ]


def test_a_label_that_came_later_than_declared_never_counts(payments_fraud: LifecycleDeclaration) -> None:
    events, labels, days = _world(payments_fraud, 45)
    last = days[-1]
    told = feature_table(payments_fraud, events, labels, last, last)
    assert told["terminal_fraud_share_30d"].max() > 0  # type: ignore[operator]
    late = labels.with_columns(pl.col("known_at") + timedelta(days=1))
    never = feature_table(payments_fraud, events, late, last, last)
    assert never["terminal_fraud_share_30d"].max() == 0
    same_day = labels.with_columns(pl.col("known_at").dt.truncate("1d") + timedelta(hours=23))
    assert feature_table(payments_fraud, events, same_day, last, last).equals(told)


def test_the_example_in_the_docs_works(payments_fraud: LifecycleDeclaration) -> None:
    page = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
    declared = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["features"]
    features = type(payments_fraud.features).model_validate(declared)
    lifecycle = payments_fraud.model_copy(update={"features": features})
    assert features_problems(lifecycle) == []
    events, labels, days = _world(lifecycle, 32)
    table = feature_table(lifecycle, events, labels, days[-1], days[-1])
    assert (table["amount_against_usual"] > 0).all()
    assert (table["customer_shops_30d"] >= table["customer_shops_1h"]).all()


@pytest.mark.parametrize(
    ("rows", "aggregate", "field", "said"),
    [
        ({"x": "amont * 2"}, {"n": "count"}, "features.rows.x", "no column amont"),
        ({"x": "amount +"}, {"n": "count"}, "features.rows.x", "cannot be read"),
        ({}, {"s": "sum(event_time)"}, "features.windows.0.aggregate.s", "needs numbers"),
        ({}, {"s": "mean(price)"}, "features.windows.0.aggregate.s", "no column price"),
        ({"x": "n_1d / n_2d"}, {"n": "count"}, "features.rows.x", "no column n_2d"),
        ({"x": "is_fraud"}, {"n": "count"}, "features.rows.x", "'is_fraud' is the label"),
    ],
)
def test_mistakes_name_field_and_mend(
    payments_fraud: LifecycleDeclaration, rows: dict[str, str], aggregate: dict[str, str], field: str, said: str
) -> None:
    family = {"entity": "customer_id", "windows": ["1d"], "aggregate": aggregate}
    features = type(payments_fraud.features).model_validate({"rows": rows, "windows": [family]})
    (problem,) = features_problems(payments_fraud.model_copy(update={"features": features}))
    assert problem.field == field
    assert said in problem.message
    assert problem.mend


@pytest.mark.slow
@pytest.mark.skipif(not PAYMENTS.exists(), reason="the shared payments are not beside this checkout")
def test_august_as_pandas_rolls_it(payments_fraud: LifecycleDeclaration) -> None:
    first, last = date(2018, 8, 1), date(2018, 8, 31)
    days = days_needed(payments_fraud, first, last)
    events, labels = (pl.concat(frames) for frames in zip(*map(handbook_day, days), strict=True))
    ours = feature_table(payments_fraud, events, labels, first, last).sort("transaction_id").to_pandas()
    table = events.join(labels, on="transaction_id").to_pandas().set_index("event_time").sort_index(kind="stable")
    wanted = table.loc["2018-08-01":].sort_values("transaction_id")["transaction_id"]
    assert (ours["transaction_id"].to_numpy() == wanted.to_numpy()).all()
    tied = events.group_by("customer_id", "event_time").len().filter(pl.col("len") > 1)
    excluded = events.join(tied, on=["customer_id", "event_time"], how="semi")["transaction_id"].to_list()
    free = ~ours["transaction_id"].isin(excluded).to_numpy()
    assert free.mean() > 0.999

    def rolled(entity: str, column: str, window: str, how: str) -> pd.Series:
        groups = table[[entity, "transaction_id", column]].groupby(entity)
        values = getattr(groups[column].rolling(window), how)()
        frame = pd.DataFrame(
            {"id": groups["transaction_id"].rolling(window).apply(lambda x: x[-1], raw=True), "v": values}
        )
        return frame.set_index(frame["id"].astype(int))["v"].loc[ours["transaction_id"]]

    for width in (1, 7, 30):
        count = rolled("customer_id", "amount", f"{width}D", "count").to_numpy()
        mean = rolled("customer_id", "amount", f"{width}D", "mean").to_numpy()
        assert (ours[f"customer_payments_{width}d"].to_numpy()[free] == count[free]).all()
        assert abs(ours[f"customer_mean_amount_{width}d"].to_numpy() - mean)[free].max() < 1e-9
        late = {how: rolled("terminal_id", "is_fraud", "7D", how).to_numpy() for how in ("count", "sum")}
        both = {how: rolled("terminal_id", "is_fraud", f"{7 + width}D", how).to_numpy() for how in ("count", "sum")}
        number, frauds = both["count"] - late["count"], (both["sum"] - late["sum"]).round()
        assert (ours[f"terminal_payments_{width}d"].to_numpy() == number).mean() > 0.9999
        share = (frauds / number.clip(1)).astype(float)
        assert (abs(ours[f"terminal_fraud_share_{width}d"].to_numpy() - share) < 1e-9).mean() > 0.9999
