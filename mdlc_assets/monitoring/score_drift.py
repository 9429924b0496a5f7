"""How far a day's scores lie from those of the version before: the number that a rollout's alarm watches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdlc_assets.monitoring.sketch import Sketch
from mdlc_assets.resources.endpoint_alarms import SCORE_BINS, score_distance


def score_drift(today: Sketch, before: Sequence[Sketch]) -> float | None:
    """The total variation distance over the endpoint's own bins; None where there are too few scores to say."""
    return score_distance(_histogram([today]), _histogram(before))


def _histogram(days: Sequence[Sketch]) -> dict[int, float]:
    total = np.zeros(SCORE_BINS)
    for day in days:
        total += np.histogram(day.points.clip(0, 1), SCORE_BINS, (0.0, 1.0), weights=day.rows * day.weights)[0]
    return {number: float(count) for number, count in enumerate(total) if count}
