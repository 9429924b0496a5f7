"""What is aggregated, as numbers that the kernel takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

_EXACT = 2.0**53


@dataclass(frozen=True)
class Values:
    """Numbers in event order as float64, NaN where there is none; `scale` is what whole ones were multiplied by."""

    numbers: np.ndarray
    scale: float
    whole: bool

    def plain(self, count: int, *, squared: bool) -> bool:
        """Whether sums of up to `count` of these numbers, `squared`: of their squares too, are exact in one float."""
        if not self.whole or not len(self.numbers):
            return self.whole
        largest = max(float(self.numbers.max()), -float(self.numbers.min()))
        if np.isnan(largest):
            largest = max(np.fmax.reduce(self.numbers), -np.fmin.reduce(self.numbers))
        return not (largest * largest if squared else largest) * count >= _EXACT


def values_of(events: pl.DataFrame, value: str, decimals: Mapping[str, int]) -> Values:
    """The numbers of a column or expression. Null, NaN and infinite ones count as no value.

    A column with declared decimals is scaled to whole numbers; booleans are 0 and 1.
    """
    found = events.select(pl.sql_expr(value).alias("v"))["v"]
    scale, whole = 1.0, not found.dtype.is_float()
    numbers = found.cast(pl.Float64)
    if found.dtype.is_float():
        if value in decimals:
            scale, whole = 10.0 ** decimals[value], True
            numbers = (numbers * scale).round()
        if not numbers.is_finite().all():
            numbers = pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()
    if numbers.null_count():
        numbers = numbers.fill_null(float("nan"))
    return Values(numbers.to_numpy(), scale, whole)


def codes_of(kinds: pl.Series) -> Values:
    """Numbers from 0 that stand for the different values; NaN where there is none."""
    codes = one_zero(kinds).rank("dense").cast(pl.Float64) - 1
    return Values(codes.fill_null(float("nan")).to_numpy(), 1.0, True)


def one_zero(kinds: pl.Series) -> pl.Series:
    """Floats with only one zero, where they have two by sign, and null where they are no number."""
    if not kinds.dtype.is_float():
        return kinds
    number = pl.col("kind")
    chosen = pl.when(number == 0).then(0.0).when(number.is_finite()).then(number)
    return kinds.alias("kind").to_frame().select(chosen.cast(kinds.dtype)).to_series()


def entity_codes(entities: pl.Series) -> tuple[np.ndarray, int]:
    """Whole numbers from 0 that stand for the entities, -1 for an event without one; and how many there may be."""
    if entities.dtype.is_integer() and len(entities) and entities.null_count() < len(entities):
        low, high = int(entities.min()), int(entities.max())  # type: ignore[arg-type]
        if high - low <= max(1_000, 2 * len(entities)):
            if not entities.null_count():
                return np.subtract(entities.to_numpy(), low, dtype=np.int64).astype(np.int32), high - low + 1
            return (entities.cast(pl.Int64) - low).cast(pl.Int32).fill_null(-1).to_numpy(), high - low + 1
    codes = entities.rank("dense").cast(pl.Int32)
    return (codes - 1).fill_null(-1).to_numpy(), int(codes.max() or 0)  # type: ignore[arg-type]
