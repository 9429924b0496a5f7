"""Open loop: are today's inputs and scores like those the model learnt from? No labels are needed.

Each column's histogram is compared with the reference's by the Jensen-Shannon distance (base 2, from 0 to 1).
A large sample makes any difference significant, so a column is only marked when its distance reaches a declared
size, lies outside what the reference's own days show (of the same weekday), and survives Benjamini and Hochberg's
control (1995) of false discoveries over all columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial.distance import jensenshannon
from scipy.stats import false_discovery_control, norm

from mdlc_assets.declaration.monitoring import OpenLoop

_BINS = 10
_FEWEST_DAYS = 7
# Distances of quiet days scatter at least so much: below it a z-score would only measure luck.
_LEAST_SCATTER = 0.01


@dataclass(frozen=True)
class Profile:
    """A column's histogram over the reference days. A bin of its own for zero, which many features often are."""

    edges: np.ndarray
    share: np.ndarray
    mean: float
    deviation: float
    usual: Mapping[int, float]
    """Mean distance of the reference's days to the whole, by weekday (Monday is 0)."""
    scatter: float
    """Standard deviation of those distances around their weekday's mean."""


def make_profile(days: Mapping[date, np.ndarray]) -> Profile:
    """The profile of a column from its values on each reference day."""
    pooled = np.concatenate(list(days.values()))
    edges = np.empty(0)
    if pooled.any():
        edges = np.unique(np.quantile(pooled[pooled != 0], np.linspace(0, 1, _BINS + 1)[1:-1]))
    share = histogram(pooled, edges)
    distances = {day: float(jensenshannon(histogram(values, edges), share, base=2)) for day, values in days.items()}
    usual = {
        weekday: float(np.mean([d for day, d in distances.items() if day.weekday() == weekday]))
        for weekday in {day.weekday() for day in distances}
    }
    scatter = float(np.std([d - usual[day.weekday()] for day, d in distances.items()]))
    return Profile(edges, share, float(pooled.mean()), float(pooled.std()) or 1.0, usual, max(scatter, _LEAST_SCATTER))


def histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Shares of the values: first those that are zero, then by the bins between `edges`."""
    zero = values == 0
    counts = np.bincount(np.searchsorted(edges, values[~zero], side="left"), minlength=len(edges) + 1)
    return np.concatenate([[zero.sum()], counts]) / max(1, len(values))


def compare(
    declared: OpenLoop, day: date, values: Mapping[str, np.ndarray], profiles: Mapping[str, Profile]
) -> dict[str, dict[str, Any]]:
    """For each column its distance, shift of the mean (in reference deviations), threshold and mark."""
    found: dict[str, dict[str, Any]] = {}
    chances = []
    for name, profile in profiles.items():
        distance = float(jensenshannon(histogram(values[name], profile.edges), profile.share, base=2))
        usual = profile.usual.get(day.weekday(), float(np.mean(list(profile.usual.values()))))
        mean = float(values[name].mean())
        chances.append(norm.sf((distance - usual) / profile.scatter))
        found[name] = {
            "distance": distance,
            "usual": usual,
            "mean": mean,
            "reference_mean": profile.mean,
            "shift": (mean - profile.mean) / profile.deviation,
        }
    adjusted = false_discovery_control(chances) if chances else []
    for said, chance in zip(found.values(), adjusted, strict=True):
        unusual = bool(chance <= declared.false_discovery_rate)
        said["marked"] = unusual and said["distance"] - said["usual"] >= declared.alarm_distance
    return found


def judge(
    declared: OpenLoop, columns: Mapping[str, Mapping[str, Any]], days_before: Sequence[Sequence[str]]
) -> tuple[list[str], list[str]]:
    """The columns in alarm, and the reasons in words.

    `days_before` names the columns marked on the day before and the day before that. A column is in alarm
    when it is marked today and was on enough of the three days.
    """
    alarmed = [
        name
        for name, said in columns.items()
        if said["marked"] and 1 + sum(name in marked for marked in days_before) >= declared.days_in_three
    ]
    alarmed.sort(key=lambda name: -columns[name]["distance"])
    reasons = [
        f"{name} moved: mean {columns[name]['mean']:.4g} against {columns[name]['reference_mean']:.4g} in training, "
        f"distance {columns[name]['distance']:.2f} where {columns[name]['usual']:.2f} is usual"
        for name in alarmed
    ]
    return alarmed, reasons


def enough_reference(days: Sequence[date]) -> bool:
    """Whether there are days enough to say what is usual."""
    return len(days) >= _FEWEST_DAYS


def columns_of(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named columns as arrays."""
    return {name: rows[name].to_numpy() for name in names}
