"""Scores from a model folder: a whole day as a frame, or a few rows as an array."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


class ArrayScorer:
    """A model that scores a NumPy array without a data frame around it."""

    def __init__(self, booster, features: tuple[str, ...], missing_allowed: bool = False) -> None:
        self.booster, self.features, self.missing_allowed = booster, features, missing_allowed

    def score_rows(self, rows: np.ndarray) -> np.ndarray:
        return self.booster.inplace_predict(rows).astype(np.float64)


def load_scorer(folder: Path) -> ArrayScorer:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(folder / "model.ubj")
    return ArrayScorer(booster, tuple(json.loads((folder / "features.json").read_text())))
