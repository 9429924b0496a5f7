"""Batch predictions: a day's features in, a day's scores out, and what must hold of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from mdlc_assets.plots import BLUE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTILES = (0.5, 0.9, 0.99, 0.999)
_BINS = 40
# Days under way beyond one for each core: while a day waits for the disk, another has its core.
_AHEAD = 2


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
    return predictions_of(features.select(kept), scores, version)


def predictions_of(beside: pl.DataFrame, scores: np.ndarray, version: int) -> pl.DataFrame:
    """The table `batch_predictions` of the rows that stand beside the scores."""
    # Put together from its columns, which costs a fifth of what `with_columns` does.
    return pl.DataFrame(
        [
            *beside.get_columns(),
            pl.Series("score", np.asarray(scores, dtype=np.float64)),
            pl.Series("model_version", np.full(beside.height, version, np.int64)),
        ]
    )


def score_days(
    days: Iterable[date],
    read: Callable[[date], pl.DataFrame],
    write: Callable[[date, pl.DataFrame], object],
    model: FrameScorer,
    version: int,
    kept: Sequence[str],
) -> Iterator[tuple[date, pl.DataFrame]]:
    """Reads, scores and writes each day; gives it with its predictions, in the order of `days`.

    Days go through side by side, each in a thread of its own from file to file. The model should score in
    one thread (`scoring.in_one_thread`): cores that share a call wait for each other at its end, and days would
    have to be copied together for calls that are worth it.
    """
    threads = (os.cpu_count() or 1) + _AHEAD

    def score(day: date) -> tuple[date, pl.DataFrame]:
        scored = score_day(read(day), model, version, kept)
        write(day, scored)
        return day, scored

    with ThreadPoolExecutor(threads) as pool:
        coming = iter(days)
        under_way = deque(pool.submit(score, day) for day in islice(coming, threads + _AHEAD))
        try:
            while under_way:
                scored = under_way.popleft().result()
                under_way.extend(pool.submit(score, day) for day in islice(coming, 1))
                yield scored
        finally:
            # The caller may have stopped, or a day was not there: what has not begun never does.
            pool.shutdown(wait=False, cancel_futures=True)


def prediction_problems(
    predictions: pl.DataFrame, features: pl.DataFrame, id_column: str, *, number: bool = False
) -> list[str]:
    """What is wrong with a day's predictions, in words; nothing when they are as they must be. Foretold numbers have no
    bounds, scores have."""
    found = []
    if predictions.height != features.height:
        found.append(f"{predictions.height:,} predictions for {features.height:,} feature rows")
    elif not predictions[id_column].equals(features[id_column]):
        found.append(f"the predictions' {id_column} are not those of the features, in their order")
    score = predictions["score"]
    empty = score.null_count() + int((~score.is_finite()).sum())
    if empty:
        found.append(f"{empty:,} rows have no score")
    outside = int((~score.is_between(0, 1) & ~score.is_nan()).sum())
    if outside and not number:
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


def plot_numbers(numbers: pl.Series, title: str) -> Figure:
    """The histogram of a day's foretold numbers."""
    figure, axes = new_figure()
    axes.hist(numbers.to_numpy(), bins=_BINS, color=BLUE, edgecolor="white")
    axes.set(xlabel="foretold", ylabel="rows", title=title)
    return figure


def plot_scores(counts: np.ndarray, title: str) -> Figure:
    """The histogram of the scores; counts on a logarithmic scale, since most events are harmless."""
    figure, axes = new_figure()
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white")
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel="score", ylabel="rows", xlim=(0, 1), title=title)
    return figure
