"""All engines against a naive scan, on random histories: late and redelivered days, ties, gaps, edges of windows.

The oracle looks at every event for every window, in Python's own whole numbers and fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features, WindowColumn
from mdlc_assets.features.events import EventFeatures
from mdlc_assets.features.families import event_days_needed, families, state_days_needed
from mdlc_assets.features.incremental import incremental_table
from mdlc_assets.features.state import FamilyState, advance
from mdlc_assets.features.state_files import read_state, state_table
from mdlc_assets.features.table import feature_table

_FIRST = date(2018, 4, 1)
_DAY = timedelta(days=1)
_DAYS = 6

# Instants near midnight and at whole hours, so that edges of days and of windows are hit, and ties are common.
_SECONDS = st.sampled_from([0, 1, 2, 3_599, 3_600, 43_200, 86_398, 86_399])
_EVENT = st.tuples(
    st.integers(0, _DAYS - 1),
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
_FAMILY = st.fixed_dictionaries(
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


def _declare(lifecycle: LifecycleDeclaration, drawn: Sequence[dict[str, Any]]) -> LifecycleDeclaration:
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


def _frame(events: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    start = datetime(_FIRST.year, _FIRST.month, _FIRST.day, tzinfo=UTC)
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


def _number(row: dict[str, Any], value: str) -> Fraction | float | None:
    """The value of an event, exactly: cents are hundredths."""
    amount = None if row["amount"] is None else Fraction(round(row["amount"] * 100), 100)
    ratio = row["ratio"] if row["ratio"] is not None and math.isfinite(row["ratio"]) else None
    match value:
        case "amount":
            return amount
        case "amount > 1":
            return None if amount is None else Fraction(int(amount > 1))
        case "ratio":
            return None if ratio is None else Fraction(ratio)
        case "ratio * 2":
            return None if ratio is None else Fraction(ratio * 2)
        case "terminal_id" | "is_fraud":
            return None if row[value] is None else Fraction(row[value])
    raise AssertionError(value)


def naive(column: WindowColumn, rows: Sequence[dict[str, Any]], at: dict[str, Any]) -> float:
    """The window (t - width - delay, t - delay] of the same entity, by looking at every event."""
    end = at["event_time"] - column.delay
    held = [
        row
        for row in rows
        if row[column.entity] is not None
        and row[column.entity] == at[column.entity]
        and end - column.window < row["event_time"] <= end
        and (not column.where or (row["amount"] is not None and row["amount"] > 1))
    ]
    if column.value is None:
        return float(len(held)) or column.default
    values = [found for row in held if (found := _number(row, column.value)) is not None]
    if not values:
        return column.default
    match column.aggregation:
        case "sum":
            return float(sum(values))
        case "mean" | "share":
            return float(sum(values) / len(values))
        case "std":
            if len(values) < 2:
                return 0.0
            mean = sum(values) / len(values)
            return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
        case "min":
            return float(min(values))
        case "max":
            return float(max(values))
        case "first":
            return float(values[0])
        case "last":
            return float(values[-1])
        case _:
            return float(len(set(values)))


def _expected(lifecycle: LifecycleDeclaration, table: pl.DataFrame, day: date) -> dict[str, list[float]]:
    rows = table.to_dicts()
    today = [row for row in rows if row["event_time"].date() == day]
    columns = lifecycle.features.window_columns()
    return {column.name: [naive(column, rows, row) for row in today] for column in columns}


def _close(found: pl.DataFrame, expected: dict[str, list[float]]) -> None:
    for name, values in expected.items():
        for ours, exact in zip(found[name], values, strict=True):
            assert math.isclose(ours, exact, rel_tol=1e-12, abs_tol=1e-15), (name, ours, exact)


class _History:
    """Days of events and their states, as the lake would hold them."""

    def __init__(self, lifecycle: LifecycleDeclaration, table: pl.DataFrame) -> None:
        self.lifecycle, self.table = lifecycle, table
        self.states: dict[date, list[FamilyState]] = {}
        self.files: dict[date, pl.DataFrame] = {}

    def events(self, day: date) -> pl.DataFrame | None:
        return None if day < _FIRST else self.table.filter(pl.col("event_time").dt.date() == day)

    def make(self, first: date, last: date) -> None:
        """States of the days, through the files that carry them."""
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            made = advance(self.lifecycle, self.states.get(day - _DAY), day, self.events)
            self.files[day] = state_table(self.lifecycle, made)
            self.states[day] = read_state(self.lifecycle, self.files[day])

    def incremental(self, day: date) -> pl.DataFrame:
        asked: set[date] = set()

        def states(which: date) -> list[FamilyState] | None:
            asked.add(which)
            return self.states.get(which)

        def events(which: date) -> pl.DataFrame | None:
            asked.add(which)
            return self.events(which)

        found = incremental_table(self.lifecycle, day, events, states)
        said = {*state_days_needed(self.lifecycle, day), *event_days_needed(self.lifecycle, day)}
        assert asked <= said, "the days it says it needs are all it reads"
        return found

    def one_by_one(self, day: date) -> pl.DataFrame:
        engine = EventFeatures(self.lifecycle)
        before = self.table.filter(pl.col("event_time").dt.date() < day)
        engine.fill(before)
        return engine.features(self.events(day).drop("is_fraud"))  # type: ignore[union-attr]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    events=st.lists(_EVENT, min_size=1, max_size=25),
    drawn=st.lists(_FAMILY, min_size=1, max_size=3),
    changed=st.lists(st.integers(0, 24), max_size=3),
    resent=st.integers(0, _DAYS - 1),
)
def test_every_engine_gives_what_a_scan_finds(
    payments_fraud: LifecycleDeclaration,
    events: list[tuple[Any, ...]],
    drawn: list[dict[str, Any]],
    changed: list[int],
    resent: int,
) -> None:
    lifecycle = _declare(payments_fraud, drawn)
    table = _frame(events)
    # At first the day `resent` is without some of its events; then it comes again, whole.
    late = table.filter(
        ~((pl.col("event_time").dt.date() == _FIRST + timedelta(days=resent)) & pl.col("transaction_id").is_in(changed))
    )
    history = _History(lifecycle, late)
    history.make(_FIRST, _FIRST + timedelta(days=_DAYS - 1))
    history.table = table
    first_changed = _FIRST + timedelta(days=resent)
    history.make(first_changed, _FIRST + timedelta(days=_DAYS - 1))
    fresh = _History(lifecycle, table)
    fresh.make(_FIRST, _FIRST + timedelta(days=_DAYS - 1))
    assert all(history.files[day].equals(made) for day, made in fresh.files.items()), "state is the same, made again"

    for number in range(_DAYS):
        day = _FIRST + timedelta(days=number)
        if not history.events(day).height:  # type: ignore[union-attr]
            continue
        whole = feature_table(lifecycle, table.drop("is_fraud"), table.select("transaction_id", "is_fraud"), day, day)
        _close(whole, _expected(lifecycle, table, day))
        _same(lifecycle, whole, history.incremental(day))
        if all(family.delay >= _DAY or not late for family, late in _with_labels(lifecycle)):
            _same(lifecycle, whole, history.one_by_one(day))


def _with_labels(lifecycle: LifecycleDeclaration) -> list[tuple[Any, bool]]:
    return [(family, "is_fraud" in family.values) for family in families(lifecycle)]


def _same(lifecycle: LifecycleDeclaration, whole: pl.DataFrame, other: pl.DataFrame) -> None:
    """To the last bit for whole numbers and decimals, to 1e-12 relative for floats."""
    floats = {c.name for c in lifecycle.features.window_columns() if c.value and "ratio" in c.value}
    exact = [name for name in whole.columns if name not in floats]
    assert whole.select(exact).equals(other.select(exact))
    _close(other, {name: whole[name].to_list() for name in floats})
