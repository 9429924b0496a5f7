"""Windowed aggregations of events, as `declaration/features.py` defines them, in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration.features import WindowColumn

_POSITION = "_position"


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

    found: dict[str, np.ndarray] = {}
    for entity, where in dict.fromkeys((column.entity, column.where) for column in columns):
        ordered = _ordered(events, wanted, entity, time)
        kept = ordered.filter(pl.sql_expr(where).fill_null(False)) if where else ordered
        queries = ordered.filter(pl.col("_wanted"))
        place = queries[_POSITION].to_numpy()
        arrays = [frame["_entity"].to_numpy() for frame in (queries, kept)]
        instants = [frame[time].cast(pl.Int64).to_numpy() for frame in (queries, kept)]
        bounds: dict[tuple[timedelta, timedelta], tuple[np.ndarray, np.ndarray]] = {}
        values: dict[str, Values] = {}
        for column in columns:
            if (column.entity, column.where) != (entity, where):
                continue
            key = (column.window, column.delay)
            if key not in bounds:
                spans = [span // timedelta(microseconds=1) for span in key]
                bounds[key] = kernel.window_bounds(arrays[0], instants[0], arrays[1], instants[1], *spans)
            if column.value is not None and column.value not in values:
                values[column.value] = _values(kept, column.value, decimals)
            result = _aggregate(column, *bounds[key], values.get(column.value or ""), kept)
            in_order = np.empty_like(result)
            in_order[np.argsort(np.argsort(place))] = result
            found[column.name] = in_order
    return pl.DataFrame({column.name: found[column.name] for column in columns})


def _ordered(events: pl.DataFrame, wanted: pl.Series, entity: str, time: str) -> pl.DataFrame:
    code = pl.col(entity)
    if not events.schema[entity].is_integer():
        code = code.rank("dense")
    return (
        events.with_columns(wanted.alias("_wanted"), code.cast(pl.Int64).alias("_entity"))
        .with_row_index(_POSITION)
        .sort("_entity", time, maintain_order=True)
    )


def _values(events: pl.DataFrame, value: str, decimals: Mapping[str, int]) -> Values:
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


def _aggregate(
    column: WindowColumn, low: np.ndarray, high: np.ndarray, values: Values | None, events: pl.DataFrame
) -> np.ndarray:
    from mdlc_assets.features import kernel

    count = (high - low).astype(np.float64)
    if column.aggregation == "count":
        return np.where(count > 0, count, column.default)
    assert values is not None
    numbers, scale = values.numbers, values.scale
    if column.aggregation in {"sum", "mean", "share", "std"}:
        total = _sums(low, high, values)
        result = total / scale
        if column.aggregation in {"mean", "share"}:
            result = result / np.maximum(count, 1)
        elif column.aggregation == "std":
            # Around a constant near the values, so that squares stay small and exact for whole numbers.
            shift = numbers[0] if len(numbers) else 0
            centred = Values(numbers - shift, scale)
            squares = _sums(low, high, Values(centred.numbers**2, scale))
            total = _sums(low, high, centred)
            spread = squares - total * total / np.maximum(count, 1)
            result = np.sqrt(np.maximum(spread, 0) / np.maximum(count - 1, 1)) / scale
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


def _sums(low: np.ndarray, high: np.ndarray, values: Values) -> np.ndarray:
    from mdlc_assets.features import kernel

    if values.whole:
        totals = np.concatenate([[0], np.cumsum(values.numbers)])
        return kernel.window_sums(low, high, totals).astype(np.float64)
    return kernel.float_sums(low, high, values.numbers)
