"""Intermediate state: for each entity the running count and sums of all its events, day by day.

A window is the difference of two running sums, so with the state of some days and the events of the days at
the windows' edges a day's features follow, whatever the windows' length (see incremental.py).

The state of day P holds a family with delay d through the events of day P - floor(d): those whose late values
are known by the end of P. Only whole numbers are kept, so differences are exact. `declaration` is the
fingerprint of what the state was made from; state of another declaration is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import WindowColumn
from mdlc_assets.features.windows import SUBTRACTABLE, values_of
from mdlc_assets.sourcing.cells import TYPES

_DAY = timedelta(days=1)
_PARTS = ("dataset", "labels", "features")


class StateMismatchError(ValueError):
    """State that was made from another declaration."""


@dataclass(frozen=True)
class Family:
    """Columns that share entity, filter and delay, and the values that are summed for them."""

    entity: str
    where: str | None
    delay: timedelta
    columns: tuple[WindowColumn, ...]
    values: tuple[str, ...]
    squared: tuple[str, ...]

    def sums(self) -> list[str]:
        """Names of the state's sums of this family, in order."""
        return [f"sum_{i}" for i in range(len(self.values))] + [f"square_{i}" for i in range(len(self.squared))]


def families(lifecycle: LifecycleDeclaration) -> list[Family]:
    """The families in the order of the declaration."""
    columns = lifecycle.features.window_columns()
    found = []
    for entity, where, delay in dict.fromkeys((c.entity, c.where, c.delay) for c in columns):
        own = tuple(c for c in columns if (c.entity, c.where, c.delay) == (entity, where, delay))
        values = tuple(dict.fromkeys(c.value for c in own if c.value))
        squared = tuple(dict.fromkeys(c.value for c in own if c.value and c.aggregation == "std"))
        found.append(Family(entity, where, delay, own, values, squared))
    return found


def empty_events(lifecycle: LifecycleDeclaration) -> pl.DataFrame:
    """No events, but all their columns with their types, the label too."""
    types = {name: TYPES[column.type] for name, column in lifecycle.dataset.columns.items()}
    return pl.DataFrame(schema={**types, lifecycle.labels.column: pl.Int8()})


def can_be_incremental(lifecycle: LifecycleDeclaration) -> bool:
    """Whether every windowed column follows from running sums of whole numbers."""
    columns = lifecycle.features.window_columns()
    if any(column.aggregation not in SUBTRACTABLE for column in columns):
        return False
    wanted, events = {column.value for column in columns if column.value}, empty_events(lifecycle)
    return all(values_of(events, value, decimals_of(lifecycle)).whole for value in wanted)


def decimals_of(lifecycle: LifecycleDeclaration) -> dict[str, int]:
    """Columns with their declared number of decimals."""
    columns = lifecycle.dataset.columns.items()
    return {name: column.decimals for name, column in columns if column.decimals is not None}


def fingerprint(lifecycle: LifecycleDeclaration) -> str:
    """Of the parts of a declaration that state is made from."""
    return lifecycle.fingerprint(*_PARTS)


def event_day(family: Family, day: date) -> date:
    """The day through whose events the family stands in the state of `day`."""
    return day - timedelta(days=family.delay // _DAY)


def state_day(family: Family, day: date) -> date:
    """The day whose state holds the family through the events of `day`: the inverse of `event_day`."""
    return day + timedelta(days=family.delay // _DAY)


def advance(
    lifecycle: LifecycleDeclaration,
    before: pl.DataFrame | None,
    day: date,
    events_of: Callable[[date], pl.DataFrame | None],
) -> pl.DataFrame:
    """The state of `day` from that of the day before (None: there is none, the data begin).

    `events_of` gives a day's events with their labels, None for days without any.
    """
    parts = [] if before is None else [before]
    for number, family in enumerate(families(lifecycle)):
        events = events_of(event_day(family, day))
        if events is not None and events.height:
            parts.append(_totals(lifecycle, number, family, events))
    if not parts:
        return empty_state(lifecycle)
    sums = _sum_columns(lifecycle)
    return (
        pl.concat(parts, how="diagonal")
        .group_by("family", "entity")
        .agg(pl.col("count", *sums).fill_null(0).sum())
        .sort("family", "entity")
        .with_columns(pl.lit(fingerprint(lifecycle)).alias("declaration"))
    )


def check_state(lifecycle: LifecycleDeclaration, state: pl.DataFrame, day: date) -> None:
    """Raises `StateMismatchError` for state that another declaration made."""
    made = state["declaration"][0] if state.height else fingerprint(lifecycle)
    if made != fingerprint(lifecycle):
        raise StateMismatchError(
            f"feature_state of {day} was made from declaration {made}, and the present one is "
            f"{fingerprint(lifecycle)}. Mend: materialise feature_state again from {lifecycle.dataset.start} on; "
            "until then features are computed from scratch."
        )


def empty_state(lifecycle: LifecycleDeclaration) -> pl.DataFrame:
    """State before the first event."""
    entity = pl.String() if _text_entities(lifecycle) else pl.Int64()
    schema = {"family": pl.Int16(), "entity": entity, "count": pl.Int64()}
    sums = {name: pl.Int64() for name in _sum_columns(lifecycle)}
    return pl.DataFrame(schema={**schema, **sums, "declaration": pl.String()})


def entity_expression(lifecycle: LifecycleDeclaration, family: Family) -> pl.Expr:
    """An event's entity as the state keeps it: text as soon as one family's entities are."""
    return pl.col(family.entity).cast(pl.String if _text_entities(lifecycle) else pl.Int64).alias("entity")


def _text_entities(lifecycle: LifecycleDeclaration) -> bool:
    return any(lifecycle.dataset.columns[family.entity].type != "integer" for family in families(lifecycle))


def _sum_columns(lifecycle: LifecycleDeclaration) -> list[str]:
    return list(dict.fromkeys(name for family in families(lifecycle) for name in family.sums()))


def family_numbers(lifecycle: LifecycleDeclaration, family: Family, events: pl.DataFrame) -> dict[str, pl.Series]:
    """The whole numbers of each event that a family sums, by the sums' names."""
    decimals = decimals_of(lifecycle)
    plain = [values_of(events, value, decimals).numbers for value in family.values]
    squares = [values_of(events, value, decimals).numbers ** 2 for value in family.squared]
    return {name: pl.Series(name, numbers) for name, numbers in zip(family.sums(), plain + squares, strict=True)}


def kept_events(family: Family, events: pl.DataFrame) -> pl.DataFrame:
    """The events that the family's filter lets through."""
    return events.filter(pl.sql_expr(family.where).fill_null(False)) if family.where else events


def _totals(lifecycle: LifecycleDeclaration, number: int, family: Family, events: pl.DataFrame) -> pl.DataFrame:
    kept = kept_events(family, events)
    return (
        kept.select(entity_expression(lifecycle, family), *family_numbers(lifecycle, family, kept).values())
        .group_by("entity")
        .agg(pl.len().cast(pl.Int64).alias("count"), pl.all().sum())
        .with_columns(pl.lit(number, pl.Int16).alias("family"))
    )


def state_days_needed(lifecycle: LifecycleDeclaration, day: date) -> list[date]:
    """The days whose state the features of `day` follow from."""
    found: set[date] = set()
    for family in families(lifecycle):
        for column in family.columns:
            edges = [*edge_days(day, column.delay), *edge_days(day, column.delay + column.window)]
            found |= {state_day(family, edge - _DAY) for edge in edges}
    return sorted(found)


def edge_days(day: date, offset: timedelta) -> Sequence[date]:
    """The one or two days in which instants of `day` less `offset` lie."""
    back = -(-offset // _DAY)
    return (
        [day - timedelta(days=back)]
        if offset % _DAY == timedelta(0)
        else [
            day - timedelta(days=back),
            day - timedelta(days=back - 1),
        ]
    )
