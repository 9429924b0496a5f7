"""Forecasts: how well they do, on which origins they are judged, and DeepAR's lines in and out.

A series is a run of values at equal steps. A forecast made at an origin sees only what lies before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Forecast:
    """What was foretold: the middle, and quantiles by level (0.1, 0.9 ...). Arrays of one length."""

    mean: np.ndarray
    quantiles: Mapping[float, np.ndarray] = field(default_factory=dict)


def forecast_metrics(
    actual: np.ndarray, forecast: Forecast, history: np.ndarray, *, season: int = 1
) -> dict[str, float | None]:
    """MAE, RMSE, sMAPE, MASE (against repeating the last season), weighted quantile loss, and coverage.

    `coverage` is the share inside the outermost quantiles, `promised` what it should be. None where a metric
    cannot be computed: nothing but zeros, a history without change.
    """
    actual, mean = np.asarray(actual, dtype=np.float64), np.asarray(forecast.mean, dtype=np.float64)
    if actual.shape != mean.shape or not len(actual):
        raise ValueError(f"{len(actual)} values happened, {len(mean)} were foretold. Mend: compare the same steps.")
    error = np.abs(actual - mean)
    both = np.abs(actual) + np.abs(mean)
    naive = np.abs(history[season:] - history[:-season]).mean() if len(history) > season else 0.0
    found: dict[str, float | None] = {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt(np.square(actual - mean).mean())),
        "smape": float((2 * error[both > 0] / both[both > 0]).mean()) if (both > 0).any() else None,
        "mase": float(error.mean() / naive) if naive > 0 else None,
    }
    if forecast.quantiles:
        total = np.abs(actual).sum()
        losses = [_pinball(actual, values, level).sum() for level, values in forecast.quantiles.items()]
        found["weighted_quantile_loss"] = float(2 * np.mean(losses) / total) if total > 0 else None
        low, high = min(forecast.quantiles), max(forecast.quantiles)
        inside = (actual >= forecast.quantiles[low]) & (actual <= forecast.quantiles[high])
        found |= {"coverage": float(inside.mean()), "promised": high - low}
    return found


def origins(length: int, horizon: int, *, least_history: int, count: int) -> list[int]:
    """The newest `count` origins of a backtest, oldest first, `horizon` steps apart: each step is judged once.

    Raises ValueError when not even one has its history.
    """
    found = [length - horizon * (i + 1) for i in range(count)]
    kept = sorted(origin for origin in found if origin >= least_history)
    if not kept:
        raise ValueError(
            f"{length} steps are too few for a history of {least_history} and a forecast of {horizon}. "
            "Mend: collect more days, or foretell fewer steps."
        )
    return kept


def backtest(
    series: np.ndarray,
    foretell: Callable[[np.ndarray, int], Forecast],
    *,
    horizon: int,
    least_history: int,
    count: int = 5,
    season: int = 1,
) -> list[dict[str, float | None]]:
    """The metrics of `foretell(history, horizon)` at each origin; it never sees a step it foretells."""
    found = []
    for origin in origins(len(series), horizon, least_history=least_history, count=count):
        history = series[:origin].copy()
        actual = series[origin : origin + horizon]
        found.append(forecast_metrics(actual, foretell(history, horizon), history, season=season))
    return found


def seasonal_naive(history: np.ndarray, horizon: int, *, season: int = 1) -> Forecast:
    """The last season again, with quantiles from how wrong that was so far: what any forecast has to beat."""
    if len(history) < season:
        raise ValueError(f"a season has {season} steps, the history {len(history)}. Mend: collect more days.")
    mean = np.resize(history[-season:], horizon).astype(np.float64)
    errors = history[season:] - history[:-season] if len(history) > season else np.zeros(1)
    spread = {level: mean + float(np.quantile(errors, level)) for level in (0.1, 0.5, 0.9)}
    return Forecast(mean, spread)


def deepar_lines(
    series: Mapping[str, tuple[datetime, Sequence[float]]], categories: Mapping[str, Sequence[int]] | None = None
) -> bytes:
    """Series by name as DeepAR's JSON lines; a missing value is null."""
    lines = []
    for name, (start, values) in series.items():
        target = [None if not np.isfinite(value) else float(value) for value in values]
        line: dict[str, Any] = {"start": start.strftime("%Y-%m-%d %H:%M:%S"), "target": target}
        if categories:
            line["cat"] = list(categories[name])
        lines.append(json.dumps(line))
    return ("\n".join(lines) + "\n").encode()


def deepar_forecasts(answer: bytes) -> Iterator[Forecast]:
    """The forecasts in DeepAR's answer, a line for each series."""
    for line in answer.splitlines():
        if line.strip():
            content = json.loads(line)
            quantiles = {float(level): np.array(values) for level, values in content.get("quantiles", {}).items()}
            mean = content["mean"] if "mean" in content else quantiles[0.5]
            yield Forecast(np.array(mean, dtype=np.float64), quantiles)


def _pinball(actual: np.ndarray, foretold: np.ndarray, level: float) -> np.ndarray:
    difference = actual - foretold
    return np.maximum(level * difference, (level - 1) * difference)
