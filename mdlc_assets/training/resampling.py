"""The bootstrap: metrics over draws with replacement, all draws of a metric in a few matrix products.

Entities (or days) are drawn, and an event counts as often as its entity was drawn (Efron and Tibshirani 1993,
section 8.3). Whatever ranks events needs only sums by score between neighbouring positives, so the events are
folded into a sparse matrix of such steps by entity once, and its product with the counts of many draws gives the
curve of each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mdlc_assets.declaration.evaluation import Intervals, capacity_of, is_of_numbers
from mdlc_assets.training.number_metrics import metric_of, sums_of

if TYPE_CHECKING:
    from mdlc_assets.training.metrics import Scored

# Cells of the largest matrix held at once (float64: 32 MB), and the share of draws that may have one class only.
_CELLS = 4_000_000
_MAY_FAIL = 0.01

# Counts by unit and draw, shape (units, draws), to the metric of each draw; NaN where it has none.
Evaluator = Callable[[np.ndarray], np.ndarray]


class Draws:
    """The same draws for every metric and model that is asked about."""

    def __init__(self, found: Scored, declared: Intervals, seed: int) -> None:
        self.declared, self.seed = declared, seed
        keys = found.entity if declared.by == "entity" else found.day
        _, self.unit = np.unique(keys, return_inverse=True)
        self.units = int(self.unit.max(initial=-1)) + 1

    def values(self, found: Scored, metrics: Sequence[str]) -> dict[str, np.ndarray]:
        """The metrics of each draw, for the events that the draws were made for."""
        if all(map(is_of_numbers, metrics)):
            return self._of_numbers(found, metrics)
        ranked = _Ranked(found, self.unit, self.units)
        evaluators = {metric: self._evaluator(found, metric, ranked) for metric in metrics}
        parts: dict[str, list[np.ndarray]] = {metric: [] for metric in metrics}
        for counts in self._counts(max(self.units, ranked.steps)):
            for metric, evaluate in evaluators.items():
                parts[metric].append(evaluate(counts))
        return {metric: np.concatenate(values) for metric, values in parts.items()}

    def _of_numbers(self, found: Scored, metrics: Sequence[str]) -> dict[str, np.ndarray]:
        by_unit = np.stack([np.bincount(self.unit, each, self.units) for each in sums_of(found)])
        sums = np.concatenate([by_unit @ counts for counts in self._counts(self.units)], axis=1)
        return {metric: metric_of(sums, metric) for metric in metrics}

    def ratio(self, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        """The sum of what stands above over the sum of what stands below, in each draw."""
        total, of = (np.bincount(self.unit, values, self.units) for values in (above, below))
        return np.concatenate([_ratio(total @ counts, of @ counts) for counts in self._counts(self.units)])

    def interval(self, values: np.ndarray) -> tuple[float, float] | None:
        """The middle part of the values that the level asks for; None when too many are missing."""
        kept = values[np.isfinite(values)]
        if len(kept) < len(values) * (1 - _MAY_FAIL):
            return None
        beyond = (1 - self.declared.level) / 2
        low, high = np.quantile(kept, [beyond, 1 - beyond])
        return float(low), float(high)

    def _counts(self, rows: int) -> Iterator[np.ndarray]:
        # The draws are the same however many fit into memory at once: each has a generator of its own.
        seeds = np.random.SeedSequence(self.seed).spawn(self.declared.resamples)
        at_once = max(1, _CELLS // max(rows, 1))
        for start in range(0, len(seeds), at_once):
            chosen = seeds[start : start + at_once]
            counts = np.empty((len(chosen), self.units))
            for row, seed in zip(counts, chosen, strict=True):
                drawn = np.random.default_rng(seed).integers(0, self.units, self.units, dtype=np.int32)
                row[:] = np.bincount(drawn, minlength=self.units)
            yield np.ascontiguousarray(counts.T)

    def _evaluator(self, found: Scored, metric: str, ranked: _Ranked) -> Evaluator:
        capacity = capacity_of(metric)
        if capacity and self.declared.by == "day":
            return _card_precision_by_day(found, capacity)
        if capacity:
            return _card_precision_by_entity(found, capacity, self.unit)
        if metric == "auc_roc":
            return ranked.auc_roc
        if metric == "average_precision":
            return ranked.average_precision
        if metric == "expected_calibration_error":
            return _calibration_error(found, self.unit, self.units)
        return _mean_loss(found, metric, self.unit, self.units)


class _Ranked:
    """Events from the highest score to the lowest, folded into steps.

    A step is all events of one score among which there is a positive, or all events between two such scores.
    """

    def __init__(self, found: Scored, unit: np.ndarray, units: int) -> None:
        from scipy.sparse import csr_matrix

        order = np.argsort(-found.score, kind="stable")
        score, label, unit = found.score[order], found.label[order] == 1, unit[order]
        tie = np.concatenate([[0], np.cumsum(score[1:] != score[:-1])])
        holds = np.bincount(tie, label) > 0
        begins = holds | np.concatenate([[True], holds[:-1]])
        step = (np.cumsum(begins) - 1)[tie]
        self.steps = int(step[-1]) + 1
        self.holds = np.flatnonzero(np.bincount(step, label, self.steps) > 0)
        shape = (self.steps, units)
        self.positive = csr_matrix((np.ones(label.sum()), (step[label], unit[label])), shape)[self.holds]
        self.negative = csr_matrix((np.ones((~label).sum()), (step[~label], unit[~label])), shape)
        self._seen: tuple[np.ndarray, tuple[np.ndarray, ...]] | None = None

    def _curve(self, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        # Both metrics ask about the same counts, one after the other.
        if self._seen is None or self._seen[0] is not counts:
            positive, negative = self.positive @ counts, self.negative @ counts
            above = np.cumsum(negative, axis=0)
            self._seen = counts, (positive, negative[self.holds], above[self.holds], above[-1])
        return self._seen[1]

    def auc_roc(self, counts: np.ndarray) -> np.ndarray:
        positive, tied, above, negatives = self._curve(counts)
        won = (positive * (negatives - above + tied / 2)).sum(axis=0)
        return _ratio(won, positive.sum(axis=0) * negatives)

    def average_precision(self, counts: np.ndarray) -> np.ndarray:
        positive, _, above, negatives = self._curve(counts)
        hits = np.cumsum(positive, axis=0)
        precision = hits / np.maximum(hits + above, 1)
        return np.where(negatives > 0, _ratio((positive * precision).sum(axis=0), hits[-1]), np.nan)


def _mean_loss(found: Scored, metric: str, unit: np.ndarray, units: int) -> Evaluator:
    from mdlc_assets.training.metrics import row_losses

    total = np.bincount(unit, row_losses(found, metric), units)
    events = np.bincount(unit, minlength=units).astype(float)
    return lambda counts: _ratio(total @ counts, events @ counts)


def _calibration_error(found: Scored, unit: np.ndarray, units: int) -> Evaluator:
    from scipy.sparse import csr_matrix

    from mdlc_assets.training.metrics import CALIBRATION_BINS, equal_bins

    bins = equal_bins(found.score, CALIBRATION_BINS)
    missed = csr_matrix((found.label - found.score, (bins, unit)), (int(bins.max()) + 1, units))
    events = np.bincount(unit, minlength=units).astype(float)
    return lambda counts: _ratio(np.abs(missed @ counts).sum(axis=0), events @ counts)


def _card_precision_by_day(found: Scored, capacity: int) -> Evaluator:
    """Days are drawn: the share of each day is what it is, only its weight changes."""
    from mdlc_assets.training.metrics import best_by_day

    detected: set[int] = set()
    shares = []
    for today in best_by_day(found):
        left = today.filter(~today["entity"].is_in(list(detected))).head(capacity)
        hits = left.filter(left["label"] == 1)["entity"].to_list()
        shares.append(len(hits) / capacity)
        detected.update(hits)
    by_unit = np.array(shares)
    return lambda counts: _ratio(by_unit @ counts, counts.sum(axis=0))


def _card_precision_by_entity(found: Scored, capacity: int, unit: np.ndarray) -> Evaluator:
    """Entities are drawn: one that is drawn twice takes two places, and is found out as one."""
    from mdlc_assets.training.metrics import best_by_day

    unit_of = dict(zip(found.entity.tolist(), unit.tolist(), strict=True))
    days = [
        (np.array([unit_of[entity] for entity in today["entity"].to_list()]), today["label"].to_numpy() == 1)
        for today in best_by_day(found)
    ]

    def evaluate(counts: np.ndarray) -> np.ndarray:
        hits = np.zeros(counts.shape[1])
        left = counts.copy()
        for units, positive in days:
            # The places are filled long before the last entity; look further only where they are not.
            size = min(len(units), 4 * capacity)
            filled = np.cumsum(left[units[:size]], axis=0)
            while size < len(units) and filled[-1].min() < capacity:
                size = min(len(units), 4 * size)
                filled = np.cumsum(left[units[:size]], axis=0)
            taken = np.minimum(filled, capacity)
            taken = np.diff(taken, axis=0, prepend=0)[positive[:size]]
            hits += taken.sum(axis=0)
            chosen = units[:size][positive[:size]]
            left[chosen] = np.where(taken > 0, 0, left[chosen])
        return hits / (capacity * len(days))

    return evaluate


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
