"""Closed loop: was the model right, now that labels have arrived?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.evaluation import Intervals
from mdlc_assets.training.candidate import scored_columns
from mdlc_assets.training.metrics import Scored, calibration_interval, interval, measure, scored
from mdlc_assets.training.number_metrics import by_tenths

_FEWEST_POSITIVES = 5
_FEWEST_EXPECTED = 20
_BINS = 10
# Each day has several, over a week or four of events.
_INTERVALS = Intervals(resamples=200)


def realised(
    lifecycle: LifecycleDeclaration,
    today: pl.DataFrame,
    recent: pl.DataFrame,
    longer: pl.DataFrame,
    promised: Mapping[str, Any] | None,
    predicted: int,
    *,
    learnt: bool = False,
) -> dict[str, Any]:
    """The document of a day. `today`, `recent` and `longer` are predictions with labels: of the day, of the last
    days up to it by which the policy judges, and of those over which calibration is judged. Slices are columns
    of `recent`, see `with_slices`. `promised` is the evaluation with which the version passed its gate;
    `predicted` counts the day's scored events, labelled or not; `learnt` says that the version has learnt from the
    day, which then shows nothing.
    """
    label = lifecycle.labels.column
    number = lifecycle.labels.kind == "number"
    expected, came = float(today["score"].sum()), float(today[label].sum())
    metric = lifecycle.monitoring.retrain.metric
    return {
        "rows": today.height,
        "kind": lifecycle.labels.kind,
        "positives": None if number else int(came),
        "learnt": learnt,
        "model_version": int(today["model_version"].max() or 0),  # type: ignore[arg-type]
        "metrics": _metrics(lifecycle, today),
        "interval": interval(_scored(lifecycle, today), metric, declared=_INTERVALS),
        "promised": dict(promised["metrics"]) if promised else None,
        "promised_interval": (promised["intervals"].get(metric) if promised else None) or None,
        "calibration": came / expected if expected else None,
        "recent": {
            "days": _days(lifecycle, recent),
            "rows": recent.height,
            "positives": None if number else int(recent[label].sum()),
            "metrics": _metrics(lifecycle, recent),
            "interval": interval(_scored(lifecycle, recent), metric, declared=_INTERVALS),
        },
        "slices": {name: _slice(lifecycle, recent, name) for name in lifecycle.monitoring.closed_loop.slices},
        "calibration_window": _calibration(lifecycle, longer),
        "lateness": lateness(lifecycle, today, predicted),
    }


def with_slices(lifecycle: LifecycleDeclaration, rows: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """`rows` with a column for each declared slice, from their features."""
    conditions = lifecycle.monitoring.closed_loop.slices
    if not conditions:
        return rows
    key = lifecycle.dataset.id
    wanted = [pl.sql_expr(where).alias(f"slice: {name}") for name, where in conditions.items()]
    return rows.join(features.select(key, *wanted), on=key, how="left", maintain_order="left")


def lateness(lifecycle: LifecycleDeclaration, today: pl.DataFrame, predicted: int) -> dict[str, Any]:
    """How late labels came, in days after the event, and how many of the scored events have none."""
    waited = (today["known_at"] - today[lifecycle.dataset.time]).dt.total_seconds() / 86_400
    quantiles = {name: waited.quantile(level) for name, level in (("median", 0.5), ("p90", 0.9), ("longest", 1.0))}
    return {**quantiles, "without_label": 1 - today.height / predicted if predicted else 0.0}


def _calibration(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> dict[str, Any]:
    """Realised over expected positives with its interval, and both by tenths of the expected positives.

    Of numbers: what came over what was foretold, and both by tenths of the events.
    """
    if lifecycle.labels.kind == "number":
        return _numbers(lifecycle, rows)
    ordered = rows.sort("score").select("score", pl.col(lifecycle.labels.column).alias("label"))
    expected = float(ordered["score"].sum())
    found: dict[str, Any] = {"days": _days(lifecycle, rows), "ratio": None, "interval": None, "bins": []}
    if expected < _FEWEST_EXPECTED:
        return found
    level = np.minimum((ordered["score"].cum_sum().to_numpy() / expected * _BINS).astype(int), _BINS - 1)
    bins = ordered.with_columns(pl.Series("bin", level)).group_by("bin", maintain_order=True)
    return found | {
        "ratio": float(ordered["label"].sum()) / expected,
        "interval": calibration_interval(_scored(lifecycle, rows), declared=_INTERVALS),
        "bins": [
            {"score": score, "share": share, "rows": count}
            for score, share, count in bins.agg(pl.col("score").mean(), pl.col("label").mean(), pl.len())
            .drop("bin")
            .iter_rows()
        ],
    }


def _numbers(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {"days": _days(lifecycle, rows), "ratio": None, "interval": None, "bins": []}
    if rows.height < _FEWEST_EXPECTED:
        return found
    scored_rows = _scored(lifecycle, rows)
    tenths = by_tenths(scored_rows, _BINS)
    ratio = tenths["observed_to_expected"]
    sure = None if ratio is None else calibration_interval(scored_rows, declared=_INTERVALS)
    bins = [{name: point[name] for name in ("score", "share", "rows")} for point in tenths["curve"]]
    return found | {"ratio": ratio, "interval": sure, "bins": bins}


def _slice(lifecycle: LifecycleDeclaration, recent: pl.DataFrame, name: str) -> dict[str, Any]:
    rows = recent.filter(pl.col(f"slice: {name}").cast(pl.Boolean))
    expected = float(rows["score"].sum())
    came = float(rows[lifecycle.labels.column].sum())
    return {
        "rows": rows.height,
        "positives": None if lifecycle.labels.kind == "number" else int(came),
        "metrics": _metrics(lifecycle, rows),
        "interval": interval(_scored(lifecycle, rows), lifecycle.monitoring.retrain.metric, declared=_INTERVALS),
        "calibration": came / expected if expected else None,
    }


def _metrics(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> dict[str, float | None]:
    wanted = lifecycle.monitoring.closed_loop.metrics
    counted = rows.height if lifecycle.labels.kind == "number" else rows[lifecycle.labels.column].sum()
    if counted < _FEWEST_POSITIVES:
        return dict.fromkeys(wanted)
    return measure(_scored(lifecycle, rows), wanted)


def _scored(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> Scored:
    columns = scored_columns(lifecycle)
    if columns["baseline"] not in rows.columns:
        columns["baseline"] = None
    return scored(rows, rows["score"].to_numpy(), **columns)


def _days(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> int:
    return rows[lifecycle.dataset.time].dt.date().n_unique()
