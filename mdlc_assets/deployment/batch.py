"""Scores of a whole day."""

from __future__ import annotations

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training.algorithms import FittedModel


def predictions(
    lifecycle: LifecycleDeclaration, features: pl.DataFrame, model: FittedModel, version: int
) -> pl.DataFrame:
    """Id, time, entity, `score` (Float64, 0 to 1) and `model_version` (Int64), in the order of `features`."""
    return features.select(
        lifecycle.dataset.id,
        lifecycle.dataset.time,
        lifecycle.model.entity,
        pl.Series("score", model.score(features), pl.Float64),
        pl.lit(version, pl.Int64).alias("model_version"),
    )


def faults(rows: pl.DataFrame, events: int) -> str:
    """What is wrong with a day's predictions in words; empty when nothing is."""
    if rows.height != events:
        return f"{rows.height} scores for {events} rows of features"
    inside = rows["score"].is_between(0, 1).fill_null(False)
    return "" if inside.all() else f"{(~inside).sum()} scores are missing or outside 0 to 1"
