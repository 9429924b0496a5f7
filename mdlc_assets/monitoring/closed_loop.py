"""Closed loop: was the model right, now that labels have arrived?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training.metrics import interval, measure, scored

_FEWEST_POSITIVES = 5


def realised(
    lifecycle: LifecycleDeclaration,
    today: pl.DataFrame,
    recent: pl.DataFrame,
    promised: Mapping[str, float | None] | None,
) -> dict[str, Any]:
    """The document of a day. `today` and `recent` are predictions with labels, of the day and of the days up
    to it that the same version scored; `promised` are the metrics with which the version passed its gate.
    """
    label = lifecycle.labels.column
    expected = float(today["score"].sum())
    positives = int(today[label].sum())
    metric = lifecycle.monitoring.retrain.metric
    return {
        "rows": today.height,
        "positives": positives,
        "model_version": int(today["model_version"].max() or 0),  # type: ignore[arg-type]
        "metrics": _metrics(lifecycle, today),
        "promised": dict(promised) if promised else None,
        "calibration": positives / expected if expected else None,
        "recent": {
            "days": recent[lifecycle.dataset.time].dt.date().n_unique(),
            "rows": recent.height,
            "positives": int(recent[label].sum()),
            "metrics": _metrics(lifecycle, recent),
            "interval": interval(_scored(lifecycle, recent), metric),
        },
    }


def _metrics(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> dict[str, float | None]:
    wanted = lifecycle.monitoring.closed_loop.metrics
    found = measure(_scored(lifecycle, rows), wanted)
    few = rows[lifecycle.labels.column].sum() < _FEWEST_POSITIVES
    return {name: None if few else found[name] for name in wanted}


def _scored(lifecycle: LifecycleDeclaration, rows: pl.DataFrame):  # type: ignore[no-untyped-def]
    return scored(
        rows,
        rows["score"].to_numpy(),
        label=lifecycle.labels.column,
        entity=lifecycle.model.entity,
        time=lifecycle.dataset.time,
    )
