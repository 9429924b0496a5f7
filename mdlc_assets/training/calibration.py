"""Calibration: a map from scores to shares of positives, learnt on held-out days, kept as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Scores of 0 and 1 have no logit.
_EDGE = 1e-12


@dataclass(frozen=True)
class Calibration:
    """`isotonic`: straight lines between the points (at, to). `platt`: a line through the logits, `to` = slope and
    offset. Neither ever turns the order of two scores round."""

    method: str
    at: tuple[float, ...]
    to: tuple[float, ...]

    def apply(self, score: np.ndarray) -> np.ndarray:
        """Calibrated scores, in 0 to 1."""
        if self.method == "isotonic":
            return np.interp(score, self.at, self.to)
        slope, offset = self.to
        return 1 / (1 + np.exp(-(slope * _logit(score) + offset)))

    def as_dict(self) -> dict[str, Any]:
        """For the model's file."""
        return {"method": self.method, "at": list(self.at), "to": list(self.to)}


def from_dict(found: Mapping[str, Any]) -> Calibration:
    """What `as_dict` gave. Raises `ValueError` for anything else."""
    at, to = (tuple(float(value) for value in found[name]) for name in ("at", "to"))
    whole = len(to) == 2 if found["method"] == "platt" else len(at) == len(to) > 0
    if found["method"] not in {"isotonic", "platt"} or not whole:
        raise ValueError(f"{found['method']!r} with {len(at)} and {len(to)} numbers is no calibration")
    return Calibration(found["method"], at, to)


def fit_calibration(method: str, score: np.ndarray, label: np.ndarray) -> Calibration:
    """Learn from scores of events that the model has not learnt from."""
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
        return Calibration("isotonic", tuple(found.X_thresholds_.tolist()), tuple(found.y_thresholds_.tolist()))
    from sklearn.linear_model import LogisticRegression

    # Platt (1999) draws both classes a little away from 0 and 1; a weak penalty does the same.
    line = LogisticRegression(C=1e3).fit(_logit(score).reshape(-1, 1), label)
    # A falling line would turn the order round: then the scores say nothing, and every event gets the same.
    return Calibration("platt", (), (max(0.0, float(line.coef_[0, 0])), float(line.intercept_[0])))


def _logit(score: np.ndarray) -> np.ndarray:
    kept = np.clip(score, _EDGE, 1 - _EDGE)
    return np.log(kept / (1 - kept))
