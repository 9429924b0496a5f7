"""Sketches: a column of a day in at most 512 weighted points, so that later days never read the rows again.

A column of numbers with few distinct values, or one of texts, is kept exactly; another by the means of groups of
neighbouring values of equal size. Two days' sketches are compared without knowing each other's bins, so a new
reference costs nothing but arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

_POINTS = 512
_OTHER_TEXT = "(other)"


@dataclass(frozen=True)
class Sketch:
    """`points` (floats, or texts as objects) in ascending order with the share of rows at each; the shares and
    `missing` add up to one. `mean` and `deviation` are exact, and zero for texts."""

    rows: int
    missing: float
    points: np.ndarray
    weights: np.ndarray
    mean: float
    deviation: float
    text: bool = False


def sketch(values: pl.Series) -> Sketch:
    """The sketch of a column; nulls and NaN count as missing."""
    rows = len(values)
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _of_texts(values, rows)
    numbers = values.cast(pl.Float64).drop_nulls().to_numpy()
    numbers = np.sort(numbers[np.isfinite(numbers)])
    if not len(numbers):
        return Sketch(rows, 1.0 if rows else 0.0, np.empty(0), np.empty(0), 0.0, 0.0)
    starts = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
    if len(starts) <= _POINTS:
        points, counts = numbers[starts], np.diff(np.append(starts, len(numbers)))
    else:
        # Groups of equal size between values; one that repeats much (zero, above all) is a group of its own.
        repeats = np.diff(np.append(starts, len(numbers)))
        heavy = np.flatnonzero(repeats > 4 * len(numbers) / _POINTS)
        even = np.linspace(0, len(numbers), _POINTS // 2 + 1)[:-1]
        begins = [np.searchsorted(starts, even, "right") - 1, heavy, heavy + 1]
        groups = np.unique(starts[np.concatenate(begins).clip(max=len(starts) - 1)])
        counts = np.diff(np.append(groups, len(numbers)))
        points = np.add.reduceat(numbers, groups) / counts
    return Sketch(
        rows,
        1 - len(numbers) / rows,
        points,
        counts / rows,
        float(numbers.mean()),
        float(numbers.std()),
    )


def _of_texts(values: pl.Series, rows: int) -> Sketch:
    counts = values.cast(pl.String).drop_nulls().value_counts(sort=True)
    names, numbers = counts[values.name].to_list(), counts["count"].to_list()
    kept = dict(zip(names[:_POINTS], numbers[:_POINTS], strict=True))
    if numbers[_POINTS:]:
        kept[_OTHER_TEXT] = kept.get(_OTHER_TEXT, 0) + sum(numbers[_POINTS:])
    ordered = sorted(kept)
    weights = np.array([kept[name] for name in ordered], dtype=float) / max(1, rows)
    points = np.array(ordered, dtype=object)
    # From the counts: one less the sum of the shares can be less than nothing by a rounding.
    return Sketch(rows, (rows - sum(numbers)) / max(1, rows), points, weights, 0.0, 0.0, text=True)


def sketches(frame: pl.DataFrame, names: Iterable[str]) -> dict[str, Sketch]:
    """The sketches of the named columns."""
    return {name: sketch(frame[name]) for name in names}


_SCHEMA: dict[str, Any] = {
    "column": pl.String,
    "text": pl.Boolean,
    "rows": pl.Int64,
    "missing": pl.Float64,
    "mean": pl.Float64,
    "deviation": pl.Float64,
    "points": pl.List(pl.Float64),
    "texts": pl.List(pl.String),
    "weights": pl.List(pl.Float64),
}


def to_table(found: Mapping[str, Sketch]) -> pl.DataFrame:
    """Sketches as the table `drift_profile`: a row for each column."""
    rows = [
        {
            "column": name,
            "text": one.text,
            "rows": one.rows,
            "missing": one.missing,
            "mean": one.mean,
            "deviation": one.deviation,
            "points": [] if one.text else one.points.tolist(),
            "texts": one.points.tolist() if one.text else [],
            "weights": one.weights.tolist(),
        }
        for name, one in found.items()
    ]
    return pl.DataFrame(rows, schema=_SCHEMA)


def from_table(table: pl.DataFrame) -> dict[str, Sketch]:
    """What `to_table` wrote."""
    points, texts, weights = table["points"], table["texts"], table["weights"]
    found = {}
    for i, (name, text, rows, missing, mean, deviation) in enumerate(
        table.select("column", "text", "rows", "missing", "mean", "deviation").iter_rows()
    ):
        at = np.array(texts[i].to_list(), dtype=object) if text else points[i].to_numpy()
        # Older ones hold shares that are less than nothing by a rounding.
        found[name] = Sketch(rows, max(0.0, missing), at, weights[i].to_numpy(), mean, deviation, text)
    return found


def pooled(days: Sequence[Sketch]) -> tuple[np.ndarray, np.ndarray]:
    """The points of several days together and the mean share at each, every day counting alike."""
    points = np.concatenate([day.points for day in days])
    weights = np.concatenate([day.weights for day in days]) / len(days)
    if any(day.text for day in days):
        names, where = np.unique(points.astype(str), return_inverse=True)
        return names.astype(object), np.bincount(where, weights)
    found, where = np.unique(points, return_inverse=True)
    return found, np.bincount(where, weights, minlength=len(found))
