"""A day's features from stored state: the new day, the days at the windows' edges, and running sums."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

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
from mdlc_assets.features.table import row_table
from mdlc_assets.features.windows import from_sums, running, values_of

_DAY = timedelta(days=1)

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
    plain = row_table(lifecycle, today)
    found: dict[str, np.ndarray] = {}
    for number, family in enumerate(families(lifecycle)):
        up_to: dict[timedelta, Sums] = {}
        for column in lifecycle.features.window_columns():
            if (column.entity, column.where, column.delay) != (family.entity, family.where, family.delay):
                continue
            for offset in (column.delay, column.delay + column.window):
                if offset not in up_to:
                    up_to[offset] = _sums_up_to(lifecycle, number, family, day, today, offset, events_of, state_of)
            late, early = up_to[column.delay], up_to[column.delay + column.window]
            count = late["count"] - early["count"]
            total = squares = count
            scale = 1
            if column.value:
                name = f"sum_{family.values.index(column.value)}"
                total = late[name] - early[name]
                scale = values_of(today.clear(), column.value, decimals_of(lifecycle)).scale
                if column.aggregation == "std":
                    name = f"square_{family.squared.index(column.value)}"
                    squares = late[name] - early[name]
            found[column.name] = from_sums(column, count, total, squares, scale)
    windowed = pl.DataFrame({column.name: found[column.name] for column in lifecycle.features.window_columns()})
    dataset = lifecycle.dataset
    return pl.concat([plain, windowed], how="horizontal").sort(dataset.time, dataset.id)


def _sums_up_to(
    lifecycle: LifecycleDeclaration,
    number: int,
    family: Family,
    day: date,
    today: pl.DataFrame,
    offset: timedelta,
    events_of: Callable[[date], pl.DataFrame | None],
    state_of: Callable[[date], pl.DataFrame | None],
) -> Sums:
    """For each event of today at time t: count and sums of its entity's events up to t - offset."""
    names = ["count", *family.sums()]
    result = {name: np.zeros(today.height, np.int64) for name in names}
    instant = today[lifecycle.dataset.time] - offset
    for edge in edge_days(day, offset):
        begin = datetime(edge.year, edge.month, edge.day, tzinfo=UTC)
        here = instant.is_between(begin, begin + _DAY, closed="left").to_numpy()
        if not here.any():
            continue
        asked = today.filter(here).select(entity_expression(lifecycle, family), instant.filter(here).alias("_until"))
        state = state_of(state_day(family, edge - _DAY))
        for sums in (_from_state(number, names, asked, state), _from_edge(lifecycle, family, asked, events_of(edge))):
            for name in names:
                result[name][here] += sums[name]
    return result


def _from_state(number: int, names: list[str], asked: pl.DataFrame, state: pl.DataFrame | None) -> Sums:
    if state is None:
        return {name: np.zeros(asked.height, np.int64) for name in names}
    own = state.filter(pl.col("family") == number).select("entity", *names)
    found = asked.join(own, on="entity", how="left", maintain_order="left").select(pl.col(names).fill_null(0))
    return {name: found[name].to_numpy() for name in names}


def _from_edge(
    lifecycle: LifecycleDeclaration, family: Family, asked: pl.DataFrame, events: pl.DataFrame | None
) -> Sums:
    from mdlc_assets.features import kernel

    names = ["count", *family.sums()]
    if events is None or not events.height:
        return {name: np.zeros(asked.height, np.int64) for name in names}
    kept = kept_events(family, events)
    table = kept.select(
        entity_expression(lifecycle, family),
        pl.col(lifecycle.dataset.time).alias("_time"),
        *family_numbers(lifecycle, family, kept).values(),
    )
    # The kernel compares numbers, so text entities get codes that both sides share.
    if table.schema["entity"] == pl.String:
        both = pl.concat([table["entity"], asked["entity"]]).rank("dense").cast(pl.Int64)
        table = table.with_columns(both.head(table.height).alias("entity"))
        asked = asked.with_columns(both.tail(asked.height).alias("entity"))
    table = table.sort("entity", "_time")
    order = asked.with_row_index("_place").sort("entity", "_until")
    low, high = kernel.window_bounds(
        order["entity"].to_numpy(),
        order["_until"].cast(pl.Int64).to_numpy(),
        table["entity"].to_numpy(),
        table["_time"].cast(pl.Int64).to_numpy(),
        2 * _DAY // timedelta(microseconds=1),
        0,
    )
    place = order["_place"].to_numpy()
    found = {}
    for name in names:
        sums = high - low if name == "count" else kernel.window_sums(low, high, running(table[name].to_numpy()))
        found[name] = np.empty_like(sums)
        found[name][place] = sums
    return found
