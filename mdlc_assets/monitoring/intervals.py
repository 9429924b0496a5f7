"""Bootstrap intervals of what was realised, entities being resampled, quick enough for a week of a large day.

Resamples enter as weights of entities (Efron and Tibshirani 1993, section 8.3). Only what lies between the scores of
two positives matters to a ranking metric, so all resamples are one product of a sparse matrix, segments by
entities, with the matrix of weights.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import poisson

_RESAMPLES = 200
_LEVELS = (0.025, 0.975)
# Poisson's counts with mean 1, each as often as its chance.
_POISSON = poisson.ppf((np.arange(65_536) + 0.5) / 65_536, 1.0).astype(np.float32)

Interval = tuple[float, float]


class Resampled:
    """Events under resampling of their entities."""

    def __init__(self, score: np.ndarray, label: np.ndarray, entity: np.ndarray, seed: int = 0) -> None:
        self.score, self.positive = score, label == 1
        _, self.entity = np.unique(entity, return_inverse=True)
        self.entities = int(self.entity.max()) + 1 if len(entity) else 0
        rng = np.random.default_rng(seed)
        # Entities by resamples: how often each was drawn. Poisson counts stand in for drawing with replacement.
        # They are looked up, which is ten times quicker than to draw them.
        self.weights = _POISSON[rng.integers(0, len(_POISSON), (self.entities, _RESAMPLES), dtype=np.uint16)]

    def interval(self, metric: str) -> Interval | None:
        """95 % of a ranking metric; None for others, and where a resample has one class only."""
        if metric not in {"auc_roc", "average_precision"} or not 0 < self.positive.sum() < len(self.positive):
            return None
        levels = -np.unique(-self.score[self.positive])
        hits = self._sums(np.searchsorted(-levels, -self.score[self.positive]), self.positive, len(levels))
        # Negatives above a level, on it, below it: 2k and 2k + 1 for level k.
        above, reached = (np.searchsorted(-levels, -self.score[~self.positive], side) for side in ("left", "right"))
        misses = self._sums(above + reached, ~self.positive, 2 * len(levels) + 1)
        true = hits.sum(axis=0)
        false = misses.sum(axis=0)
        if not (true.min() > 0 and false.min() > 0):
            return None
        strictly = np.cumsum(misses, axis=0)[0::2][: len(levels)]
        tied = misses[1::2]
        if metric == "average_precision":
            found = np.cumsum(hits, axis=0)
            shown = found + strictly + tied
            values = (hits * found / np.maximum(shown, 1)).sum(axis=0) / true
        else:
            values = (hits * (false - strictly - tied / 2)).sum(axis=0) / (true * false)
        return _bounds(values)

    def ratio(self) -> Interval | None:
        """95 % of realised over expected positives."""
        if not self.entities:
            return None
        found = np.bincount(self.entity, self.positive, minlength=self.entities) @ self.weights
        expected = np.bincount(self.entity, self.score, minlength=self.entities) @ self.weights
        return _bounds(found / expected) if expected.min() > 0 else None

    def _sums(self, segment: np.ndarray, kept: np.ndarray, segments: int) -> np.ndarray:
        ones = np.ones(len(segment), dtype=np.float32)
        matrix = csr_array((ones, (segment, self.entity[kept])), shape=(segments, self.entities))
        return np.asarray(matrix @ self.weights, dtype=float)


def _bounds(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, _LEVELS)
    return float(low), float(high)
