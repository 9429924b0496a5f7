"""A day's features from stored state: the new day, and the states of the days at the windows' edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import WindowColumn
from mdlc_assets.features.families import Family, Kept, edge_days, families
from mdlc_assets.features.state import (
    FamilyState,
    empty_state,
    family_entities,
    family_events,
    microseconds,
    rows_of,
    value_matrix,
)
from mdlc_assets.features.table import finished_table
from mdlc_assets.features.values import Values, codes_of, entity_codes
from mdlc_assets.features.windows import SUBTRACTABLE, aggregate, kind_of, source_name

_DAY, _MICROSECOND = timedelta(days=1), timedelta(microseconds=1)

EventsOf = Callable[[date], pl.DataFrame | None]
StatesOf = Callable[[date], Sequence[FamilyState] | None]


def incremental_table(
    lifecycle: LifecycleDeclaration, day: date, events_of: EventsOf, states_of: StatesOf
) -> pl.DataFrame:
    """The features of a day, the same to the last bit as those of `table.feature_table`.

    `events_of` gives the validated events of `event_days_needed` with their labels, in order of time and id,
    `states_of` the states of `state_days_needed`; both None before the data begin.
    """
    today = events_of(day)
    assert today is not None, "the day itself has events"
    found: dict[str, np.ndarray] = {}
    for family in families(lifecycle):
        found |= _OfFamily(lifecycle, family, day, today, events_of, states_of).columns()
    windowed = pl.DataFrame({column.name: found[column.name] for column in lifecycle.features.window_columns()})
    return finished_table(lifecycle, today, windowed)


class _OfFamily:
    """The windowed columns of one family for the events of a day."""

    def __init__(
        self,
        lifecycle: LifecycleDeclaration,
        family: Family,
        day: date,
        today: pl.DataFrame,
        events_of: EventsOf,
        states_of: StatesOf,
    ) -> None:
        self.lifecycle, self.family, self.day = lifecycle, family, day
        self.events_of, self.states_of = events_of, states_of
        self.entities = family_entities(lifecycle, family, today)
        self.known = self.entities.drop_nulls().unique().sort()
        # An event without entity stands in no window; it is computed with the first one's and gets the default.
        self.without = self.entities.is_null().to_numpy()
        self.codes = places_of(self.known, self.entities).clip(0)
        self.times = today[lifecycle.dataset.time].cast(pl.Int64).to_numpy()
        self.last = family.through(day - _DAY)
        self._events: dict[date, pl.DataFrame] = {}

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name, a value for each event."""
        from mdlc_assets.features import kernel

        family, rows = self.family, rows_of(self.family)
        if not len(self.known):
            return {column.name: np.full(len(self.times), column.default) for column in family.columns}
        sums: dict[timedelta, np.ndarray] = {}
        found = {}
        for column in family.columns:
            if column.aggregation not in SUBTRACTABLE:
                continue
            for offset in (column.delay, column.delay + column.window):
                if offset not in sums:
                    sums[offset] = self._sums_up_to(offset)
            late, early = sums[column.delay], sums[column.delay + column.window]
            at = family.values.index(column.value) if column.value else None
            row, scale = (0, 1.0) if at is None else (1 + rows * at, family.scales[at])
            kind = kind_of(column.aggregation)
            found[column.name] = kernel.from_sums(kind, late, early, row, family.squared, scale, column.default)
        others = [column for column in family.columns if column.name not in found]
        for window in dict.fromkeys(column.window for column in others):
            found |= self._from_kept([column for column in others if column.window == window])
        for column in family.columns:
            found[column.name][self.without] = column.default
        return found

    def _sums_up_to(self, offset: timedelta) -> np.ndarray:
        """For each event at time t: the sums of its entity's events up to t - offset."""
        from mdlc_assets.features import kernel

        edges = edge_days(self.day, offset)
        # The state of the first edge day itself, where there is one, has this day's events beside its sums.
        base = min(edges[0], self.last)
        state = self._state(base)
        parts = [self._events_of_day(edge) for edge in edges]
        events = parts[0] if len(parts) == 1 else pl.concat(parts)
        codes = places_of(self.known, events["entity"]).astype(np.int32)
        order, starts = kernel.stable_order(codes, len(self.known))
        sums = kernel.running_sums(value_matrix(events, len(self.family.values))[:, order], rows_of(self.family))
        times = events["time"].to_numpy()[order]
        until = self.times - offset // _MICROSECOND
        if base < edges[0]:
            lows = starts[self.codes]
        elif base == edges[-1]:
            lows = starts[self.codes + 1]
        else:
            lows = kernel.count_up_to(self.codes, np.full_like(until, microseconds(edges[1]) - 1), starts, times)
        places = places_of(state.entities, self.known)[self.codes] if state else np.full(len(self.codes), -1)
        return kernel.add_between(
            state.sums if state else np.empty((sums.shape[0], 0)),
            places,
            sums,
            lows,
            kernel.count_up_to(self.codes, until, starts, times),
            rows_of(self.family),
        )

    def _from_kept(self, columns: Sequence[WindowColumn]) -> dict[str, np.ndarray]:
        """Columns of one window that no sums can give: from events kept in the state, and those of edge days."""
        family = self.family
        ends = edge_days(self.day, columns[0].delay)
        found: dict[str, np.ndarray] = {}
        for kind in dict.fromkeys(Kept(column.aggregation, str(column.value)) for column in columns):
            own = [c for c in columns if (c.aggregation, c.value) == (kind.aggregation, kind.value)]
            begins = edge_days(self.day, own[0].delay + own[0].window) if kind.aggregation == "first" else []
            days = sorted({*ends, *(day for day in begins if day < ends[0])})
            state = self._state(ends[0] - _DAY)
            parts = [self._events_of_day(day) for day in days]
            if state is not None:
                day_of = (pl.col("time") // (_DAY // _MICROSECOND)).is_in(
                    [microseconds(day) // (_DAY // _MICROSECOND) for day in days]
                )
                parts.append(state.kept[kind].filter(~day_of))
            events = pl.concat(parts)
            queries = pl.DataFrame({"entity": self.known.gather(self.codes), "time": self.times})
            both = pl.concat([events.with_columns(query=False), queries.with_columns(query=True)], how="diagonal").sort(
                "time", maintain_order=True
            )
            if kind.aggregation == "distinct_count":
                values = codes_of(both[f"kind_{family.kinds.index(kind.value)}"])
            else:
                at = family.values.index(kind.value)
                numbers = both[f"value_{at}"].fill_null(float("nan")).to_numpy()
                values = Values(numbers, family.scales[at], family.whole[at])
            answers = aggregate(
                {"entity": entity_codes(both["entity"])},
                both["time"].to_numpy(),
                both["query"].to_numpy(),
                {"event": ~both["query"].to_numpy()},
                {source_name(own[0]): values},
                [replace(column, entity="entity", where="event") for column in own],
            )
            found |= {column.name: answers[i] for i, column in enumerate(own)}
        return found

    def _state(self, through: date) -> FamilyState | None:
        states = self.states_of(self.family.state_day(through))
        return states[self.family.number] if states is not None else None

    def _events_of_day(self, day: date) -> pl.DataFrame:
        """The family's events of a day: from its state, or for a day not yet in a state from the events as such."""
        if day not in self._events:
            if day <= self.last:
                state = self._state(day)
                found = state.events if state is not None else None
            else:
                raw = self.events_of(day)
                found = family_events(self.lifecycle, self.family, raw) if raw is not None else None
            self._events[day] = empty_state(self.lifecycle)[self.family.number].events if found is None else found
        return self._events[day]


def places_of(among: pl.Series, wanted: pl.Series) -> np.ndarray:
    """Where each wanted entity stands among sorted ones; -1 where it does not."""
    if not len(among):
        return np.full(len(wanted), -1)
    if among.dtype.is_integer() and not wanted.null_count():
        known, values = among.to_numpy(), wanted.to_numpy()
        low, high = int(known[0]), int(known[-1])
        if high - low <= 50 * len(known) + 1_000:
            table = np.full(high - low + 3, -1)
            table[known - low + 1] = np.arange(len(known))
            return table[values.clip(low - 1, high + 1) - low + 1]
        places = np.searchsorted(known, values).clip(0, len(known) - 1)
        return np.where(known[places] == values, places, -1)
    places = among.search_sorted(wanted).to_numpy().astype(np.int64).clip(0, len(among) - 1)
    return np.where((among.gather(places) == wanted).fill_null(False).to_numpy(), places, -1)
