"""How right foretold numbers are. Each metric follows from sums over the events, so that the bootstrap draws sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mdlc_assets.training.metrics import Scored

METRICS = ("r2", "mae", "rmse", "wape")
_Z = 1.96


def sums_of(found: Scored) -> np.ndarray:
    """What the metrics are made from, for each event; shape (7, events)."""
    label, error = found.label.astype(np.float64), found.label - found.score
    naive = np.zeros(len(label)) if found.baseline is None else np.abs(label - found.baseline)
    one = np.ones(len(label))
    return np.stack([one, label, np.square(label), np.abs(label), np.abs(error), np.square(error), naive])


def metric_of(sums: np.ndarray, metric: str) -> np.ndarray:
    """The metric of each column of sums, shape (7, draws); NaN where it cannot be computed.

    `r2` is measured against the mean of the very events, `wape` is absolute error over absolute amount,
    `gain_over_baseline` the share of the baseline's absolute error that is saved.
    """
    count, total, squares, amount, absolute, squared, naive = sums
    if metric == "mae":
        return _ratio(absolute, count)
    if metric == "rmse":
        return np.sqrt(_ratio(squared, count))
    if metric == "wape":
        return _ratio(absolute, amount)
    if metric == "gain_over_baseline":
        return 1 - _ratio(absolute, naive)
    spread = squares - _ratio(np.square(total), count)
    # What is left of a constant is rounding, not spread.
    return 1 - _ratio(squared, np.where(spread > 1e-12 * squares, spread, 0.0))


def number_metric(found: Scored, metric: str) -> float | None:
    """The metric of all events; None where it cannot be computed."""
    if not len(found.label):
        return None
    value = float(metric_of(sums_of(found).sum(axis=1, keepdims=True), metric)[0])
    return value if np.isfinite(value) else None


def by_tenths(found: Scored, bins: int) -> dict[str, Any]:
    """What there was to what was foretold in all, and in bins of neighbouring forecasts with as many events each.

    A point has its rows, the mean that was foretold (`score`), the mean that came (`share`) with its interval.
    """
    expected = float(found.score.sum())
    whole = bool((found.label >= 0).all()) and expected > 0
    curve = []
    for part in np.array_split(np.argsort(found.score, kind="stable"), min(bins, len(found.score))):
        label = found.label[part].astype(np.float64)
        half = _Z * float(label.std(ddof=1)) / np.sqrt(len(part)) if len(part) > 1 else 0.0
        mean = float(label.mean())
        point = {"rows": len(part), "score": float(found.score[part].mean()), "share": mean}
        curve.append({**point, "low": mean - half, "high": mean + half})
    return {"observed_to_expected": float(found.label.sum()) / expected if whole else None, "curve": curve}


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
