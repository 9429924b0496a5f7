"""Every aggregation against a plain scan that recomputes each window, on random events."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration.features import Aggregation, WindowColumn
from mdlc_assets.features.windows import window_columns

_START = datetime(2018, 4, 1, tzinfo=UTC)
_AGGREGATIONS: tuple[Aggregation, ...] = (
    "count",
    "sum",
    "mean",
    "std",
    "min",
    "max",
    "first",
    "last",
    "distinct_count",
    "share",
)
_WINDOWS = (timedelta(seconds=1), timedelta(seconds=7), timedelta(minutes=1), timedelta(days=400))
_DELAYS = (timedelta(0), timedelta(seconds=1), timedelta(seconds=5))

# Seconds close together, so that ties and events exactly on a window's edge are common.
_EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["a", "b", "c"]),
        st.integers(-500, 500),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def _naive(column: WindowColumn, rows: list[dict[str, Any]], at: dict[str, Any]) -> float:
    """The window (t - width - delay, t - delay] of the same entity, by looking at every event."""
    end = at["time"] - column.delay
    held = [
        row
        for row in rows
        if row["entity"] == at["entity"]
        and end - column.window < row["time"] <= end
        and (not column.where or row["flag"])
    ]
    if not held:
        return column.default
    if column.aggregation == "count":
        return len(held)
    values = [row["flag"] if column.value == "flag" else row["amount"] for row in held]
    match column.aggregation:
        case "sum":
            return float(sum(values))
        case "mean" | "share":
            return sum(values) / len(values)
        case "std":
            return statistics.stdev(values) if len(values) > 1 else 0.0
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case _:
            return len(set(values))


@pytest.mark.parametrize("aggregation", _AGGREGATIONS)
@settings(max_examples=220, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    events=_EVENTS,
    window=st.sampled_from(_WINDOWS),
    delay=st.sampled_from(_DELAYS),
    filtered=st.booleans(),
    default=st.sampled_from([0.0, -1.0]),
    from_second=st.integers(0, 40),
    whole=st.booleans(),
)
def test_each_window_is_what_a_scan_finds(
    aggregation: Aggregation,
    events: list[tuple[int, str, int, bool]],
    window: timedelta,
    delay: timedelta,
    filtered: bool,
    default: float,
    from_second: int,
    whole: bool,
) -> None:
    rows = [
        {"time": _START + timedelta(seconds=second), "entity": entity, "amount": cents / 100, "flag": flag}
        for second, entity, cents, flag in sorted(events, key=lambda event: event[0])
    ]
    value = None if aggregation == "count" else "flag" if aggregation == "share" else "amount"
    column = WindowColumn("f", "entity", aggregation, value, window, delay, "flag" if filtered else None, default)
    frame = pl.DataFrame(
        rows,
        schema={"time": pl.Datetime("us", "UTC"), "entity": pl.String, "amount": pl.Float64, "flag": pl.Boolean},
    )
    wanted = frame["time"] >= _START + timedelta(seconds=from_second)
    found = window_columns(frame, wanted, [column], time="time", decimals={"amount": 2} if whole else {})["f"]
    expected = [_naive(column, rows, row) for row, keep in zip(rows, wanted, strict=True) if keep]
    exact = aggregation not in {"std", "sum", "mean"} or (whole and aggregation != "std")
    assert found.to_list() == pytest.approx(expected, rel=1e-12 if exact else 1e-9, abs=1e-12 if exact else 1e-6)


def test_ties_all_count_and_the_far_edge_is_out() -> None:
    times = [0, 10, 10, 20]
    frame = pl.DataFrame(
        {"time": [_START + timedelta(seconds=second) for second in times], "entity": [1, 1, 1, 1]},
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )
    column = WindowColumn("n", "entity", "count", None, timedelta(seconds=10), timedelta(0), None, 0.0)
    wanted = pl.Series([True] * 4)
    assert window_columns(frame, wanted, [column], time="time", decimals={})["n"].to_list() == [1, 2, 2, 1]


def test_cents_are_summed_exactly() -> None:
    frame = pl.DataFrame(
        {"time": [_START + timedelta(seconds=i) for i in range(1000)], "entity": [1] * 1000, "amount": [0.1] * 1000},
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )
    column = WindowColumn("s", "entity", "sum", "amount", timedelta(days=1), timedelta(0), None, 0.0)
    found = window_columns(frame, pl.Series([True] * 1000), [column], time="time", decimals={"amount": 2})["s"]
    assert found[-1] == 100.0
