"""Features of one event after the other, from the state of its entities: the same arithmetic as for whole days.

The state of an entity is its events within reach of the windows, with running sums, so that a window of sums
costs two searches whatever its length. Families that take labels get an event once its label is known; the others
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.families import Family, families
from mdlc_assets.features.state import family_columns, family_events, rows_of, value_matrix
from mdlc_assets.features.table import finished_table, in_order, uses_label
from mdlc_assets.features.windows import column_settings
from mdlc_assets.sourcing.cells import label_type

_FIRST_SIZE = 16


@dataclass
class EntityState:
    """The events of one entity and family: instants (int64 microseconds, ascending), values (a row for each event,
    NaN where there is none), kinds (text or None, a list for each event), running sums (see kernel.py)."""

    size: int
    times: np.ndarray
    values: np.ndarray
    sums: np.ndarray
    kinds: list[list[str | None]] = field(default_factory=list)

    @classmethod
    def of(
        cls, family: Family, times: np.ndarray, values: np.ndarray, kinds: Sequence[Sequence[str | None]] = ()
    ) -> EntityState:
        """From ascending instants, values of shape (events, values), and kinds."""
        from mdlc_assets.features import event_kernels

        size, rows = len(times), rows_of(family)
        room = max(_FIRST_SIZE, 2 * size)
        state = cls(
            size,
            np.empty(room, np.int64),
            np.empty((room, len(family.values))),
            np.zeros((room + 1, 1 + rows * len(family.values))),
            [list(row) for row in kinds],
        )
        state.times[:size], state.values[:size] = times, np.asarray(values).reshape(size, len(family.values))
        event_kernels.sum_events(0, size, state.values, state.sums, rows)
        return state

    def add(self, family: Family, time: int, values: np.ndarray, kinds: Sequence[str | None] = ()) -> None:
        """Take in an event; one that comes late is put where it belongs."""
        from mdlc_assets.features import event_kernels

        if self.size == len(self.times):
            self._make_room(family)
        place = event_kernels.take_in(time, values, self.size, self.times, self.values, self.sums, rows_of(family))
        self.size += 1
        if family.kinds:
            self.kinds.insert(place, list(kinds))

    def forget(self, family: Family, before: int) -> None:
        """Let go of events up to an instant that no window reaches any more."""
        gone = int(np.searchsorted(self.times[: self.size], before, side="right"))
        if gone:
            kept = slice(gone, self.size)
            self._become(EntityState.of(family, self.times[kept], self.values[kept], self.kinds[gone:]))

    def _make_room(self, family: Family) -> None:
        """Twice the place, unless half of the events are out of reach of the newest one's windows."""
        self.forget(family, int(self.times[self.size - 1]) - family.reach)
        if self.size * 2 > len(self.times):
            self._become(EntityState.of(family, self.times[: self.size], self.values[: self.size], self.kinds))

    def _become(self, other: EntityState) -> None:
        self.__dict__ |= other.__dict__


class EventFeatures:
    """Computes the features of single events, with the state of entities in memory.

    `states` holds for each family the state by entity; who keeps it elsewhere puts it there before asking.
    """

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        self.lifecycle = lifecycle
        self.families = families(lifecycle)
        self.states: list[dict[Any, EntityState]] = [{} for _ in self.families]
        self._answers = [_Answer(family) for family in self.families]
        self.late = [any(uses_label(lifecycle, c.value) for c in family.columns) for family in self.families]

    def fill(self, events: pl.DataFrame) -> None:
        """Take in past events, with the label column, in order of time and id: what is in the lake."""
        for family, states in zip(self.families, self.states, strict=True):
            own = family_events(self.lifecycle, family, events).sort("entity", maintain_order=True)
            for (entity,), rows in own.group_by("entity", maintain_order=True):
                states[entity] = EntityState.of(family, *_arrays(family, rows))

    def learn(self, events: pl.DataFrame) -> None:
        """Take in events whose labels have become known, with the label column: for the families that use labels."""
        for number, family in enumerate(self.families):
            if self.late[number]:
                rows = family_events(self.lifecycle, family, events)
                entities, (times, values, kinds) = rows["entity"].to_list(), _arrays(family, rows)
                for i, entity in enumerate(entities):
                    self._state(number, entity).add(family, times[i], values[i], kinds[i] if kinds else ())

    def features(self, events: pl.DataFrame) -> pl.DataFrame:
        """Take in new events, in order of time, and give their feature table, as `table.feature_table` would.

        One event after the other, but those of the same instant see each other. Row-level expressions are computed
        for all of them at once, so a few hundred at a time cost least.
        """
        label = self.lifecycle.labels.column
        attributes = self.lifecycle.dataset.attributes.values()
        if lacking := [name for known in attributes for name in known.columns if name not in events.columns]:
            raise ValueError(
                f"the events have no column {', '.join(lacking)}. Mend: join attributes to them first, as "
                "sourcing.attributes.with_attributes does."
            )
        events = in_order(self.lifecycle, events)
        if label not in events.columns:
            events = events.with_columns(pl.lit(None, label_type(self.lifecycle.labels)).alias(label))
        times = events[self.lifecycle.dataset.time].cast(pl.Int64).to_list()
        seen = [self._see(number, events) for number in range(len(self.families))]
        found = [np.empty((len(times), len(family.columns))) for family in self.families]
        first = 0
        for i, time in enumerate(times):
            if i + 1 < len(times) and times[i + 1] == time:
                continue
            together = range(first, i + 1)
            first = i + 1
            for number, (entities, counted, values, kinds) in enumerate(seen):
                for k in together:
                    if counted[k]:
                        state = self._state(number, entities[k])
                        state.add(self.families[number], time, values[k], kinds[k] if kinds else ())
                for k in together:
                    self._answers[number].fill(time, self.states[number].get(entities[k]), found[number][k])
        names = [column.name for family in self.families for column in family.columns]
        windowed = pl.DataFrame(np.hstack(found), schema=names) if names else pl.DataFrame()
        order = [column.name for column in self.lifecycle.features.window_columns()]
        return finished_table(self.lifecycle, events, windowed.select(order))

    def _state(self, number: int, entity: Any) -> EntityState:
        states = self.states[number]
        if entity not in states:
            nothing = np.empty((0, len(self.families[number].values)))
            states[entity] = EntityState.of(self.families[number], np.empty(0, np.int64), nothing)
        return states[entity]

    def _see(
        self, number: int, events: pl.DataFrame
    ) -> tuple[list[Any], list[bool], np.ndarray, list[list[str | None]]]:
        """For each event its entity, whether the family counts it at once, its values and kinds."""
        family = self.families[number]
        rows = family_columns(self.lifecycle, family, events)
        counted = rows["entity"].is_not_null()
        if family.where:
            counted &= events.select(pl.sql_expr(family.where).fill_null(False).alias("w"))["w"]
        if self.late[number]:
            counted &= False
        _, values, kinds = _arrays(family, rows)
        return rows["entity"].to_list(), counted.to_list(), values, kinds


class _Answer:
    """Says what the windows of one family hold at an instant."""

    def __init__(self, family: Family) -> None:
        self.family, self.rows = family, rows_of(family)
        self.settings = column_settings(family.columns, family.values, family.scales)
        self.bounds = np.zeros((len(self.settings[0]), 2), np.int64)
        self.counted = [
            (c, int(self.settings[1][c, 0]), family.kinds.index(str(column.value)), column.default)
            for c, column in enumerate(family.columns)
            if column.aggregation == "distinct_count"
        ]
        self.defaults = np.array([column.default for column in family.columns])

    def fill(self, time: int, state: EntityState | None, out: np.ndarray) -> None:
        """Writes the columns into `out`."""
        from mdlc_assets.features import event_kernels

        if state is None:
            out[:] = self.defaults
            return
        event_kernels.event_columns(
            time, state.size, state.times, state.values, state.sums, self.rows, *self.settings, out, self.bounds
        )
        for c, span, kind, default in self.counted:
            low, high = self.bounds[span]
            different = {row[kind] for row in state.kinds[low:high]} - {None}
            out[c] = len(different) or default


def _arrays(family: Family, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, list[list[str | None]]]:
    """Instants, values (a row for each event) and kinds of a family's events."""
    values = np.ascontiguousarray(value_matrix(rows, len(family.values)).T)
    kinds = [list(row) for row in rows.select(f"kind_{i}" for i in range(len(family.kinds))).iter_rows()]
    return rows["time"].to_numpy(), values, kinds
