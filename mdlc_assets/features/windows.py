"""Windowed aggregations of events, as `declaration/features.py` defines them, in bulk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import numpy as np
import polars as pl

from mdlc_assets.declaration.features import Aggregation, WindowColumn
from mdlc_assets.features.values import Values, codes_of, entity_codes, values_of

_MICROSECOND = timedelta(microseconds=1)
_FEW_EVENTS = 50_000
_CODES = "codes of "
_EVERYTHING = np.empty(0, np.bool_)
_THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

SUBTRACTABLE: frozenset[Aggregation] = frozenset({"count", "sum", "mean", "share", "std"})
"""Aggregations of a window that follow from the difference of two running sums."""


def kind_of(aggregation: Aggregation) -> int:
    """The kernel's number for an aggregation."""
    from mdlc_assets.features import kernel

    kinds: dict[Aggregation, int] = {
        "count": kernel.COUNT,
        "sum": kernel.SUM,
        "mean": kernel.MEAN,
        "share": kernel.MEAN,
        "std": kernel.STD,
        "min": kernel.MIN,
        "max": kernel.MAX,
        "first": kernel.FIRST,
        "last": kernel.LAST,
        "distinct_count": kernel.DISTINCT,
    }
    return kinds[aggregation]


def window_columns(
    events: pl.DataFrame,
    wanted: pl.Series,
    columns: Sequence[WindowColumn],
    *,
    time: str,
    decimals: Mapping[str, int],
) -> pl.DataFrame:
    """The columns for the rows of `events` where `wanted` is true, in the order of those rows.

    `events` holds everything the windows reach: entities, `time` (Datetime us), values, and the label where one
    is aggregated. Of events at the same instant, the earlier row is the first. `decimals` says of a column how
    many decimals it has at most, so that it is summed in whole numbers. Every result is Float64; `std` is the
    sample deviation (n - 1), and 0 for a single value. Null, NaN and infinity are no values: only `count` counts
    such events. An event without entity stands in no window, and has the default everywhere.
    """
    if not events[time].is_sorted():
        rows = events.with_columns(wanted.alias("_wanted")).with_row_index("_row").sort(time, maintain_order=True)
        found = window_columns(rows, rows["_wanted"], columns, time=time, decimals=decimals)
        return found.with_columns(rows.filter("_wanted")["_row"]).sort("_row").drop("_row")
    values: dict[str, Values] = {}
    for column in columns:
        if column.value and source_name(column) not in values:
            values[source_name(column)] = _source(events, column, decimals)
    kept = {
        where: events.select(pl.sql_expr(where).fill_null(False).alias("w"))["w"].to_numpy()
        for where in {column.where for column in columns}
        if where
    }
    asked = wanted.to_numpy()
    out = aggregate(
        {entity: entity_codes(events[entity]) for entity in {column.entity for column in columns}},
        events[time].cast(pl.Int64).to_numpy(),
        asked,
        kept,
        values,
        columns,
    )
    return pl.DataFrame({column.name: out[i] for i, column in enumerate(columns)})


def source_name(column: WindowColumn) -> str:
    """What tells apart the numbers that columns take: those of a value, or the codes of its kinds."""
    return f"{_CODES}{column.value}" if column.aggregation == "distinct_count" else str(column.value)


def _source(events: pl.DataFrame, column: WindowColumn, decimals: Mapping[str, int]) -> Values:
    assert column.value
    if column.aggregation == "distinct_count":
        return codes_of(events.select(pl.sql_expr(column.value).alias("v"))["v"])
    return values_of(events, column.value, decimals)


def aggregate(
    entities: Mapping[str, tuple[np.ndarray, int]],
    times: np.ndarray,
    asked: np.ndarray,
    kept: Mapping[str, np.ndarray],
    values: Mapping[str, Values],
    columns: Sequence[WindowColumn],
) -> np.ndarray:
    """The columns (first axis, in order) for the events where `asked` holds (second axis, in order).

    Everything is in order of events, and those in order of time: `entities` gives codes and how many there may
    be, `kept` for each filter which events it lets through, `values` by `source_name`.
    """
    from mdlc_assets.features import kernel

    # Where each asked event stands among the asked ones.
    place = np.cumsum(asked) - 1
    size = int(asked.sum())
    out = np.empty((len(columns), size))
    groups: dict[tuple[str, str | None], list[int]] = {}
    for i, column in enumerate(columns):
        groups.setdefault((column.entity, column.where), []).append(i)
    scratch = np.empty(size * max(map(len, groups.values()), default=0))
    with ThreadPoolExecutor(_THREADS) as pool:
        # The kernels let go of the interpreter's lock, so entities are computed side by side.
        names = list(dict.fromkeys(entity for entity, _ in groups))
        orders = dict(zip(names, pool.map(lambda name: kernel.stable_order(*entities[name]), names), strict=True))
        for (entity, where), members in groups.items():
            order, starts = orders[entity]
            own = [columns[i] for i in members]
            rows = scratch[: size * len(members)].reshape(size, len(members))
            if len(order) < len(asked):
                rows[:] = [column.default for column in own]
            sources = list(dict.fromkeys(source_name(column) for column in own if column.value))
            gather = partial(_gathered, order)
            data = list(pool.map(gather, [times, asked, place, kept[where] if where else _EVERYTHING]))
            numbers = list(pool.map(gather, [values[name].numbers for name in sources]))
            _each_part(
                pool, starts, kernel.window_table, starts, *data, *_settings(own, values, sources, numbers), rows
            )
            # Consecutive columns are a view, which is filled in place.
            whole = members == list(range(members[0], members[-1] + 1))
            turned = out[members[0] : members[-1] + 1] if whole else np.empty((len(members), size))
            _each_part(pool, np.arange(size + 1), kernel.turn, rows, turned)
            if not whole:
                out[members] = turned
    return out


def _gathered(order: np.ndarray, array: np.ndarray) -> np.ndarray:
    from mdlc_assets.features import kernel

    return kernel.gather(array, order) if len(array) else array


def _settings(
    columns: Sequence[WindowColumn], values: Mapping[str, Values], sources: list[str], numbers: list[np.ndarray]
) -> tuple[object, ...]:
    """The kernel's arguments from `values` to `codes`."""
    codes = [found for name, found in zip(sources, numbers, strict=True) if name.startswith(_CODES)]
    return (
        numbers[0].reshape(1, -1) if len(numbers) == 1 else np.array(numbers, np.float64, ndmin=2),
        np.array([values[name].plain for name in sources], np.bool_),
        *column_settings(columns, sources, [values[name].scale for name in sources]),
        int(max((np.nanmax(found, initial=0) for found in codes), default=0)) + 1,
    )


def column_settings(
    columns: Sequence[WindowColumn], sources: Sequence[str], scales: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The kernel's `spans`, `columns`, `scales` and `defaults`, for values in the order of `sources`."""
    spans = list(dict.fromkeys((column.window, column.delay) for column in columns))
    at = [sources.index(name) if (name := source_name(column)) in sources else -1 for column in columns]
    rows = [
        (spans.index((column.window, column.delay)), kind_of(column.aggregation), value)
        for column, value in zip(columns, at, strict=True)
    ]
    return (
        np.array([[width // _MICROSECOND, delay // _MICROSECOND] for width, delay in spans], np.int64).reshape(-1, 2),
        np.array(rows, np.int64).reshape(-1, 3),
        np.array([scales[value] if value >= 0 else 1.0 for value in at]),
        np.array([column.default for column in columns], np.float64),
    )


def _each_part(pool: ThreadPoolExecutor, starts: np.ndarray, work: Callable[..., object], *data: object) -> None:
    """Calls `work(first, last, *data)` for ranges of places with about the same number of events, one a thread."""
    events = int(starts[-1])
    count = _THREADS if events > _FEW_EVENTS else 1
    cuts = np.searchsorted(starts[:-1], [events * i // count for i in range(1, count)])
    edges = [0, *map(int, cuts), len(starts) - 1]
    list(pool.map(lambda first, last: work(first, last, *data), edges[:-1], edges[1:]))
