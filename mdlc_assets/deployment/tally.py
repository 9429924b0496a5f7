"""What a server process counts, for its metrics and for the alarms that watch it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdlc_assets.resources.endpoint_alarms import SCORE_BINS, latency_bin

_FEW = 32


@dataclass
class Tally:
    """Counts of one version's answers since the process began; bins as in `endpoint_alarms`."""

    answers: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    scores: Counter[int] = field(default_factory=Counter)

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer. The time is the model's: from the last byte of the question to the answer."""
        self.answers[status] += 1
        self.latency[latency_bin(seconds)] += 1

    def scored(self, scores: Sequence[float]) -> None:
        """Count the scores of an answer."""
        self.rows += len(scores)
        if len(scores) <= _FEW:
            for score in scores:
                self.scores[max(min(int(score * SCORE_BINS), SCORE_BINS - 1), 0)] += 1
        else:
            counts = np.histogram(scores, bins=SCORE_BINS, range=(0.0, 1.0))[0]
            self.scores.update({number: int(count) for number, count in enumerate(counts) if count})

    def report(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {"answers": self.answers, "rows": self.rows, "latency": self.latency, "scores": self.scores}


@dataclass
class Comparison:
    """What a shadow's answers were beside those that callers got."""

    compared: int = 0
    failed: int = 0
    dropped: int = 0
    difference: float = 0.0
    largest: float = 0.0

    def add(self, scores: Sequence[float], shadow: Sequence[float]) -> None:
        """Count a request that both have answered. Raises `ValueError` when they differ in length."""
        apart = [abs(one - other) for one, other in zip(scores, shadow, strict=True)]
        self.compared += len(apart)
        self.difference += sum(apart)
        self.largest = max(self.largest, *apart)

    def report(self) -> dict[str, Any]:
        """The counts as JSON; `mean_difference` is over all rows compared."""
        return {
            "compared": self.compared,
            "failed": self.failed,
            "dropped": self.dropped,
            "mean_difference": self.difference / self.compared if self.compared else 0.0,
            "largest_difference": self.largest,
        }
