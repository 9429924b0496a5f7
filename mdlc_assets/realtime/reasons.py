"""Which features moved a score: exact contributions of trees and linear models, in log odds.

They add up, with the model's bias, to the log odds of the score before calibration. Other algorithms have no such
parts at a price that an answer could pay; there are no reasons then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mdlc_assets.realtime.tree_parts import tree_parts
from mdlc_assets.training.algorithms import FittedModel
from mdlc_assets.training.estimators import is_booster


class Contributions:
    """Contributions of the features of one model."""

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        booster = is_booster(model.estimator)
        self.linear = None if booster else getattr(model.estimator, "coef_", None)
        self.parts = tree_parts(model.estimator, len(model.features)) if booster else None

    @property
    def known(self) -> bool:
        """Whether the model has any."""
        return is_booster(self.model.estimator) or self.linear is not None

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Shape (rows, features), for rows in the order of the model's features."""
        model = self.model
        if not len(rows):
            return rows
        if model.mean is not None:
            rows = (rows - model.mean) / model.scale
        if self.linear is not None:
            return rows * np.ravel(self.linear)
        if self.parts is not None:
            return self.parts.of(rows)
        import xgboost

        matrix = xgboost.DMatrix(rows, nthread=1)
        return model.estimator.predict(matrix, pred_contribs=True, validate_features=False)[:, :-1]

    def top(self, contributions: np.ndarray, row: np.ndarray, most: int) -> list[dict[str, Any]]:
        """The features that moved one score most, either way."""
        names = self.model.features
        order = np.argsort(-np.abs(contributions), kind="stable")[:most]
        return [
            {"feature": names[i], "value": float(row[i]), "contribution": float(contributions[i])}
            for i in order
            if contributions[i] != 0
        ]
