"""Days of events with their labels, and of state, as the engines ask for them; each is read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from functools import cache, cached_property
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.families import event_days_needed, families, state_days_needed
from mdlc_assets.features.state import FamilyState, StateMismatchError, advance, check_fingerprint, empty_state
from mdlc_assets.features.state_files import read_state, state_table
from mdlc_assets.features.table import in_order, label_days_needed, labelled
from mdlc_assets.resources.lake import DayAbsentError, Lake

_READERS = 8
_DAY = timedelta(days=1)


@cache
def _readers() -> ThreadPoolExecutor:
    """Threads that stay: to start them costs as much as a day's read."""
    return ThreadPoolExecutor(_READERS, "lake-reader")


class Days:
    """Validated events with labels, and feature state, of one lifecycle."""

    def __init__(self, lifecycle: LifecycleDeclaration, lake: Lake) -> None:
        self.lifecycle = lifecycle
        self.validated = lake.table(lifecycle.name, "validated")
        self.labels = lake.table(lifecycle.name, "labels")
        self.states = lake.table(lifecycle.name, "feature_state")
        self._events: dict[date, pl.DataFrame | None] = {}
        self._states: dict[date, list[FamilyState]] = {}

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
        events = in_order(self.lifecycle, self.validated.read_day(day))
        known = self.labels.read_day(day, [dataset.id, label, "known_at"]) if label and self.labels.has(day) else None
        return labelled(self.lifecycle, events, known)

    def state(self, day: date) -> list[FamilyState] | None:
        """The state of a day; None before the data begin. Raises `DayAbsentError` and `StateMismatchError`."""
        if day not in self._states:
            if not self.states.has(day) and day < self.first:
                return None
            self._states[day] = self._read_state(day)
        return self._states[day]

    def _read_state(self, day: date) -> list[FamilyState]:
        table = self.states.read_day(day)
        check_fingerprint(self.lifecycle, table["declaration"][0] if table.height else None, day)
        return read_state(self.lifecycle, table)

    def load(self, events: Iterable[date], states: Iterable[date]) -> None:
        """Read days together, which is quicker than one after the other."""
        pool, reads = _readers(), list[Future[Any]]()
        reads += [pool.submit(self.state, day) for day in dict.fromkeys(states) if day not in self._states]
        reads += [pool.submit(self.events, day) for day in dict.fromkeys(events) if day not in self._events]
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

        Reads what the incremental engine then uses. Raises `DayAbsentError` for a gap among the days.
        """
        needed = state_days_needed(self.lifecycle, day)
        absent = [state for state in needed if not self.states.has(state)]
        if absent and max(absent) >= self.first:
            return False
        try:
            self.load(event_days_needed(self.lifecycle, day), needed)
        except StateMismatchError:
            return False
        return True

    def make_states(self, days: Iterable[date]) -> Iterator[tuple[date, pl.DataFrame]]:
        """The states of the days as tables, in order, and of those between them and the nearest earlier day that
        has one. Made anew from the days' events; where no earlier state is of this declaration, from the beginning.
        """
        wanted = sorted(days)
        earlier = [day for day in reversed(self.states.days()) if day < wanted[0]]
        made = next((day for day in earlier if self._is_of_this_declaration(day)), None)
        state = None if made is None else self.state(made)
        at = self.first if made is None else made + _DAY
        for day in wanted:
            if day < self.first:
                yield day, state_table(self.lifecycle, empty_state(self.lifecycle))
        while at <= wanted[-1]:
            self._check_labels(at)
            state = advance(self.lifecycle, state, at, self.events)
            yield at, state_table(self.lifecycle, state)
            at += _DAY
            needed = min((family.through(at) for family in families(self.lifecycle)), default=at)
            self._events = {day: events for day, events in self._events.items() if day >= needed}

    def check_labels(self, days: Iterable[date], first: date, last: date) -> None:
        """Raises `DayAbsentError` where some of `days` lack labels that the features of `first` to `last` sum."""
        wanted = set(label_days_needed(self.lifecycle, first, last))
        absent = [day for day in days if day in wanted and not self.labels.has(day)]
        if absent := [day for day in absent if day >= self.first] if absent else []:
            raise DayAbsentError(self.labels.folder, sorted(absent))

    def _check_labels(self, day: date) -> None:
        """Raises `DayAbsentError` where the state of a day would miss labels that it sums."""
        label = self.lifecycle.labels.column
        for family in families(self.lifecycle):
            summed = family.through(day)
            uses = any(label in pl.sql_expr(value).meta.root_names() for value in (*family.values, *family.kinds))
            if uses and summed >= self.first and not self.labels.has(summed):
                raise DayAbsentError(self.labels.folder, [summed])

    def _is_of_this_declaration(self, day: date) -> bool:
        made = self.states.read_day(day, ["declaration"])["declaration"].head(1)
        try:
            check_fingerprint(self.lifecycle, made[0] if len(made) else None, day)
        except StateMismatchError:
            return False
        return True
