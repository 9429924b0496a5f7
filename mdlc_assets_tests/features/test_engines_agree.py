"""All engines against a naive scan, on random histories: late and redelivered days, ties, gaps, edges of windows.

The oracle looks at every event for every window, in Python's own whole numbers and fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import WindowColumn
from mdlc_assets.features.events import EventFeatures
from mdlc_assets.features.families import event_days_needed, families, state_days_needed
from mdlc_assets.features.incremental import incremental_table
from mdlc_assets.features.state import FamilyState, advance
from mdlc_assets.features.state_files import read_state, state_table
from mdlc_assets.features.table import feature_table
from mdlc_assets_tests.features.random_worlds import DAYS, EVENT, FAMILY, FIRST, close, declare, frame, same

_DAY = timedelta(days=1)


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


class _History:
    """Days of events and their states, as the lake would hold them."""

    def __init__(self, lifecycle: LifecycleDeclaration, table: pl.DataFrame) -> None:
        self.lifecycle, self.table = lifecycle, table
        self.states: dict[date, list[FamilyState]] = {}
        self.files: dict[date, pl.DataFrame] = {}

    def events(self, day: date) -> pl.DataFrame | None:
        return None if day < FIRST else self.table.filter(pl.col("event_time").dt.date() == day)

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
    events=st.lists(EVENT, min_size=1, max_size=25),
    drawn=st.lists(FAMILY, min_size=1, max_size=3),
    changed=st.lists(st.integers(0, 24), max_size=3),
    resent=st.integers(0, DAYS - 1),
)
def test_every_engine_gives_what_a_scan_finds(
    payments_fraud: LifecycleDeclaration,
    events: list[tuple[Any, ...]],
    drawn: list[dict[str, Any]],
    changed: list[int],
    resent: int,
) -> None:
    lifecycle = declare(payments_fraud, drawn)
    table = frame(events)
    # At first the day `resent` is without some of its events; then it comes again, whole.
    late = table.filter(
        ~((pl.col("event_time").dt.date() == FIRST + timedelta(days=resent)) & pl.col("transaction_id").is_in(changed))
    )
    history = _History(lifecycle, late)
    history.make(FIRST, FIRST + timedelta(days=DAYS - 1))
    history.table = table
    first_changed = FIRST + timedelta(days=resent)
    history.make(first_changed, FIRST + timedelta(days=DAYS - 1))
    fresh = _History(lifecycle, table)
    fresh.make(FIRST, FIRST + timedelta(days=DAYS - 1))
    assert all(history.files[day].equals(made) for day, made in fresh.files.items()), "state is the same, made again"

    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        if not history.events(day).height:  # type: ignore[union-attr]
            continue
        whole = feature_table(lifecycle, table.drop("is_fraud"), table.select("transaction_id", "is_fraud"), day, day)
        close(whole, _expected(lifecycle, table, day))
        same(lifecycle, whole, history.incremental(day))
        if all(family.delay >= _DAY or not late for family, late in _with_labels(lifecycle)):
            same(lifecycle, whole, history.one_by_one(day))


def _with_labels(lifecycle: LifecycleDeclaration) -> list[tuple[Any, bool]]:
    return [(family, "is_fraud" in family.values) for family in families(lifecycle)]
