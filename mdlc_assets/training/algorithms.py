"""The algorithms by name: fitting, scoring, and files that cannot run code when they are read."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration.model import Model
from mdlc_assets.training.calibration import Calibration, from_dict

_BOOSTER, _SKOPS, _ABOUT = "model.ubj", "model.skops", "model.json"
_MONOTONE = {
    "xgboost": "monotone_constraints",
    "gradient_boosting": "monotonic_cst",
    "random_forest": "monotonic_cst",
    "decision_tree": "monotonic_cst",
}


class TrainingDataError(ValueError):
    """Rows that a model cannot learn from."""


class ModelFileError(ValueError):
    """A model file that cannot be read, or that is not what it says."""


class FeatureError(ValueError):
    """Rows to score whose features are not those of the model."""


@dataclass(frozen=True)
class FittedModel:
    """A classifier that gives each row a score from 0 to 1. `features` are its columns, in order."""

    algorithm: str
    features: list[str]
    estimator: Any
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None
    calibration: Calibration | None = None

    def score(self, rows: pl.DataFrame) -> np.ndarray:
        """The score of each row (float64, shape (rows,)). Raises `FeatureError`."""
        missing = [name for name in self.features if name not in rows.columns]
        if missing:
            raise FeatureError(f"the rows lack {', '.join(missing)}. Mend: give all features of the model.")
        return self.score_array(rows.select(self.features).to_numpy())

    def score_array(self, values: np.ndarray) -> np.ndarray:
        """As `score`, for an array of shape (rows, features) whose columns are in order."""
        if not np.isfinite(values).all():
            column = self.features[int(np.argmin(np.isfinite(values).all(axis=0)))]
            raise FeatureError(f"{column} is missing or infinite. Mend: give a finite number.")
        if self.mean is not None:
            values = (values - self.mean) / self.scale
        if self.algorithm == "xgboost":
            scores = self.estimator.inplace_predict(values).astype(np.float64)
        else:
            scores = self.estimator.predict_proba(values)[:, 1].astype(np.float64)
        return self.calibration.apply(scores) if self.calibration else scores

    def files(self) -> dict[str, bytes]:
        """The model's files by name."""
        about = {
            "algorithm": self.algorithm,
            "features": self.features,
            "mean": None if self.mean is None else self.mean.tolist(),
            "scale": None if self.scale is None else self.scale.tolist(),
            "calibration": self.calibration.as_dict() if self.calibration else None,
        }
        found = {_ABOUT: json.dumps(about, indent=1).encode()}
        if self.algorithm == "xgboost":
            found[_BOOSTER] = bytes(self.estimator.save_raw("ubj"))
        else:
            import skops.io

            found[_SKOPS] = skops.io.dumps(self.estimator)
        return found

    def digest(self) -> str:
        """SHA-256 in hex of what the model is; skops files themselves carry times and addresses."""
        files = self.files()
        total = hashlib.sha256(files[_ABOUT])
        if self.algorithm == "xgboost":
            total.update(files[_BOOSTER])
        else:
            import joblib

            total.update(joblib.hash(_without_threads(self.estimator), hash_name="sha1").encode())
        return total.hexdigest()


def _without_threads(estimator: Any) -> Any:
    """The estimator without how many threads it was fitted with, which gradient boosting remembers."""
    if not hasattr(estimator, "_bin_mapper"):
        return estimator
    plain = copy.deepcopy(estimator)
    plain._bin_mapper.n_threads = 1
    return plain


def fit(model: Model, rows: pl.DataFrame, features: list[str], label: str) -> FittedModel:
    """Fit the declared algorithm. The same rows and seed give a model with the same digest.

    Raises `TrainingDataError` for rows with one class only, or values that are missing or infinite.
    """
    target = rows[label].to_numpy()
    if len(np.unique(target)) < 2:
        raise TrainingDataError(
            f"all {len(target)} training rows have the same label. Mend: train on more days, or check labels."
        )
    values = rows.select(features).to_numpy()
    if not np.isfinite(values).all():
        column = features[int(np.argmin(np.isfinite(values).all(axis=0)))]
        raise TrainingDataError(f"feature {column} is missing or infinite in some rows. Mend: rebuild features.")
    mean = scale = None
    if model.standardise:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(values)
        mean, scale = scaler.mean_, scaler.scale_
        values = (values - mean) / scale
    estimator = make_estimator(model, features)
    estimator.fit(values, target)
    if model.algorithm == "xgboost":
        estimator = estimator.get_booster()
    return FittedModel(model.algorithm, features, estimator, mean, scale)


def make_estimator(model: Model, features: list[str]) -> Any:
    """The unfitted estimator with the declared hyperparameters, seed and directions, for features in this order."""
    given = dict(model.hyperparameters)
    if model.monotone:
        signs = {"increasing": 1, "decreasing": -1}
        given[_MONOTONE[model.algorithm]] = tuple(signs.get(model.monotone.get(name, ""), 0) for name in features)
    if "random_state" in inspect.signature(_class_of(model.algorithm).__init__).parameters or (
        model.algorithm == "xgboost"
    ):
        given["random_state"] = model.seed
    return _class_of(model.algorithm)(**given)


def known_hyperparameters(algorithm: str) -> list[str]:
    """What the algorithm's estimator takes."""
    return sorted(_class_of(algorithm)().get_params())


def takes_directions(algorithm: str) -> bool:
    """Whether a score of the algorithm can be made to only rise, or only fall, with a feature."""
    return algorithm in _MONOTONE


def load_model(files: Mapping[str, bytes]) -> FittedModel:
    """A model from its files. Raises `ModelFileError`; never runs code from the files."""
    try:
        about = json.loads(files[_ABOUT])
        estimator = _booster(files[_BOOSTER]) if about["algorithm"] == "xgboost" else _sklearn(files[_SKOPS])
        mean, scale = (None if about[key] is None else np.array(about[key]) for key in ("mean", "scale"))
        calibration = from_dict(about["calibration"]) if about.get("calibration") else None
        return FittedModel(about["algorithm"], about["features"], estimator, mean, scale, calibration)
    except ModelFileError:
        raise
    except KeyError as error:
        raise ModelFileError(f"the model lacks {error}. Mend: train and register it again.") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise ModelFileError(f"the model's files cannot be read ({reason}). Mend: register it again.") from None


def _booster(content: bytes) -> Any:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(content))
    return booster


def _sklearn(content: bytes) -> Any:
    import skops.io

    strange = [name for name in skops.io.get_untrusted_types(data=content) if not name.startswith("sklearn.")]
    if strange:
        raise ModelFileError(f"the model file holds {', '.join(strange)}, which no algorithm of ours writes")
    return skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))


def _class_of(algorithm: str) -> Any:
    if algorithm == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier
    from sklearn import ensemble, linear_model, tree

    return {
        "logistic_regression": linear_model.LogisticRegression,
        "decision_tree": tree.DecisionTreeClassifier,
        "random_forest": ensemble.RandomForestClassifier,
        "gradient_boosting": ensemble.HistGradientBoostingClassifier,
    }[algorithm]
