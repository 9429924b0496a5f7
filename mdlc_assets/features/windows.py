"""Windowed aggregations of events, as `declaration/features.py` defines them, in bulk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration.features import Aggregation, WindowColumn
from mdlc_assets.features.values import Values, codes_of, entity_codes, values_of

_MICROSECOND = timedelta(microseconds=1)
_FEW_EVENTS = 50_000
_CODES = "codes of "
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
    whole = bool(asked.all())
    out = np.empty((len(columns), len(asked) if whole else int(asked.sum())))
    groups: dict[tuple[str, str | None], list[int]] = {}
    for i, column in enumerate(columns):
        groups.setdefault((column.entity, column.where), []).append(i)
    # The kernels let go of the interpreter's lock, so groups and parts of them are computed side by side.
    with ThreadPoolExecutor(_THREADS) as pool:

        def lay_out(group: tuple[str, str | None]) -> _Group:
            entity, where = group
            own = [columns[i] for i in groups[group]]
            return _Group(
                entities[entity], times, None if whole else asked, kept[where] if where else None, own, values
            )

        for group, members in zip(list(pool.map(lay_out, groups)), groups.values(), strict=True):
            group.answer(pool, np.array(members), out)
    return out


class _Group:
    """Columns of one entity and filter: its events and the asked instants, laid out entity by entity.

    `codes` are those of all events, `asked` and `kept` say which of them are asked and which count; None: all.
    """

    def __init__(
        self,
        codes: tuple[np.ndarray, int],
        times: np.ndarray,
        asked: np.ndarray | None,
        kept: np.ndarray | None,
        columns: Sequence[WindowColumn],
        values: Mapping[str, Values],
    ) -> None:
        from mdlc_assets.features import kernel, window_kernels

        of_events, count = codes
        none = np.int32(-1)
        counted = of_events if kept is None else np.where(kept, of_events, none)
        places, self.starts = kernel.layout(counted, count)
        self.times = window_kernels.spread_times(times, counted, places, self.starts)
        self.columns = columns
        self.sources = list(dict.fromkeys(source_name(column) for column in columns if column.value))
        self.of_sources = [values[name] for name in self.sources]
        self.values = np.empty((len(self.sources), int(self.starts[-1])))
        for value, row in zip(self.of_sources, self.values, strict=True):
            window_kernels.spread(value.numbers, places, row)
        if asked is None and kept is None:
            self.places, self.asked_starts, self.asked_times = places, self.starts, self.times
            return
        wanted, instants = (of_events, times) if asked is None else (of_events[asked], times[asked])
        self.places, self.asked_starts = kernel.layout(wanted, count)
        self.asked_times = window_kernels.spread_times(instants, wanted, self.places, self.asked_starts)

    def answer(self, pool: ThreadPoolExecutor, members: np.ndarray, out: np.ndarray) -> None:
        """Fills the rows `members` of `out`."""
        from mdlc_assets.features import window_kernels

        columns, sources = self.columns, self.sources
        spans, rows, scales, defaults = column_settings(columns, sources, [value.scale for value in self.of_sources])
        offsets, edges = np.unique(np.stack([spans[:, 1], spans.sum(axis=1)], axis=1), return_inverse=True)
        rows = np.ascontiguousarray(np.hstack([edges.reshape(-1, 2)[rows[:, 0]], rows[:, 1:]]))
        answers = np.empty((int(self.asked_starts[-1]), len(columns)))
        most = int(np.diff(self.starts).max(initial=0))
        squared = any(column.aggregation == "std" for column in columns)
        kinds = [row for name, row in zip(sources, self.values, strict=True) if name.startswith(_CODES)]
        _side_by_side(
            pool,
            _cuts(self.starts + self.asked_starts),
            window_kernels.window_table,
            self.starts,
            self.times,
            self.values,
            np.array([value.plain(most, squared=squared) for value in self.of_sources], np.bool_),
            self.asked_starts,
            self.asked_times,
            offsets,
            rows,
            scales,
            defaults,
            int(max((np.nanmax(row, initial=0) for row in kinds), default=0)) + 1,
            answers,
        )
        size, count = len(self.places), _THREADS if len(self.places) > _FEW_EVENTS else 1
        cuts = [size * i // count for i in range(count + 1)]
        _side_by_side(pool, cuts, window_kernels.collect, self.places, answers, defaults, members, out)


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


def _cuts(starts: np.ndarray) -> list[int]:
    """Ranges of entities with about the same number of events, one a thread."""
    events = int(starts[-1])
    count = _THREADS if events > _FEW_EVENTS else 1
    inner = np.searchsorted(starts[:-1], [events * i // count for i in range(1, count)])
    return [0, *map(int, inner), len(starts) - 1]


def _side_by_side(pool: ThreadPoolExecutor, cuts: Sequence[int], work: Callable[..., object], *data: object) -> None:
    """Calls `work(first, last, *data)` from each cut to the next."""
    list(pool.map(lambda first, last: work(first, last, *data), cuts[:-1], cuts[1:]))
