"""Whether scores mean what they say: of events scored 0.2, is one in five a positive?"""

from __future__ import annotations

from typing import Any

import numpy as np

from mdlc_assets.training.metrics import Scored

# Wilson's interval at 95 %.
_Z = 1.96


def reliability(found: Scored, bins: int) -> dict[str, Any]:
    """The reliability curve, and how many positives there were to those that the scores expected.

    Each point of `curve` is a bin of neighbouring scores, all bins with as many expected positives: with as many
    rows, nine of ten would hold scores near 0 where positives are rare. A point has its rows, mean score, share
    of positives, and the interval of that share (Wilson 1927, 95 %): how far it may lie off the diagonal by chance.
    """
    bin_of = _bins(found.score, bins)
    rows = np.bincount(bin_of)
    positives, said = np.bincount(bin_of, found.label), np.bincount(bin_of, found.score)
    curve = []
    for i in np.flatnonzero(rows):
        low, high = _wilson(float(positives[i]), float(rows[i]))
        curve.append(
            {
                "rows": int(rows[i]),
                "score": float(said[i] / rows[i]),
                "share": float(positives[i] / rows[i]),
                "low": low,
                "high": high,
            }
        )
    expected = float(found.score.sum())
    return {"observed_to_expected": float(found.label.sum()) / expected if expected else None, "curve": curve}


def _bins(score: np.ndarray, bins: int) -> np.ndarray:
    expected = float(score.sum())
    if not expected:
        return np.zeros(len(score), dtype=int)
    ordered = np.sort(score)
    edges = ordered[np.searchsorted(np.cumsum(ordered) / expected, np.arange(1, bins) / bins)]
    return np.searchsorted(np.unique(edges), score, side="left")


def _wilson(positives: float, rows: float) -> tuple[float, float]:
    share = positives / rows
    middle = share + _Z**2 / (2 * rows)
    half = _Z * np.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    scale = 1 + _Z**2 / rows
    return max(0.0, float((middle - half) / scale)), min(1.0, float((middle + half) / scale))
