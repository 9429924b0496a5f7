"""Metrics of a scored set of events; `interval` says how sure they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from mdlc_assets.declaration.evaluation import Intervals, capacity_of, is_of_numbers
from mdlc_assets.training.number_metrics import number_metric
from mdlc_assets.training.resampling import Draws

METRICS = ("auc_roc", "average_precision", "card_precision_100", "brier", "log_loss", "expected_calibration_error")
# Where a score of 0 meets a positive the logarithm has no end.
_LEAST_PROBABILITY = 1e-15
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Scored:
    """Events with what was said and what was true; arrays of the same length. `day` is a day number, `baseline` what
    is foretold of a number without a model."""

    score: np.ndarray
    label: np.ndarray
    entity: np.ndarray
    day: np.ndarray
    baseline: np.ndarray | None = None

    @property
    def one_class(self) -> bool:
        """Whether there are no positives, or nothing else."""
        return bool(self.label.min(initial=1) == self.label.max(initial=0)) or len(self.label) == 0

    def only(self, kept: np.ndarray) -> Scored:
        """The events for which `kept` is true."""
        baseline = None if self.baseline is None else self.baseline[kept]
        return Scored(self.score[kept], self.label[kept], self.entity[kept], self.day[kept], baseline)

    def said_by(self, score: np.ndarray) -> Scored:
        """The same events with the scores of another model."""
        return Scored(score, self.label, self.entity, self.day, self.baseline)


def scored(
    rows: pl.DataFrame, score: np.ndarray, *, label: str, entity: str, time: str, baseline: str | None = None
) -> Scored:
    """`rows` with their scores, as the metrics take them."""
    days = rows[time].dt.date().cast(pl.Int32).to_numpy()
    naive = rows[baseline].cast(pl.Float64).to_numpy() if baseline else None
    return Scored(score, rows[label].to_numpy(), rows[entity].rank("dense").to_numpy().astype(np.int64), days, naive)


def measure(found: Scored, metrics: Iterable[str] = METRICS) -> dict[str, float | None]:
    """The metrics by name; None where one cannot be computed, as when there are no positives, or nothing else."""
    return {
        name: number_metric(found, name)
        if is_of_numbers(name)
        else (None if found.one_class else _measure(found, name))
        for name in metrics
    }


def _measure(found: Scored, metric: str) -> float:
    capacity = capacity_of(metric)
    if capacity:
        return card_precision(found, capacity)
    # Heavy libraries are imported where they work, so that definitions load without them.
    from sklearn.metrics import average_precision_score, roc_auc_score

    if metric == "auc_roc":
        return float(roc_auc_score(found.label, found.score))
    if metric == "average_precision":
        return float(average_precision_score(found.label, found.score))
    if metric == "expected_calibration_error":
        bins = equal_bins(found.score, CALIBRATION_BINS)
        return float(np.abs(np.bincount(bins, found.label - found.score)).sum() / len(found.label))
    return float(row_losses(found, metric).mean())


def row_losses(found: Scored, metric: str) -> np.ndarray:
    """The loss of each event: `brier` (squared error) or `log_loss`."""
    if metric == "brier":
        return (found.score - found.label) ** 2
    said = np.where(found.label == 1, found.score, 1 - found.score)
    return -np.log(np.clip(said, _LEAST_PROBABILITY, 1))


def equal_bins(score: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each score, as many in each as ties allow."""
    edges = np.quantile(score, np.arange(1, bins) / bins)
    return np.searchsorted(np.unique(edges), score, side="left")


def card_precision(found: Scored, capacity: int) -> float:
    """Mean over days of the share of positives among the `capacity` entities with the highest score that day.

    An entity that was found on a day is left out on later ones. As in the Fraud Detection Handbook,
    chapter 4: https://fraud-detection-handbook.github.io/fraud-detection-handbook/
    """
    detected: set[int] = set()
    shares = []
    for today in best_by_day(found):
        best = today.filter(~pl.col("entity").is_in(list(detected))).head(capacity)
        hits = best.filter(pl.col("label") == 1)["entity"].to_list()
        shares.append(len(hits) / capacity)
        detected.update(hits)
    return float(np.mean(shares))


def best_by_day(found: Scored) -> list[pl.DataFrame]:
    """For each day in order its entities with their highest score and label, the highest score first."""
    rows = pl.DataFrame({"entity": found.entity, "score": found.score, "label": found.label, "day": found.day})
    best = (
        rows.group_by("day", "entity")
        .agg(pl.col("score").max(), pl.col("label").max())
        .sort(["day", "score", "entity"], descending=[False, True, False])
    )
    return best.partition_by("day", maintain_order=True)


def interval(
    found: Scored,
    metric: str,
    seed: int = 0,
    against: np.ndarray | None = None,
    declared: Intervals | None = None,
) -> tuple[float, float] | None:
    """A bootstrap interval of a metric; `declared` says what is drawn, how often, and the level (95 %).

    With `against`, the scores of another model for the same events, of the difference to it (paired: both
    models meet the same draws). None where resamples have one class only too often.
    """
    return intervals(found, [metric], seed, against, declared)[metric]


def intervals(
    found: Scored,
    metrics: Iterable[str],
    seed: int = 0,
    against: np.ndarray | None = None,
    declared: Intervals | None = None,
) -> dict[str, tuple[float, float] | None]:
    """As `interval`, for several metrics from the same draws."""
    names = list(metrics)
    if not len(found.label) or (found.one_class and not all(map(is_of_numbers, names))):
        return dict.fromkeys(names)
    draws = Draws(found, declared or Intervals(), seed)
    values = draws.values(found, names)
    if against is not None:
        theirs = draws.values(found.said_by(against), names)
        values = {name: values[name] - theirs[name] for name in names}
    return {name: draws.interval(values[name]) for name in names}


def calibration_interval(found: Scored, seed: int = 0, declared: Intervals | None = None) -> tuple[float, float] | None:
    """A bootstrap interval of realised over expected positives; None where nothing is expected."""
    draws = Draws(found, declared or Intervals(), seed)
    return draws.interval(draws.ratio(found.label, found.score)) if len(found.label) else None
