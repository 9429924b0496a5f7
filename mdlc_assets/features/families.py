"""Families: windowed columns that share entity, filter and delay, and so share stored state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache, wraps
from typing import TypeVar

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import WindowColumn
from mdlc_assets.features.values import Values, values_of
from mdlc_assets.features.windows import SUBTRACTABLE
from mdlc_assets.sourcing.cells import TYPES, label_type

_DAY, _MICROSECOND = timedelta(days=1), timedelta(microseconds=1)


@dataclass(frozen=True)
class Kept:
    """Events that stay in the state because no sum can give them back: `max(amount)` keeps those that no later one
    outdoes, `distinct_count` the last of each kind, `first` the first of each day, `last` the last."""

    aggregation: str
    value: str

    @property
    def name(self) -> str:
        """As it is called in the state's `part` column."""
        return f"{self.aggregation}({self.value})"


@dataclass(frozen=True)
class Family:
    """Columns that share entity, filter and delay. `values` are the numbers they take, `kinds` what they count the
    different ones of, `scales` what the numbers were multiplied by to be whole (`whole` says whether they are)."""

    number: int
    entity: str
    where: str | None
    delay: timedelta
    columns: tuple[WindowColumn, ...]
    values: tuple[str, ...]
    kinds: tuple[str, ...]
    scales: tuple[float, ...]
    whole: tuple[bool, ...]

    @cached_property
    def squared(self) -> bool:
        """Whether sums of squares are held."""
        return any(column.aggregation == "std" for column in self.columns)

    @cached_property
    def kept(self) -> list[Kept]:
        """Which events stay in the state."""
        return list(
            dict.fromkeys(
                Kept(column.aggregation, column.value)
                for column in self.columns
                if column.value and column.aggregation not in SUBTRACTABLE
            )
        )

    def sums(self) -> list[str]:
        """The state's columns that hold this family's matrix of sums, row by row."""
        rows = ["known_{}", "sum_{}", "sum_{}_low", *(["square_{}", "square_{}_low"] if self.squared else [])]
        return ["count", *(row.format(i) for i in range(len(self.values)) for row in rows)]

    def through(self, day: date) -> date:
        """The day through whose events the family stands in the state of `day`: late values are known by its end."""
        return day - timedelta(days=self.delay // _DAY)

    def state_day(self, day: date) -> date:
        """The day whose state holds the family through the events of `day`: the inverse of `through`."""
        return day + timedelta(days=self.delay // _DAY)

    @property
    def reach(self) -> int:
        """How far back the widest window reaches, delay included, in microseconds."""
        return max(column.window for column in self.columns) // _MICROSECOND + self.delay // _MICROSECOND

    def offsets(self) -> list[timedelta]:
        """How long before an event its windows end and begin."""
        return sorted({offset for column in self.columns for offset in (column.delay, column.delay + column.window)})


T = TypeVar("T")


class _Same:
    """A declaration that equals only itself: declarations never change, and comparing their content is slow."""

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        self.lifecycle = lifecycle

    def __hash__(self) -> int:
        return id(self.lifecycle)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.lifecycle is other.lifecycle


def once_for_each(function: Callable[[LifecycleDeclaration], T]) -> Callable[[LifecycleDeclaration], T]:
    """Remembers what a function says of the declarations seen last."""
    remembered = lru_cache(maxsize=64)(lambda same: function(same.lifecycle))
    return wraps(function)(lambda lifecycle: remembered(_Same(lifecycle)))


@once_for_each
def families(lifecycle: LifecycleDeclaration) -> tuple[Family, ...]:
    """The families in the order of the declaration."""
    columns = lifecycle.features.window_columns()
    empty, decimals = empty_events(lifecycle), decimals_of(lifecycle)
    found: list[Family] = []
    for entity, where, delay in dict.fromkeys((c.entity, c.where, c.delay) for c in columns):
        own = tuple(c for c in columns if (c.entity, c.where, c.delay) == (entity, where, delay))
        counted = tuple(dict.fromkeys(c.value for c in own if c.value and c.aggregation == "distinct_count"))
        values = tuple(dict.fromkeys(c.value for c in own if c.value and c.aggregation != "distinct_count"))
        made: list[Values] = [values_of(empty, value, decimals) for value in values]
        scales, whole = tuple(v.scale for v in made), tuple(v.whole for v in made)
        found.append(Family(len(found), entity, where, delay, own, values, counted, scales, whole))
    return tuple(found)


def empty_events(lifecycle: LifecycleDeclaration) -> pl.DataFrame:
    """No events, but all their columns with their types, attributes and the label too."""
    types = {name: TYPES[column.type] for name, column in lifecycle.dataset.validated_columns.items()}
    return pl.DataFrame(schema={**types, lifecycle.labels.column: label_type(lifecycle.labels)})


def decimals_of(lifecycle: LifecycleDeclaration) -> dict[str, int]:
    """Columns with their declared number of decimals."""
    columns = lifecycle.dataset.validated_columns.items()
    return {name: column.decimals for name, column in columns if column.decimals is not None}


def edge_days(day: date, offset: timedelta) -> Sequence[date]:
    """The one or two days in which instants of `day` less `offset` lie."""
    back = -(-offset // _DAY)
    first = day - timedelta(days=back)
    return [first] if offset % _DAY == timedelta(0) else [first, first + _DAY]


def state_days_needed(lifecycle: LifecycleDeclaration, day: date) -> list[date]:
    """The days whose state the features of `day` follow from, all before it."""
    found: set[date] = set()
    for family in families(lifecycle):
        for offset in family.offsets():
            edges = edge_days(day, offset)
            found |= {family.state_day(edge) for edge in edges}
            if family.kept and offset == family.delay:
                found.add(family.state_day(edges[0] - _DAY))
        found.add(day - _DAY)
    return sorted(found - {day})


def event_days_needed(lifecycle: LifecycleDeclaration, day: date) -> list[date]:
    """The days whose events, with labels, the features of `day` follow from besides states: those not yet in them."""
    return sorted({day, *(family.through(day) for family in families(lifecycle))})
