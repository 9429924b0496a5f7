"""Batch predictions: a day's features in, a day's scores out, and what must hold of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from mdlc_assets.plots import BLUE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTILES = (0.5, 0.9, 0.99, 0.999)
_BINS = 40
_BLOCK_ROWS = 250_000


class FrameScorer(Protocol):
    """A model as batch scoring needs it."""

    def score(self, frame: pl.DataFrame) -> np.ndarray:
        """Scores in 0 to 1, one for each row."""
        ...


def score_day(features: pl.DataFrame, model: FrameScorer, version: int, kept: Sequence[str]) -> pl.DataFrame:
    """The table `batch_predictions` of a day, rows as in `features`.

    `kept` are the id, time and entity columns. A day without rows gives a table without rows.
    """
    scores = model.score(features) if features.height else np.empty(0)
    return features.select(kept).with_columns(
        pl.Series("score", np.asarray(scores, dtype=np.float64)),
        pl.lit(version, dtype=pl.Int64).alias("model_version"),
    )


def score_days(
    days: Iterable[date],
    read: Callable[[date], pl.DataFrame],
    model: FrameScorer,
    version: int,
    kept: Sequence[str],
) -> Iterator[tuple[date, pl.DataFrame]]:
    """Each day with its predictions, in the order of `days`.

    Days are scored some quarter of a million rows at once: a call of the model has its own cost. While
    one such block is scored, the days after it are read.
    """
    with ThreadPoolExecutor(1) as ahead:
        blocks = _blocks(days, read)
        coming = ahead.submit(next, blocks, None)
        while block := coming.result():
            coming = ahead.submit(next, blocks, None)
            scored = score_day(pl.concat([features for _, features in block]), model, version, kept)
            first = 0
            for day, features in block:
                yield day, scored.slice(first, features.height)
                first += features.height


def _blocks(days: Iterable[date], read: Callable[[date], pl.DataFrame]) -> Iterator[list[tuple[date, pl.DataFrame]]]:
    block: list[tuple[date, pl.DataFrame]] = []
    rows = 0
    for day in days:
        block.append((day, read(day)))
        rows += block[-1][1].height
        if rows >= _BLOCK_ROWS:
            yield block
            block, rows = [], 0
    if block:
        yield block


def prediction_problems(predictions: pl.DataFrame, features: pl.DataFrame, id_column: str) -> list[str]:
    """What is wrong with a day's predictions, in words; nothing when they are as they must be."""
    found = []
    if predictions.height != features.height:
        found.append(f"{predictions.height:,} predictions for {features.height:,} feature rows")
    elif not predictions[id_column].equals(features[id_column]):
        found.append(f"the predictions' {id_column} are not those of the features, in their order")
    score = predictions["score"]
    empty = score.null_count() + int(score.is_nan().sum())
    if empty:
        found.append(f"{empty:,} rows have no score")
    outside = int((~score.is_between(0, 1) & ~score.is_nan()).sum())
    if outside:
        found.append(f"{outside:,} scores lie outside 0 to 1")
    versions = predictions["model_version"].n_unique()
    if versions > 1 or predictions["model_version"].null_count():
        found.append("the day was not scored by one model version")
    return found


def score_quantiles(scores: pl.Series) -> dict[str, float]:
    """The score's mean and upper quantiles, by name; empty for a day without rows."""
    if scores.is_empty():
        return {}
    quantiles = {f"score_p{level * 100:g}": float(scores.quantile(level) or 0.0) for level in QUANTILES}
    return {"score_mean": float(scores.mean() or 0.0), **quantiles}  # type: ignore[arg-type]


def score_counts(scores: pl.Series) -> np.ndarray:
    """How many scores fall into each of 40 equal bins of 0 to 1."""
    return np.histogram(scores.to_numpy(), bins=_BINS, range=(0.0, 1.0))[0]


def plot_scores(counts: np.ndarray, title: str) -> Figure:
    """The histogram of the scores; counts on a logarithmic scale, since most events are harmless."""
    figure, axes = new_figure()
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white")
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel="score", ylabel="rows", xlim=(0, 1), title=title)
    return figure
