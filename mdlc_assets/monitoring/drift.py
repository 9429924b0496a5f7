"""How far a day's column lies from its reference, and how far its own days usually lie: pure arithmetic on sketches.

Two distances see different harm. Jensen-Shannon (base 2, 0 to 1) compares shares in bins: shape, missing values, values
never seen before. Wasserstein, in deviations of the reference, compares how far values have to be carried: the
half per cent of amounts that came in cents. Both are taken for every reference day too, with that day
left out, so that what is usual is measured on the same footing as what is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np

from mdlc_assets.monitoring.sketch import Sketch, pooled

_BINS = 10
_GRID = 256
# Days scatter by at least so much: below it a z-score would only measure luck.
_LEAST_SCATTER = {"jensen_shannon": 0.005, "wasserstein": 0.02}
_TINY = 1e-4
_FEW_VALUES = 24


@dataclass(frozen=True)
class Shift:
    """A distance of today's column to its reference. `excess` is what it has beyond the usual; `chance` how likely
    a quiet day goes as far, by Student's t over the reference's own days."""

    distance: float
    usual: float
    chance: float

    @property
    def excess(self) -> float:
        return self.distance - self.usual


@dataclass(frozen=True)
class Compared:
    """Today's column beside its reference. `unseen` is the share of rows with values no reference day had, which
    is only told of texts and of columns with few values."""

    jensen_shannon: Shift
    wasserstein: Shift
    psi: float
    mean: float
    reference_mean: float
    deviation: float
    missing: float
    reference_missing: float
    unseen: float
    text: bool


def compare(day: date, today: Sketch, reference: Mapping[date, Sketch]) -> Compared:
    """Today's column against reference days, those of the same weekday first.

    The distance is the smaller of that to the same weekday's days and that to all of them: a weekly pattern is
    no drift, and a weekday seen only once or twice is no better a measure than the rest.
    """
    days = sorted(reference)
    past = [reference[when] for when in days]
    points, weights = pooled(past)
    discrete = today.text or bool(past and past[0].text) or len(points) <= _FEW_VALUES
    share = np.array([_binned(one, points, weights, discrete) for one in [*past, today]])
    weekdays = np.array([when.weekday() for when in [*days, day]])
    near = _distances(share, weekdays, _jensen_shannon)
    mean = float(np.mean([one.mean for one in past]))
    spread = float(np.sqrt(np.mean([one.deviation**2 + (one.mean - mean) ** 2 for one in past])))
    if today.text or not spread:
        # Nothing to carry between texts, and no yardstick where the reference never varied.
        far = np.zeros(len(near))
    else:
        at = _grid(points, weights, today.points)
        cumulated = np.array([_cumulated(one, at) for one in [*past, today]])
        widths = np.diff(at)
        far = _distances(cumulated, weekdays, lambda a, b: np.abs(a - b)[..., :-1] @ widths) / spread
    same = weekdays[:-1] == weekdays[-1]
    return Compared(
        _shift(near, "jensen_shannon"),
        _shift(far, "wasserstein"),
        min(_psi(share[-1], share[:-1][some].mean(axis=0)) for some in (same, same | ~same) if some.any()),
        today.mean,
        mean,
        spread,
        today.missing,
        float(np.mean([one.missing for one in past])),
        float(share[-1][1]) if discrete else 0.0,
        today.text,
    )


def _shift(distances: np.ndarray, kind: str) -> Shift:
    from scipy.stats import t as student

    quiet, now = distances[:-1], float(distances[-1])
    usual, scatter = float(quiet.mean()), max(float(quiet.std(ddof=1)), _LEAST_SCATTER[kind])
    z = (now - usual) / (scatter * np.sqrt(1 + 1 / len(quiet)))
    return Shift(now, usual, float(student.sf(z, len(quiet) - 1)))


def _distances(rows: np.ndarray, weekdays: np.ndarray, distance) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Of each row but the last to the other rows but the last; of the last row to all before it."""
    past = rows[:-1]
    total, count = past.sum(axis=0), len(past)
    own = np.ones((len(rows), 1))
    own[-1] = 0
    near = distance(rows, (total - own * rows) / (count - own))
    same = (weekdays[:, None] == weekdays[None, :-1]).astype(float)
    np.fill_diagonal(same[:-1], 0)
    counts = same.sum(axis=1, keepdims=True)
    weekly = distance(rows, (same @ past) / np.maximum(counts, 1))
    return np.where(counts[:, 0] > 0, np.minimum(near, weekly), near)


def _binned(one: Sketch, points: np.ndarray, weights: np.ndarray, discrete: bool) -> np.ndarray:
    """Shares: missing, never seen (discrete only), zero, then the bins."""
    if discrete:
        place = {value: i for i, value in enumerate(points.tolist())}
        found = np.zeros(len(points) + 2)
        found[0] = one.missing
        for value, weight in zip(one.points.tolist(), one.weights, strict=True):
            found[place[value] + 2 if value in place else 1] += weight
        return found
    some = points != 0
    level = np.cumsum(weights[some]) / max(float(weights[some].sum()), _TINY)
    edges = np.unique(points[some][np.searchsorted(level, np.linspace(0, 1, _BINS + 1)[1:-1]).clip(max=some.sum() - 1)])
    zero = one.points == 0
    places = np.searchsorted(edges, one.points[~zero], side="left")
    shares = np.bincount(places, one.weights[~zero], minlength=len(edges) + 1)
    return np.concatenate([[one.missing, 0.0, one.weights[zero].sum()], shares])


def _grid(points: np.ndarray, weights: np.ndarray, today: np.ndarray) -> np.ndarray:
    """Where cumulated shares are compared: points of equal mass of the reference, and today's own."""
    if len(points) > _GRID:
        level = np.cumsum(weights) / weights.sum()
        kept = np.unique(np.searchsorted(level, np.linspace(0, 1, _GRID)).clip(max=len(points) - 1))
        points = points[kept]
    step = max(1, len(today) // _GRID)
    return np.unique(np.concatenate([points, today[::step], today[-1:]]))


def _cumulated(one: Sketch, at: np.ndarray) -> np.ndarray:
    if not len(one.points):
        return np.zeros(len(at))
    level = np.concatenate([[0.0], np.cumsum(one.weights)])
    return level[np.searchsorted(one.points, at, side="right")] / level[-1]


def _jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Along the last axis. SciPy's does one pair at a time, and here thousands are asked for."""
    a = first / np.maximum(first.sum(axis=-1, keepdims=True), _TINY)
    b = second / np.maximum(second.sum(axis=-1, keepdims=True), _TINY)
    middle = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(a > 0, a * np.log2(a / middle), 0).sum(axis=-1)
        right = np.where(b > 0, b * np.log2(b / middle), 0).sum(axis=-1)
    return np.sqrt(np.maximum(0, (left + right) / 2))


def _psi(today: np.ndarray, expected: np.ndarray) -> float:
    """Population stability index; empty bins count as a ten-thousandth."""
    a, b = np.maximum(today, _TINY), np.maximum(expected, _TINY)
    seen = (today > 0) | (expected > 0)
    return float(((a - b) * np.log(a / b))[seen].sum())
