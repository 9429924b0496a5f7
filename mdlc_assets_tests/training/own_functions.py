"""Functions as a team would write them, named in declarations by import path."""

from __future__ import annotations

from typing import Any

import numpy as np


def fit_forest(values: np.ndarray, target: np.ndarray, *, seed: int, trees: int = 10) -> Any:
    """A forest of scikit-learn."""
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=trees, random_state=seed).fit(values, target)


def fit_something_own(values: np.ndarray, target: np.ndarray, *, seed: int) -> Any:
    """An estimator that no safe format holds."""
    return object()
