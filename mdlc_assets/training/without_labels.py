"""Judges a candidate that nobody can tell right from wrong: by how its scores lie, and what it sees as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training.algorithms import FittedModel
from mdlc_assets.training.unsupervised import anomaly_metrics, anomaly_overlap, cluster_agreement, cluster_metrics

_RESAMPLES = 200


def unlabelled_document(
    lifecycle: LifecycleDeclaration,
    train: pl.DataFrame,
    test: pl.DataFrame,
    judged: FittedModel,
    champion: FittedModel | None,
) -> dict[str, Any]:
    """The parts of an evaluation that need no labels: `metrics`, `intervals`, and what the champion says `beside`.

    With them the scores: of the days `learnt` from, of the test days (`mine`), and the champion's of these (`theirs`).
    Anomaly scores: `separation` and `exceeding`, against the scores of the days learnt from. Clusters also:
    `silhouette`, `davies_bouldin` and `smallest_share` of the test rows. Intervals are a bootstrap over days.
    """
    learnt, mine = judged.score(train), judged.score(test)
    found: dict[str, Any] = {
        "metrics": _measured(lifecycle, learnt, mine, test, judged),
        "intervals": _intervals(lifecycle, learnt, mine, test),
        "beside": None,
        "learnt": learnt,
        "mine": mine,
        "theirs": None,
    }
    if champion is not None:
        theirs = found["theirs"] = champion.score(test)
        found["beside"] = {
            "metrics": _measured(lifecycle, champion.score(train), theirs, test, champion),
            "overlap": anomaly_overlap(mine, theirs, share=lifecycle.model.evaluation.share),
            "agreement": _agreement(test, judged, champion),
        }
    return found


def _measured(
    lifecycle: LifecycleDeclaration, learnt: np.ndarray, scores: np.ndarray, test: pl.DataFrame, model: FittedModel
) -> dict[str, float | None]:
    lies = anomaly_metrics(scores, reference=learnt, share=lifecycle.model.evaluation.share)
    clusters = _clusters(model, test)
    return lies if clusters is None else {**lies, **cluster_metrics(*clusters, seed=lifecycle.model.seed)}


def _intervals(
    lifecycle: LifecycleDeclaration, learnt: np.ndarray, scores: np.ndarray, test: pl.DataFrame
) -> dict[str, tuple[float, float] | None]:
    """Of the anomaly metrics, by drawing days; none with fewer than two days."""
    days = test[lifecycle.dataset.time].dt.date()
    parts = [scores[(days == day).to_numpy()] for day in days.unique().sort()]
    if len(parts) < 2:
        return {}
    share = lifecycle.model.evaluation.share
    draw = np.random.default_rng(lifecycle.model.seed)
    drawn = []
    for _ in range(_RESAMPLES):
        chosen = np.concatenate([parts[i] for i in draw.integers(0, len(parts), len(parts))])
        drawn.append(anomaly_metrics(chosen, reference=learnt, share=share))
    beyond = (1 - lifecycle.model.evaluation.intervals.level) / 2
    found: dict[str, tuple[float, float] | None] = {}
    for name in ("separation", "exceeding"):
        values = [value for one in drawn if (value := one[name]) is not None]
        bounds = np.quantile(values, [beyond, 1 - beyond]) if values else None
        found[name] = None if bounds is None else (float(bounds[0]), float(bounds[1]))
    return found


def _clusters(model: FittedModel, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    """The values as the model sees them, and the cluster of each row; None for a model without clusters."""
    if not hasattr(getattr(model, "estimator", None), "cluster_centers_"):
        return None
    values = rows.select(model.features).to_numpy()
    if model.mean is not None:
        values = (values - model.mean) / model.scale
    return values, model.estimator.predict(values)


def _agreement(test: pl.DataFrame, judged: FittedModel, champion: FittedModel) -> float | None:
    mine, theirs = _clusters(judged, test), _clusters(champion, test)
    return None if mine is None or theirs is None else cluster_agreement(mine[1], theirs[1])
