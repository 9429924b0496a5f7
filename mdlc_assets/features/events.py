"""Features of one event at a time, from the state of its entities: the same arithmetic as for whole days."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.state import (
    Family,
    can_be_incremental,
    decimals_of,
    empty_events,
    entity_expression,
    families,
    family_numbers,
    kept_events,
)
from mdlc_assets.features.windows import from_sums, values_of

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1)


@dataclass
class EntityState:
    """The events of one entity within reach of the windows: instants (microseconds, ascending) and, for each of
    the family's sums, running totals that begin with 0."""

    times: list[int] = field(default_factory=list)
    totals: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, times: Sequence[int], numbers: Sequence[Sequence[int]]) -> EntityState:
        """From ascending instants and, for each sum, the events' whole numbers."""
        totals = [[0, *np.cumsum(np.asarray(values, np.int64)).tolist()] for values in numbers]
        return cls(list(times), totals)

    def add(self, time: int, numbers: Sequence[int]) -> None:
        """Take in an event; one that comes late is put where it belongs."""
        if not self.totals:
            self.totals = [[0] for _ in numbers]
        place = bisect_right(self.times, time)
        self.times.insert(place, time)
        for totals, number in zip(self.totals, numbers, strict=True):
            later = [total + number for total in totals[place + 1 :]]
            totals[place + 1 :] = [totals[place] + number, *later]

    def forget(self, before: int) -> None:
        """Let go of events up to an instant that no window reaches any more."""
        count = bisect_right(self.times, before)
        del self.times[:count]
        for totals in self.totals:
            del totals[:count]


@dataclass(frozen=True)
class _Step:
    """How one column follows: the window's bounds before the event's instant, and which sums."""

    column: Any
    begin: int
    end: int
    total: int | None
    square: int | None
    scale: int


class EventFeatures:
    """Computes the windowed features of single events. Raises ValueError for a declaration with columns that do not
    follow from running sums of whole numbers."""

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        self.lifecycle = lifecycle
        if not can_be_incremental(lifecycle):
            raise ValueError("min, max, first, last, distinct_count and sums of floats need all events of a window")
        self.families = families(lifecycle)
        empty = empty_events(lifecycle)
        self._steps = [list(self._plan(family, empty)) for family in self.families]

    def _plan(self, family: Family, empty: pl.DataFrame) -> Iterator[_Step]:
        for column in family.columns:
            total = square = None
            scale = 1
            if column.value:
                total = family.values.index(column.value)
                scale = values_of(empty, column.value, decimals_of(self.lifecycle)).scale
                if column.aggregation == "std":
                    square = len(family.values) + family.squared.index(column.value)
            end = column.delay // _MICROSECOND
            yield _Step(column, end + column.window // _MICROSECOND, end, total, square, scale)

    def compute(self, time: int, states: Sequence[EntityState]) -> dict[str, float]:
        """The windowed features of an event at `time` (microseconds since 1970, UTC).

        `states` are those of its entities, a state for each family, the event itself taken in.
        """
        found: dict[str, float] = {}
        for steps, state in zip(self._steps, states, strict=True):
            places: dict[int, int] = {}
            for step in steps:
                for back in (step.begin, step.end):
                    if back not in places:
                        places[back] = bisect_right(state.times, time - back)
                low, high = places[step.begin], places[step.end]
                found[step.column.name] = self._finish(step, state, low, high)
        return found

    @staticmethod
    def _finish(step: _Step, state: EntityState, low: int, high: int) -> float:
        count = high - low
        column = step.column
        if count == 0:
            return column.default
        if step.total is None:
            return float(count)
        totals = state.totals[step.total]
        total = totals[high] - totals[low]
        if step.square is not None:
            squares = state.totals[step.square]
            one, whole, square = (np.array([value]) for value in (count, total, squares[high] - squares[low]))
            return float(from_sums(column, one, whole, square, step.scale)[0])
        return total / step.scale if column.aggregation == "sum" else total / step.scale / count

    def states_of(self, events: pl.DataFrame) -> list[dict[Any, EntityState]]:
        """For each family the state of every entity, from events (with the label column) in order of time."""
        found = []
        for family in self.families:
            kept = kept_events(family, events)
            numbers = family_numbers(self.lifecycle, family, kept)
            time = pl.col(self.lifecycle.dataset.time).cast(pl.Int64).alias("_time")
            entity = entity_expression(self.lifecycle, family)
            lists = kept.select(entity, time, *numbers.values()).group_by("entity", maintain_order=True).agg(pl.all())
            found.append(
                {row[0]: EntityState.of(row[1], [list(values) for values in row[2:]]) for row in lists.iter_rows()}
            )
        return found

    def numbers_of(self, event: Mapping[str, Any]) -> list[tuple[Any, list[int]] | None]:
        """For each family the event's entity and the whole numbers to add; None where its filter leaves it out."""
        frame = pl.DataFrame([event])
        if self.lifecycle.labels.column not in frame.columns:
            frame = frame.with_columns(pl.lit(None, pl.Int8).alias(self.lifecycle.labels.column))
        found: list[tuple[Any, list[int]] | None] = []
        for family in self.families:
            kept = kept_events(family, frame)
            if not kept.height:
                found.append(None)
                continue
            numbers = [int(series[0]) for series in family_numbers(self.lifecycle, family, kept).values()]
            found.append((kept.select(entity_expression(self.lifecycle, family)).item(), numbers))
        return found


def microseconds(instant: datetime) -> int:
    """An instant (UTC) as the states keep it."""
    return (instant.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
