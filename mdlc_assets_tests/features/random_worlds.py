"""Random histories of events, random families over them, and when two feature tables are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features

FIRST = date(2018, 4, 1)
DAYS = 6

# Instants near midnight and at whole hours, so that edges of days and of windows are hit, and ties are common.
_SECONDS = st.sampled_from([0, 1, 2, 3_599, 3_600, 43_200, 86_398, 86_399])
EVENT = st.tuples(
    st.integers(0, DAYS - 1),
    _SECONDS,
    st.one_of(st.none(), st.integers(0, 2)),
    st.integers(0, 1),
    st.one_of(st.none(), st.integers(-300, 500)),
    st.booleans(),
    st.one_of(st.none(), st.sampled_from([0.1, -0.0, 0.0, 1e6, 1 / 3, float("nan"), float("inf")])),
)
_AGGREGATES = {
    "n": "count",
    "sum": "sum(amount)",
    "mean": "mean(amount)",
    "std": "std(amount)",
    "min": "min(amount)",
    "max": "max(amount)",
    "first": "first(amount)",
    "last": "last(amount)",
    "shops": "distinct_count(terminal_id)",
    "ratios": "distinct_count(ratio)",
    "sum_ratio": "sum(ratio)",
    "std_ratio": "std(ratio)",
    "top_ratio": "max(ratio * 2)",
    "last_ratio": "last(ratio)",
    "share": "share(amount > 1)",
}
FAMILY = st.fixed_dictionaries(
    {
        "entity": st.sampled_from(["customer_id", "terminal_id"]),
        "windows": st.lists(
            st.sampled_from(["1s", "1h", "30h", "1d", "2d", "4d"]), min_size=1, max_size=2, unique=True
        ),
        "delay": st.sampled_from(["0s", "1h", "1d", "36h", "2d"]),
        "where": st.sampled_from([None, "amount > 1"]),
        "default": st.sampled_from([0.0, -1.0]),
        "aggregate": st.lists(st.sampled_from(sorted(_AGGREGATES)), min_size=1, max_size=4, unique=True),
        "label": st.booleans(),
    }
)


def declare(lifecycle: LifecycleDeclaration, drawn: Sequence[dict[str, Any]]) -> LifecycleDeclaration:
    windows = []
    for i, family in enumerate(drawn):
        aggregate = {f"{name}_{i}": _AGGREGATES[name] for name in family["aggregate"]}
        if family["label"]:
            aggregate[f"frauds_{i}"] = "share(is_fraud)"
        windows.append({**{key: family[key] for key in family if key != "label"}, "aggregate": aggregate})
    columns = {
        **lifecycle.dataset.columns,
        "ratio": lifecycle.dataset.columns["amount"].model_copy(update={"decimals": None}),
    }
    features = Features.model_validate({"rows": {"twice": "amount * 2"}, "windows": windows})
    dataset = lifecycle.dataset.model_copy(update={"columns": columns})
    return lifecycle.model_copy(update={"features": features, "dataset": dataset})


def frame(events: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    rows = [
        {
            "transaction_id": i,
            "event_time": start + timedelta(days=day, seconds=second),
            "customer_id": customer,
            "terminal_id": terminal,
            "amount": None if cents is None else cents / 100,
            "account_age_days": None,
            "ratio": ratio,
            "is_fraud": int(fraud),
        }
        for i, (day, second, customer, terminal, cents, fraud, ratio) in enumerate(events)
    ]
    types = {
        "transaction_id": pl.Int64(),
        "event_time": pl.Datetime("us", "UTC"),
        "customer_id": pl.Int64(),
        "terminal_id": pl.Int64(),
        "amount": pl.Float64(),
        "account_age_days": pl.Int64(),
        "ratio": pl.Float64(),
        "is_fraud": pl.Int8(),
    }
    return pl.DataFrame(rows, schema=types).sort("event_time", "transaction_id")


def close(found: pl.DataFrame, expected: dict[str, list[float]]) -> None:
    for name, values in expected.items():
        for ours, exact in zip(found[name], values, strict=True):
            assert math.isclose(ours, exact, rel_tol=1e-12, abs_tol=1e-15), (name, ours, exact)


def same(lifecycle: LifecycleDeclaration, whole: pl.DataFrame, other: pl.DataFrame) -> None:
    """To the last bit for whole numbers and decimals, to 1e-12 relative for floats."""
    floats = {c.name for c in lifecycle.features.window_columns() if c.value and "ratio" in c.value}
    exact = [name for name in whole.columns if name not in floats]
    assert whole.select(exact).equals(other.select(exact))
    close(other, {name: whole[name].to_list() for name in floats})
