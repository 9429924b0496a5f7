"""Metrics of a scored set of events, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

_CAPACITY = 100
_RESAMPLES = 200


@dataclass(frozen=True)
class Scored:
    """Events with what was said and what was true; arrays of the same length. `day` is a day number."""

    score: np.ndarray
    label: np.ndarray
    entity: np.ndarray
    day: np.ndarray


def scored(rows: pl.DataFrame, score: np.ndarray, *, label: str, entity: str, time: str) -> Scored:
    """`rows` with their scores, as the metrics take them."""
    days = rows[time].dt.date().cast(pl.Int32).to_numpy()
    return Scored(score, rows[label].to_numpy(), rows[entity].rank("dense").to_numpy().astype(np.int64), days)


def measure(found: Scored) -> dict[str, float | None]:
    """All metrics; None for each when there are no positives, or nothing else."""
    if found.label.min(initial=1) == found.label.max(initial=0):
        return {"auc_roc": None, "average_precision": None, "card_precision_100": None}
    return {
        "auc_roc": float(roc_auc_score(found.label, found.score)),
        "average_precision": float(average_precision_score(found.label, found.score)),
        "card_precision_100": card_precision(found, _CAPACITY),
    }


def card_precision(found: Scored, capacity: int) -> float:
    """Mean over days of the share of fraud among the `capacity` entities with the highest score that day.

    An entity whose fraud was found on a day is left out on later ones. As in the Fraud Detection Handbook,
    chapter 4: https://fraud-detection-handbook.github.io/fraud-detection-handbook/
    """
    detected: set[int] = set()
    shares = []
    rows = pl.DataFrame({"entity": found.entity, "score": found.score, "label": found.label, "day": found.day})
    for _, today in rows.sort("day").group_by("day", maintain_order=True):
        best = (
            today.filter(~pl.col("entity").is_in(list(detected)))
            .group_by("entity")
            .agg(pl.col("score").max(), pl.col("label").max())
            .sort(["score", "entity"], descending=[True, False])
            .head(capacity)
        )
        hits = best.filter(pl.col("label") == 1)["entity"].to_list()
        shares.append(len(hits) / capacity)
        detected.update(hits)
    return float(np.mean(shares))


def interval(
    found: Scored, metric: str, seed: int = 0, against: np.ndarray | None = None
) -> tuple[float, float] | None:
    """A 95 % bootstrap interval of a metric, entities being resampled.

    With `against`, the scores of another model for the same events, of the difference to it. Entities are
    drawn with replacement and enter as weights (Efron and Tibshirani 1993, section 8.3). None for metrics
    without weights, and where a resample has one class only.
    """
    measures: dict[str, Callable[..., float]] = {
        "auc_roc": roc_auc_score,
        "average_precision": average_precision_score,
    }
    if metric not in measures or found.label.min(initial=1) == found.label.max(initial=0):
        return None
    rng = np.random.default_rng(seed)
    entities = int(found.entity.max()) + 1
    values = []
    for _ in range(_RESAMPLES):
        weight = rng.multinomial(entities, np.full(entities, 1 / entities))[found.entity].astype(float)
        kept = weight > 0
        if found.label[kept].min() == found.label[kept].max():
            return None
        value = measures[metric](found.label[kept], found.score[kept], sample_weight=weight[kept])
        if against is not None:
            value -= measures[metric](found.label[kept], against[kept], sample_weight=weight[kept])
        values.append(value)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
