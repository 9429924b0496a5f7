"""Intermediate state: what the events of all days so far leave behind for the windows of later days.

A window of count, sum, mean or deviation is the difference of two running sums. The state of a day holds for each
entity the sums of all its events, and beside them the day's own events, so that the sums up to any instant of that
day follow from this one file. Other aggregations keep the few events that can still be an answer (`Kept`). So a
day's features follow from the new day and the states at the windows' edges, whatever the windows' length.

The state of day P holds a family with delay d through the events of day P - floor(d): those whose late values
are known by the end of P. `declaration` is the fingerprint of what the state was made from; state of another
declaration is never read. Made again from the same events it has the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.families import Family, Kept, decimals_of, families, once_for_each
from mdlc_assets.features.values import one_zero, values_of

_DAY, _MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1)
_PARTS = ("dataset", "labels", "features")
_VERSION = "2"


class StateMismatchError(ValueError):
    """State that was made from another declaration."""


def microseconds(day: date) -> int:
    """The first instant of a day (UTC), in microseconds since 1970."""
    return (datetime(day.year, day.month, day.day) - _EPOCH) // _MICROSECOND


@once_for_each
def fingerprint(lifecycle: LifecycleDeclaration) -> str:
    """Of the parts of a declaration that state is made from, and of the state's own form."""
    return f"{lifecycle.fingerprint(*_PARTS)}-{_VERSION}"


def check_fingerprint(lifecycle: LifecycleDeclaration, made: str | None, day: date) -> None:
    """Raises `StateMismatchError` for state that another declaration made."""
    if made is not None and made != fingerprint(lifecycle):
        raise StateMismatchError(
            f"feature_state of {day} was made from declaration {made}, and the present one is "
            f"{fingerprint(lifecycle)}. Mend: `mdlc features rebuild {lifecycle.name}`, or materialise feature_state "
            f"again from {lifecycle.dataset.start} on; until then features are computed from all events."
        )


@dataclass(frozen=True)
class FamilyState:
    """What a day leaves for one family. `entities` are sorted, and `sums` has a column for each (see kernel.py).

    `events` are the day's own: `entity`, `time` (int64 microseconds), `value_<i>`, `kind_<i>`, by entity and time;
    `kept` has the same columns.
    """

    entities: pl.Series
    sums: np.ndarray
    events: pl.DataFrame
    kept: dict[Kept, pl.DataFrame]


def family_events(lifecycle: LifecycleDeclaration, family: Family, events: pl.DataFrame) -> pl.DataFrame:
    """A family's view of the events it counts, as `FamilyState.events`, but in the order they come in."""
    kept = events.filter(pl.sql_expr(family.where).fill_null(False)) if family.where else events
    table = family_columns(lifecycle, family, kept)
    return table.filter(pl.col("entity").is_not_null()) if table["entity"].null_count() else table


def family_columns(lifecycle: LifecycleDeclaration, family: Family, events: pl.DataFrame) -> pl.DataFrame:
    """Entity, time, values and kinds of all the events."""
    decimals = decimals_of(lifecycle)
    time = events[lifecycle.dataset.time].cast(pl.Int64).alias("time")
    values = [values_of(events, value, decimals).numbers for value in family.values]
    return pl.DataFrame(
        [
            family_entities(lifecycle, family, events).alias("entity"),
            time,
            *(pl.Series(f"value_{i}", numbers) for i, numbers in enumerate(values)),
            *(_kind(events, kind).alias(f"kind_{i}") for i, kind in enumerate(family.kinds)),
        ]
    )


def family_entities(lifecycle: LifecycleDeclaration, family: Family, events: pl.DataFrame) -> pl.Series:
    """The entity of each event, as the state keeps it."""
    return events[family.entity].cast(_entity_type(lifecycle))


def _kind(events: pl.DataFrame, value: str) -> pl.Series:
    """What is counted apart, as text, which every type can be kept as."""
    return one_zero(events.select(pl.sql_expr(value).alias("v"))["v"]).cast(pl.String)


def advance(
    lifecycle: LifecycleDeclaration,
    before: Sequence[FamilyState] | None,
    day: date,
    events_of: Callable[[date], pl.DataFrame | None],
) -> list[FamilyState]:
    """The state of `day` from that of the day before (None: there is none, the data begin).

    `events_of` gives a day's events with their labels, in order of time and id; None for days without any.
    """
    states = before or empty_state(lifecycle)
    found = []
    for family, state in zip(families(lifecycle), states, strict=True):
        raw = events_of(family.through(day))
        if raw is None or not raw.height:
            found.append(FamilyState(state.entities, state.sums, state.events.clear(), state.kept))
            continue
        events = family_events(lifecycle, family, raw).sort("entity", maintain_order=True)
        entities, sums = _add(family, state, events)
        until = microseconds(family.through(day) + _DAY)
        kept = {kind: _keep(family, kind, table, events, until) for kind, table in state.kept.items()}
        found.append(FamilyState(entities, sums, events, kept))
    return found


def value_matrix(events: pl.DataFrame, count: int) -> np.ndarray:
    """The values of a family's events, a row each."""
    return np.array([events[f"value_{i}"].to_numpy() for i in range(count)], np.float64).reshape(count, events.height)


def _add(family: Family, state: FamilyState, events: pl.DataFrame) -> tuple[pl.Series, np.ndarray]:
    """Entities and sums with the events (sorted by entity) added."""
    from mdlc_assets.features import kernel

    rows = rows_of(family)
    sums = kernel.running_sums(value_matrix(events, len(family.values)), rows)
    new = events["entity"].unique(maintain_order=True)
    starts = events["entity"].search_sorted(new).to_numpy().astype(np.int64)
    entities = pl.concat([state.entities, new]).unique().sort()
    places, lows, highs = np.full(len(entities), -1), np.zeros(len(entities), int), np.zeros(len(entities), int)
    places[entities.search_sorted(state.entities).to_numpy()] = np.arange(len(state.entities))
    at = entities.search_sorted(new).to_numpy()
    lows[at], highs[at] = starts, np.append(starts[1:], events.height)
    return entities, kernel.add_between(state.sums, places, sums, lows, highs, rows)


def _keep(family: Family, kind: Kept, table: pl.DataFrame, events: pl.DataFrame, until: int) -> pl.DataFrame:
    """Of the events kept so far and the new ones those that can answer a later window; `until` is the end of the
    new ones' day."""
    column = (
        f"kind_{family.kinds.index(kind.value)}"
        if kind.aggregation == "distinct_count"
        else (f"value_{family.values.index(kind.value)}")
    )
    widest = max(c.window for c in family.columns if (c.aggregation, c.value) == (kind.aggregation, kind.value))
    there = pl.col(column).is_not_null() if column.startswith("kind") else pl.col(column).is_not_nan()
    both = pl.concat([table, events]).filter(there & (pl.col("time") > until - widest // _MICROSECOND))
    both = both.sort("entity", "time", maintain_order=True)
    value = pl.col(column)
    match kind.aggregation:
        case "distinct_count":
            return both.unique(["entity", column], keep="last", maintain_order=True)
        case "last":
            return both.unique("entity", keep="last", maintain_order=True)
        case "first":
            of_day = (pl.col("time") // (_DAY // _MICROSECOND)).alias("_day")
            return both.with_columns(of_day).unique(["entity", "_day"], keep="first", maintain_order=True).drop("_day")
        case "max":
            later = value.cum_max(reverse=True).shift(-1).over("entity")
            return both.filter(later.is_null() | (value > later))
        case _:
            later = value.cum_min(reverse=True).shift(-1).over("entity")
            return both.filter(later.is_null() | (value < later))


def rows_of(family: Family) -> int:
    """How many rows a value has in the family's matrix of sums."""
    from mdlc_assets.features import kernel

    return kernel.WITH_SQUARES if family.squared else kernel.WITHOUT_SQUARES


@once_for_each
def empty_state(lifecycle: LifecycleDeclaration) -> list[FamilyState]:
    """State before the first event."""
    entity, found = _entity_type(lifecycle), []
    for family in families(lifecycle):
        values = {f"value_{i}": pl.Float64() for i in range(len(family.values))}
        kinds = {f"kind_{i}": pl.String() for i in range(len(family.kinds))}
        events = pl.DataFrame(schema={"entity": entity, "time": pl.Int64(), **values, **kinds})
        kept = dict.fromkeys(family.kept, events)
        found.append(FamilyState(pl.Series("entity", [], entity), np.empty((len(family.sums()), 0)), events, kept))
    return found


@once_for_each
def _entity_type(lifecycle: LifecycleDeclaration) -> pl.DataType:
    """How entities are kept: as text as soon as one family's are not whole numbers."""
    types = {lifecycle.dataset.columns[family.entity].type for family in families(lifecycle)}
    return pl.Int64() if types <= {"integer"} else pl.String()
