"""A model folder as the server loads it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from mdlc_assets.training.algorithms import FittedModel, load_model
from mdlc_assets.training.estimators import is_booster


class ArrayScorer:
    """A fitted model that scores rows of a NumPy array, without a data frame around them."""

    # No algorithm of ours is trained on missing values.
    missing_allowed = False

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        self.features = tuple(model.features)

    def score_rows(self, rows: np.ndarray) -> np.ndarray:
        """Scores in 0 to 1, shape (rows,), for float64 rows of shape (rows, features)."""
        return self.model.score_array(rows)


def in_one_thread(model: FittedModel) -> FittedModel:
    """The same model, each of whose calls keeps to one thread, for callers that have threads of their own."""
    if not is_booster(model.estimator):
        return model
    booster = model.estimator.copy()
    booster.set_param({"nthread": 1})
    return replace(model, estimator=booster)


def load_scorer(folder: Path) -> ArrayScorer:
    """The model in a folder. Raises `ModelFileError`; never runs code from the files."""
    if (folder / "model.ubj").exists():
        import_xgboost_alone()
    return ArrayScorer(load_model({file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}))


def import_xgboost_alone() -> None:
    """Import xgboost without scikit-learn, where neither is there yet.

    xgboost brings it in for its estimator classes, if it can, which takes two thirds of the time in which a
    server process starts; a booster needs none of it.
    """
    if "sklearn" in sys.modules or "xgboost" in sys.modules:
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        import xgboost  # noqa: F401
    finally:
        del sys.modules["sklearn"]
