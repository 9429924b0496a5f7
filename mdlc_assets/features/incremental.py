"""A day's features from stored state: the new day, the days at the windows' edges, and running sums."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.state import (
    Family,
    decimals_of,
    edge_days,
    entity_expression,
    families,
    family_numbers,
    kept_events,
    state_day,
)
from mdlc_assets.features.table import in_order, row_table
from mdlc_assets.features.windows import from_sums, running, values_of

_DAY, _MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1)

Sums = dict[str, np.ndarray]
"""Count and sums up to an instant, for each event of the day."""


def incremental_table(
    lifecycle: LifecycleDeclaration,
    day: date,
    events_of: Callable[[date], pl.DataFrame | None],
    state_of: Callable[[date], pl.DataFrame | None],
) -> pl.DataFrame:
    """The features of a day, the same to the last bit as those of `table.feature_table`.

    `events_of` gives a day's validated events with their labels, None before the data begin; `state_of` the
    `feature_state` of a day, None before the data begin.
    """
    today = events_of(day)
    assert today is not None, "the day itself has events"
    today = in_order(lifecycle, today)
    decimals = decimals_of(lifecycle)
    found: dict[str, np.ndarray] = {}
    for number, family in enumerate(families(lifecycle)):
        asked = _Asked(lifecycle, number, family, day, today)
        up_to: dict[timedelta, Sums] = {}
        for column in family.columns:
            for offset in (column.delay, column.delay + column.window):
                if offset not in up_to:
                    up_to[offset] = asked.sums_up_to(offset, events_of, state_of)
            late, early = up_to[column.delay], up_to[column.delay + column.window]
            count = late["count"] - early["count"]
            total = squares = count
            scale = 1
            if column.value:
                name = f"sum_{family.values.index(column.value)}"
                total = late[name] - early[name]
                scale = values_of(today.clear(), column.value, decimals).scale
                if column.aggregation == "std":
                    name = f"square_{family.squared.index(column.value)}"
                    squares = late[name] - early[name]
            found[column.name] = from_sums(column, count, total, squares, scale)
    windowed = pl.DataFrame({column.name: found[column.name] for column in lifecycle.features.window_columns()})
    return pl.concat([row_table(lifecycle, today), windowed], how="horizontal")


class _Asked:
    """The events of a day as one family sees them: the entities of the day get codes, others are left aside."""

    def __init__(
        self, lifecycle: LifecycleDeclaration, number: int, family: Family, day: date, today: pl.DataFrame
    ) -> None:
        self.lifecycle, self.number, self.family, self.day = lifecycle, number, family, day
        self.names = ["count", *family.sums()]
        entities = self._entities(today)
        self.known = entities.unique().sort()
        self.codes = self.known.search_sorted(entities).to_numpy().astype(np.int64)
        self.times = today[lifecycle.dataset.time].cast(pl.Int64).to_numpy()
        # Rows are in order of time, so a stable sort by entity puts them by entity and time.
        self.order = np.argsort(self.codes, kind="stable")

    def sums_up_to(
        self,
        offset: timedelta,
        events_of: Callable[[date], pl.DataFrame | None],
        state_of: Callable[[date], pl.DataFrame | None],
    ) -> Sums:
        """For each event at time t: count and sums of its entity's events up to t - offset."""
        instants = self.times - offset // _MICROSECOND
        result = {name: np.zeros(len(instants), np.int64) for name in self.names}
        for edge in edge_days(self.day, offset):
            begin = (datetime(edge.year, edge.month, edge.day) - _EPOCH) // _MICROSECOND
            here = (instants >= begin) & (instants < begin + _DAY // _MICROSECOND)
            if not here.any():
                continue
            before = self._from_state(state_of(state_day(self.family, edge - _DAY)))
            within = self._from_edge(instants, events_of(edge))
            for name in self.names:
                result[name][here] = before[name][here] + within[name][here]
        return result

    def _from_state(self, state: pl.DataFrame | None) -> Sums:
        """What each event's entity had at the end of a day."""
        if state is None:
            return {name: np.zeros(len(self.codes), np.int64) for name in self.names}
        own = state.filter(pl.col("family") == self.number)
        place, there = _find(own["entity"], self.known)
        found = {}
        for name in self.names:
            by_code = np.zeros(len(self.known), np.int64)
            by_code[there] = own[name].to_numpy()[place[there]]
            found[name] = by_code[self.codes]
        return found

    def _from_edge(self, instants: np.ndarray, events: pl.DataFrame | None) -> Sums:
        """What each event's entity had on the edge day up to its instant."""
        from mdlc_assets.features import kernel

        result = {name: np.zeros(len(self.codes), np.int64) for name in self.names}
        if events is None or not events.height:
            return result
        kept = kept_events(self.family, events)
        codes, there = _find(self.known, self._entities(kept))
        numbers = family_numbers(self.lifecycle, self.family, kept)
        times = kept[self.lifecycle.dataset.time].cast(pl.Int64).to_numpy()
        held = np.flatnonzero(there)
        held = held[np.lexsort((times[held], codes[held]))]
        low, high = kernel.window_bounds(
            self.codes[self.order], instants[self.order], codes[held], times[held], 2 * _DAY // _MICROSECOND, 0
        )
        result["count"][self.order] = high - low
        for name, series in numbers.items():
            result[name][self.order] = kernel.window_sums(low, high, running(series.to_numpy()[held]))
        return result

    def _entities(self, events: pl.DataFrame) -> pl.Series:
        return events.select(entity_expression(self.lifecycle, self.family))["entity"]


def _find(among: pl.Series, wanted: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Where each wanted value stands in a sorted series, and whether it is there at all."""
    if among.dtype.is_integer() and not wanted.null_count():
        known, values = among.to_numpy(), wanted.to_numpy()
        place = np.searchsorted(known, values).clip(0, max(len(known) - 1, 0))
        return place, known[place] == values if len(known) else np.zeros(len(values), bool)
    if not len(among):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    place = among.search_sorted(wanted).to_numpy().astype(np.int64).clip(0, len(among) - 1)
    return place, (among.gather(place) == wanted).fill_null(False).to_numpy()
