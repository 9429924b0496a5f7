"""How well a model does that learnt without labels: anomaly scores and clusters, each by what fits.

With labels at hand, even few and late, anomaly scores are judged as any score is (`metrics`). What is here needs none,
or only says how the scores lie.
"""

from __future__ import annotations

import numpy as np

_SAMPLE = 2000


def anomaly_metrics(
    scores: np.ndarray, *, reference: np.ndarray | None = None, share: float = 0.01
) -> dict[str, float | None]:
    """How anomaly scores lie: how far the highest `share` stands apart, and how many exceed the reference's.

    `separation` is the gap between the mean of the highest share and that of the rest, in deviations of the
    rest. `exceeding` is the share of scores above the reference's own (1 - share) quantile: near `share` when
    nothing has changed.
    """
    _refuse_unfit(scores)
    count = max(1, round(len(scores) * share))
    ordered = np.sort(scores)
    rest, highest = ordered[:-count], ordered[-count:]
    deviation = float(rest.std()) if len(rest) > 1 else 0.0
    separation = float((highest.mean() - rest.mean()) / deviation) if deviation > 0 else None
    found: dict[str, float | None] = {"separation": separation, "threshold": float(highest[0])}
    if reference is not None:
        _refuse_unfit(reference)
        found["exceeding"] = float((scores > np.quantile(reference, 1 - share)).mean())
    return found


def cluster_metrics(values: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> dict[str, float | None]:
    """How well rows of shape (rows, features) fall into their clusters; None for fewer than two clusters.

    `silhouette` (-1 to 1, on a sample where rows are many), `davies_bouldin` (lower is better),
    `smallest_share` (a cluster of next to nothing is none).
    """
    from sklearn.metrics import davies_bouldin_score, silhouette_score

    _, counts = np.unique(clusters, return_counts=True)
    smallest = float(counts.min() / len(clusters))
    if not 2 <= len(counts) < len(clusters):
        return {"silhouette": None, "davies_bouldin": None, "smallest_share": smallest}
    size = _SAMPLE if len(values) > _SAMPLE else None
    return {
        "silhouette": float(silhouette_score(values, clusters, sample_size=size, random_state=seed)),
        "davies_bouldin": float(davies_bouldin_score(values, clusters)),
        "smallest_share": smallest,
    }


def cluster_agreement(first: np.ndarray, second: np.ndarray) -> float:
    """How far two clusterings of the same rows agree, whatever their numbers: 1 fully, 0 by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(first, second))


def anomaly_overlap(first: np.ndarray, second: np.ndarray, *, share: float = 0.01) -> float:
    """The share of the highest-scored rows that two models have in common: does a retrained model see the same?"""
    count = max(1, round(len(first) * share))
    top = [set(np.argsort(-scores, kind="stable")[:count].tolist()) for scores in (first, second)]
    return len(top[0] & top[1]) / count


def _refuse_unfit(scores: np.ndarray) -> None:
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError("scores must be finite, and at least one. Mend: score rows without missing values.")
