"""Windowed aggregations of events, as `declaration/features.py` defines them, in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration.features import WindowColumn

_THREADS = 4

SUBTRACTABLE = frozenset({"count", "sum", "mean", "share", "std"})
"""Aggregations of a window that follow from the difference of two running sums."""


@dataclass(frozen=True)
class Values:
    """What is aggregated: numbers in event order, whole ones scaled by `10**decimals` where they can be."""

    numbers: np.ndarray
    scale: int

    @property
    def whole(self) -> bool:
        return self.numbers.dtype == np.int64


def window_columns(
    events: pl.DataFrame,
    wanted: pl.Series,
    columns: Sequence[WindowColumn],
    *,
    time: str,
    decimals: Mapping[str, int],
) -> pl.DataFrame:
    """The columns for the rows of `events` where `wanted` is true, in the order of those rows.

    `events` holds everything the windows reach: entities, `time` (Datetime us), values, and the label where
    one is aggregated (an event without a label counts as an event, with label 0). `decimals` says of a
    column how many decimals it has at most, so that it is summed in whole numbers. Every result is Float64;
    `std` is the sample deviation (n - 1), and 0 for a single event.
    """
    from mdlc_assets.features import kernel

    if not events[time].is_sorted():
        rows = events.with_columns(wanted.alias("_wanted")).with_row_index("_row").sort(time, maintain_order=True)
        found = window_columns(rows, rows["_wanted"], columns, time=time, decimals=decimals)
        return found.with_columns(rows.filter("_wanted")["_row"]).sort("_row").drop("_row")
    asked = wanted.to_numpy()
    instants = events[time].cast(pl.Int64).to_numpy()
    # Where each wanted event stands among the wanted ones.
    place = np.cumsum(asked) - 1
    values = {
        value: values_of(events, value, decimals)
        for value in dict.fromkeys(column.value for column in columns if column.value)
    }
    groups = list(dict.fromkeys((column.entity, column.where) for column in columns))

    def compute(group: tuple[str, str | None]) -> dict[str, np.ndarray]:
        entity, where = group
        codes = entity_codes(events[entity])
        order = kernel.stable_order(codes, int(codes.max(initial=-1)) + 1)
        queries = order[asked[order]]
        kept = order
        if where:
            kept = order[events.select(pl.sql_expr(where).fill_null(False).alias("w"))["w"].to_numpy()[order]]
        own = [column for column in columns if (column.entity, column.where) == group]
        return _of_one_entity(own, codes, instants, queries, kept, place[queries], values)

    # The kernels let go of the interpreter's lock, so entities are computed side by side.
    with ThreadPoolExecutor(_THREADS) as pool:
        results = {name: found for some in pool.map(compute, groups) for name, found in some.items()}
    return pl.DataFrame({column.name: results[column.name] for column in columns})


def _of_one_entity(
    columns: Sequence[WindowColumn],
    codes: np.ndarray,
    instants: np.ndarray,
    queries: np.ndarray,
    kept: np.ndarray,
    place: np.ndarray,
    values: Mapping[str, Values],
) -> dict[str, np.ndarray]:
    """Columns that share entity and filter. `queries` and `kept` are positions of the events to answer for and of
    those that count, by entity and time; `place` is where each answer belongs."""
    from mdlc_assets.features import kernel

    sides = (codes[queries], instants[queries], codes[kept], instants[kept])
    own = {name: Values(found.numbers[kept], found.scale) for name, found in values.items()}
    bounds: dict[tuple[timedelta, timedelta], tuple[np.ndarray, np.ndarray]] = {}
    results = {}
    for column in columns:
        key = (column.window, column.delay)
        if key not in bounds:
            spans = [span // timedelta(microseconds=1) for span in key]
            bounds[key] = kernel.window_bounds(*sides, *spans)
        result = _aggregate(column, *bounds[key], own[column.value] if column.value else None)
        results[column.name] = kernel.put_back(result, place)
    return results


def entity_codes(entities: pl.Series) -> np.ndarray:
    """Small whole numbers, from 0, that stand for the entities; an event without one gets a code of its own."""
    if entities.dtype.is_integer() and not entities.null_count() and len(entities):
        low, high = int(entities.min()), int(entities.max())  # type: ignore[arg-type]
        if high - low <= max(1_000, 2 * len(entities)):
            return (entities - low).cast(pl.Int64).to_numpy()
    return (entities.rank("dense").fill_null(0)).cast(pl.Int64).to_numpy()


def values_of(events: pl.DataFrame, value: str, decimals: Mapping[str, int]) -> Values:
    """What is aggregated of each event; nothing (null) counts as zero."""
    numbers = events.select(pl.sql_expr(value).alias("v"))["v"]
    if numbers.dtype == pl.Boolean or numbers.dtype.is_integer():
        return Values(numbers.fill_null(0).cast(pl.Int64).to_numpy(), 1)
    if value in decimals:
        scale = 10 ** decimals[value]
        return Values((numbers.fill_null(0) * scale).round().cast(pl.Int64).to_numpy(), scale)
    if numbers.dtype.is_numeric():
        return Values(numbers.fill_null(0).cast(pl.Float64).to_numpy(), 1)
    # Text can be counted apart, not added: its codes serve distinct_count.
    return Values(numbers.rank("dense").fill_null(0).cast(pl.Int64).to_numpy(), 1)


def from_sums(
    column: WindowColumn, count: np.ndarray, total: np.ndarray, squares: np.ndarray, scale: int
) -> np.ndarray:
    """count, sum, mean, share or std of windows from whole numbers: events, sum and sum of squares in each.

    Every engine ends here, so that from the same whole numbers they all give the same bits. The deviation is
    that of a sample (n - 1), and 0 for a single event.
    """
    many = np.maximum(count, 1)
    if column.aggregation == "count":
        result = count.astype(np.float64)
    elif column.aggregation == "sum":
        result = total / scale
    elif column.aggregation == "std":
        # 64 bits of mantissa, where the platform has them: squares of cents pass 2**53.
        whole = total.astype(np.longdouble)
        spread = np.maximum(squares.astype(np.longdouble) - whole * whole / many, 0)
        result = (np.sqrt(spread / np.maximum(count - 1, 1)) / scale).astype(np.float64)
    else:
        result = total / scale / many
    return np.where(count > 0, result, column.default)


def _aggregate(column: WindowColumn, low: np.ndarray, high: np.ndarray, values: Values | None) -> np.ndarray:
    from mdlc_assets.features import kernel

    count = high - low
    if values is None:
        return from_sums(column, count, count, count, 1)
    numbers, scale = values.numbers, values.scale
    if column.aggregation in SUBTRACTABLE and values.whole:
        total = kernel.window_sums(low, high, running(numbers))
        squares = kernel.window_sums(low, high, running(numbers**2)) if column.aggregation == "std" else total
        return from_sums(column, count, total, squares, scale)
    if column.aggregation == "sum":
        result = kernel.float_sums(low, high, numbers)
    elif column.aggregation in {"mean", "share"}:
        result = kernel.float_sums(low, high, numbers) / np.maximum(count, 1)
    elif column.aggregation == "std":
        result = kernel.float_deviations(low, high, numbers)
    elif column.aggregation in {"min", "max"}:
        sign = 1 if column.aggregation == "max" else -1
        result = kernel.sliding_extreme(low, high, numbers.astype(np.float64), sign) / scale
    elif column.aggregation == "distinct_count":
        codes = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
        result = kernel.sliding_distinct(low, high, codes, int(codes.max(initial=0)) + 1)
    else:
        last = len(numbers) - 1
        at = low if column.aggregation == "first" else high - 1
        result = numbers[np.clip(at, 0, max(last, 0))] / scale if len(numbers) else np.zeros(len(low))
    return np.where(count > 0, result, column.default)


def running(numbers: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2 ... numbers."""
    return np.concatenate([[0], np.cumsum(numbers)])
