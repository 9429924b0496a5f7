"""Performance to be expected without labels, from what the scores say of themselves.

Scores are turned into chances by isotonic regression on the newest days whose labels are known; the chances then
weigh each event as so much a positive and so much a negative. This is the confidence-based estimate of NannyML
(its documentation, "CBPE"). It sees drift of the inputs that moves the scores. It is blind where the same event
means something else than before: labels decide, this only tells a delay earlier.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ESTIMATED = ("auc_roc", "average_precision")
_FEWEST_POSITIVES = 20


class Calibration:
    """What a score has meant on labelled events that the model had not learnt from. `days` counts theirs."""

    def __init__(self, score: np.ndarray, label: np.ndarray, days: int) -> None:
        from sklearn.isotonic import IsotonicRegression

        self.days, self.positives = days, int(label.sum())
        self._isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        self.realised: dict[str, float] = {}
        if self.enough:
            self._isotonic.fit(score, label)
            self.realised = _metrics(label, score)

    @property
    def enough(self) -> bool:
        """Whether there are positives enough to say anything."""
        return self.positives >= _FEWEST_POSITIVES

    def chances(self, score: np.ndarray) -> np.ndarray:
        """How likely each event is a positive, by its score."""
        return self._isotonic.predict(score)


def estimate(score: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    """The metrics to be expected of events with these scores and chances; empty when one class is impossible."""
    if not 0 < chance.sum() < len(chance):
        return {}
    # Each event enters twice: as a positive with its chance for weight, and as a negative with the rest.
    label = np.repeat([1, 0], len(score))
    weight = np.concatenate([chance, 1 - chance])
    twice = np.concatenate([score, score])
    kept = weight > 0
    return _metrics(label[kept], twice[kept], weight[kept])


def _metrics(label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "auc_roc": float(roc_auc_score(label, score, sample_weight=weight)),
        "average_precision": float(average_precision_score(label, score, sample_weight=weight)),
    }


def expected(
    calibration: Calibration, today: np.ndarray, recent: np.ndarray, recent_days: int
) -> dict[str, Any] | None:
    """What the day's document says: estimates of the day and of the last days together, beside what was realised
    on the days that calibrate."""
    if not calibration.enough or not len(today):
        return None
    chance = calibration.chances(today)
    before = {"days": calibration.days, "positives": calibration.positives, "metrics": calibration.realised}
    return {
        "metrics": estimate(today, chance),
        "share": float(chance.mean()),
        "recent": {"days": recent_days, "metrics": estimate(recent, calibration.chances(recent))},
        "calibrated_on": before,
    }
