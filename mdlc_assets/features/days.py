"""Days of events with their labels, and of state, as the engines ask for them; each is read once."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import cached_property

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.state import (
    StateMismatchError,
    advance,
    can_be_incremental,
    check_state,
    edge_days,
    empty_state,
    event_day,
    families,
    fingerprint,
    state_days_needed,
)
from mdlc_assets.features.table import label_days_needed
from mdlc_assets.resources.lake import DayAbsentError, Lake

_READERS = 8
_DAY = timedelta(days=1)


class Days:
    """Validated events with labels, and feature state, of one lifecycle."""

    def __init__(self, lifecycle: LifecycleDeclaration, lake: Lake) -> None:
        self.lifecycle = lifecycle
        self.validated = lake.table(lifecycle.name, "validated")
        self.labels = lake.table(lifecycle.name, "labels")
        self.states = lake.table(lifecycle.name, "feature_state")
        self._events: dict[date, pl.DataFrame | None] = {}
        self._states: dict[date, pl.DataFrame] = {}

    @cached_property
    def first(self) -> date:
        """The first day that has events. Raises `DayAbsentError` when none has."""
        days = self.validated.days()
        if not days:
            raise DayAbsentError(self.validated.folder, [self.lifecycle.dataset.start])
        return days[0]

    def events(self, day: date) -> pl.DataFrame | None:
        """A day's events with the label column, null where no label is there; None before the data begin.

        Raises `DayAbsentError` for a gap.
        """
        if day not in self._events:
            there = self.validated.has(day) or day >= self.first
            self._events[day] = self._read_events(day) if there else None
        return self._events[day]

    def _read_events(self, day: date) -> pl.DataFrame:
        dataset, label = self.lifecycle.dataset, self.lifecycle.labels.column
        events = self.validated.read_day(day)
        if not self.labels.has(day):
            return events.with_columns(pl.lit(None, pl.Int8).alias(label))
        labels = self.labels.read_day(day, [dataset.id, label])
        return events.join(labels, on=dataset.id, how="left", maintain_order="left")

    def state(self, day: date) -> pl.DataFrame | None:
        """The state of a day; None before the data begin. Raises `DayAbsentError` and `StateMismatchError`."""
        if day not in self._states:
            if not self.states.has(day) and day < self.first:
                return None
            state = self.states.read_day(day)
            check_state(self.lifecycle, state, day)
            self._states[day] = state
        return self._states[day]

    def load(self, events: Iterable[date], states: Iterable[date]) -> None:
        """Read days together, which is quicker than one after the other."""
        with ThreadPoolExecutor(_READERS) as pool:
            reads = [pool.submit(self.events, day) for day in dict.fromkeys(events)]
            reads += [pool.submit(self.state, day) for day in dict.fromkeys(states)]
            for read in reads:
                read.result()

    def reach_of(self, last: date) -> pl.DataFrame:
        """All events with labels that windows at the end of `last` or on the day after reach, in order of time."""
        first = max(self.first, last - timedelta(days=self.lifecycle.features.look_back_days()))
        days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
        self.load(days, [])
        dataset = self.lifecycle.dataset
        found = [events for day in days if (events := self.events(day)) is not None]
        return pl.concat(found).sort(dataset.time, dataset.id)

    def can_be_incremental(self, day: date) -> bool:
        """Whether the state that a day's features need is all there, and made from this very declaration.

        Reads what the incremental engine then uses. Raises `DayAbsentError` for a gap among the edge days.
        """
        needed = state_days_needed(self.lifecycle, day)
        absent = [state for state in needed if not self.states.has(state)]
        if absent and max(absent) >= self.first:
            return False
        if not can_be_incremental(self.lifecycle):
            return False
        try:
            self.load(self.edges(day), needed)
        except StateMismatchError:
            return False
        return True

    def edges(self, day: date) -> list[date]:
        """The days whose events the incremental engine reads for a day."""
        columns = self.lifecycle.features.window_columns()
        offsets = {offset for column in columns for offset in (column.delay, column.delay + column.window)}
        return sorted({day, *(edge for offset in offsets for edge in edge_days(day, offset))})

    def make_states(self, days: Iterable[date]) -> dict[date, pl.DataFrame]:
        """The states of the days, and of those between them and the nearest earlier day that has one.

        Made anew from the days' events; where no earlier state is of this declaration, from the beginning.
        """
        wanted = sorted(days)
        earlier = [day for day in reversed(self.states.days()) if day < wanted[0]]
        made = next((day for day in earlier if self._is_of_this_declaration(day)), None)
        state = None if made is None else self.state(made)
        at = self.first if made is None else made + _DAY
        found = {day: empty_state(self.lifecycle) for day in wanted if day < self.first}
        while at <= wanted[-1]:
            self._check_labels(at)
            state = found[at] = advance(self.lifecycle, state, at, self.events)
            at += _DAY
        return found

    def check_edge_labels(self, day: date) -> None:
        """Raises `DayAbsentError` where labels that the features of a day sum are not there."""
        wanted = set(label_days_needed(self.lifecycle, day, day))
        absent = [edge for edge in self.edges(day) if edge in wanted and not self.labels.has(edge)]
        if absent and (late := [edge for edge in absent if edge >= self.first]):
            raise DayAbsentError(self.labels.folder, late)

    def _check_labels(self, day: date) -> None:
        """Raises `DayAbsentError` where the state of a day would miss labels that it sums."""
        label = self.lifecycle.labels.column
        for family in families(self.lifecycle):
            summed = event_day(family, day)
            uses = any(label in pl.sql_expr(value).meta.root_names() for value in family.values)
            if uses and summed >= self.first and not self.labels.has(summed):
                raise DayAbsentError(self.labels.folder, [summed])

    def _is_of_this_declaration(self, day: date) -> bool:
        made = self.states.read_day(day, ["declaration"])["declaration"].head(1)
        return made.is_empty() or made[0] == fingerprint(self.lifecycle)
