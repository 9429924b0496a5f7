"""Expressions for one event are Polars' own answers, or are left to Polars; attributes are those of the instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.features.online_assets import online_definitions
from mdlc_assets.features.row_expressions import AskPolarsError, row_expression
from mdlc_assets.features.table import feature_table
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.online_store import OnlineStore, SqliteStore
from mdlc_assets.simulator.world import Simulator
from mdlc_assets.sourcing.attributes import with_attributes
from mdlc_assets.sourcing.cells import INSTANT
from mdlc_assets_tests.sourcing.test_attributes import declared

_TYPES = {"a": pl.Float64(), "i": pl.Int64(), "s": pl.String(), "b": pl.Boolean(), "t": INSTANT}


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "date_part('hour', t) <= 6",
        "date_part('isodow', t) >= 6",
        "a > 100.5 AND NOT b",
        "a / (coalesce(i, 0) + 1) - 2.5",
        "CASE WHEN s = 'gold' THEN 1 WHEN a > 3 THEN 2 END",
        "i BETWEEN 2 AND 9 OR s IS NULL",
        "i * 3",
    ],
)
def test_what_is_read_answers_as_polars(text: str) -> None:
    found = row_expression(text, _TYPES)
    assert found is not None
    at = datetime(2018, 4, 7, 23, 59, 59, tzinfo=UTC)
    rows = [
        {"a": a, "i": i, "s": s, "b": b, "t": t}
        for a in (None, 0.0, -0.0, 3.1, 100.5, 101.0)
        for i in (None, 0, 2, 9, 10)
        for s in (None, "gold", "")
        for b in (None, True, False)
        for t in (None, at, at + timedelta(seconds=1))
    ]
    expected = pl.DataFrame(rows, schema=_TYPES).select(pl.sql_expr(text).alias("v"))["v"].to_list()
    assert [found.of(row) for row in rows] == expected


@pytest.mark.parametrize(
    "text", ["ln(a)", "s LIKE 'g%'", "round(a, 1)", "date_part('hour', t) * 100", "i / 2", "i % 2"]
)
def test_what_is_not_surely_the_same_is_left_to_polars(text: str) -> None:
    assert row_expression(text, _TYPES) is None


@pytest.mark.parametrize(
    ("text", "row"),
    [("a > 1", {"a": float("nan")}), ("a / i", {"a": 1.0, "i": 0}), ("i * 3", {"i": 1 << 62})],
)
def test_values_for_which_python_differs_are_left_to_polars(text: str, row: dict[str, float]) -> None:
    found = row_expression(text, _TYPES)
    assert found is not None
    with pytest.raises(AskPolarsError):
        found.of(row)


def test_attributes_are_those_of_the_instant(tmp_path: Path) -> None:
    features = {
        "rows": {
            "is_gold": "CASE WHEN segment = 'gold' THEN 1 ELSE 0 END",
            "of_limit": "amount / (coalesce(credit_limit, 0) + 1)",
            "log_amount": "ln(amount + 1)",
            "of_usual": "amount / customer_mean_3d",
        },
        "windows": [
            {"entity": "terminal_id", "windows": ["3d"], "where": "segment = 'gold'", "aggregate": {"gold": "count"}},
            {
                "entity": "customer_id",
                "windows": ["3d"],
                "aggregate": {"customer_mean": "mean(amount)", "segments": "distinct_count(segment)"},
            },
        ],
    }
    lifecycle = declared().model_copy(update={"features": Features.model_validate(features)})
    world = Simulator(start=lifecycle.dataset.start, customers=30, terminals=20)
    days = [lifecycle.dataset.start + timedelta(days=i) for i in range(5)]
    events = pl.concat(map(world.transactions, days)).sort("event_time", "transaction_id")
    noon = datetime(days[0].year, days[0].month, days[0].day, 12, tzinfo=UTC)
    versions = pl.DataFrame(
        [
            {"customer_id": customer, "known_at": noon + timedelta(days=day), "segment": segment, "credit_limit": limit}
            for customer in range(25)
            for day, segment, limit in ((0, "gold", 100.25), (2, None, None), (3, "a segment with a long name", 7.5))
        ],
        schema={"customer_id": pl.Int64(), "known_at": INSTANT, "segment": pl.String(), "credit_limit": pl.Float64()},
    )
    online = OnlineFeatures(lifecycle, SqliteStore(tmp_path / "store.db"))
    online.learn_attributes("customers", versions.sample(fraction=1.0, shuffle=True, seed=3))
    online.learn(events)
    expected = feature_table(
        lifecycle, with_attributes(lifecycle, events, {"customers": versions}), None, days[0], days[-1]
    )
    assert online.features(events).equals(expected)
    assert expected["gold_3d"].max() > 1 and expected["segments_3d"].max() == 2  # type: ignore[operator]
    names = lifecycle.features.names()
    for event, row in zip(events.to_dicts()[::7], expected.select(names).rows()[::7], strict=True):
        assert online.features_of(event).tolist() == list(row)
        other_zone = {**event, "event_time": event["event_time"].astimezone(timezone(timedelta(hours=5)))}
        assert online.features_of(other_zone).tolist() == list(row)
    with pytest.raises(TypeError, match="a number is a float"):
        online.features_of({**events.row(0, named=True), "amount": "12"})


def test_the_asset_fills_the_store(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lake, store = Lake(root=str(tmp_path / "lake")), OnlineStore(path=str(tmp_path / "store.db"))
    world = Simulator(start=payments_fraud.dataset.start, customers=10, terminals=20)
    rows = world.transactions(payments_fraud.dataset.start)
    lake.table("payments_fraud", "validated").write_day(payments_fraud.dataset.start, rows)
    assets = list(online_definitions(payments_fraud).assets or [])
    ran = dg.materialize(
        assets, selection=["payments_fraud/online_features"], resources={"lake": lake, "online_store": store}
    )  # type: ignore[arg-type]
    said = ran.asset_materializations_for_node("payments_fraud__online_features")[0].metadata
    assert said["events brought in"].value == rows.height and said["through"].value == "2018-04-01"
    found = OnlineFeatures(payments_fraud, store.store).features(rows)
    assert found["customer_payments_1d"].max() > 1  # type: ignore[operator]
