"""The algorithms by name: fitting, scoring, and files that cannot run code when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.training.calibration import Calibration, from_dict
from mdlc_assets.training.checkpoints import Checkpoints
from mdlc_assets.training.digests import content_digest
from mdlc_assets.training.equivalents import in_process
from mdlc_assets.training.estimators import (
    Recipe,
    fit_estimator,
    is_booster,
    make_estimator,
    needs_labels,
    scores_of,
)

_BOOSTER, _SKOPS, _ABOUT = "model.ubj", "model.skops", "model.json"
_SUMS = "model.sha256"


class TrainingDataError(ValueError):
    """Rows that a model cannot learn from."""


class ModelFileError(ValueError):
    """A model file that cannot be read, or that is not what it says."""


class FeatureError(ValueError):
    """Rows to score whose features are not those of the model."""


@dataclass(frozen=True)
class FittedModel:
    """A model that gives each row a score from 0 to 1, or foretells a number. `features` are its columns, in order."""

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
        scores = scores_of(self.estimator, values)
        return self.calibration.apply(scores) if self.calibration else scores

    def files(self) -> dict[str, bytes]:
        """The model's files by name, with a list of their SHA-256 as `sha256sum` writes it."""
        about = {
            "algorithm": self.algorithm,
            "features": self.features,
            "mean": None if self.mean is None else self.mean.tolist(),
            "scale": None if self.scale is None else self.scale.tolist(),
            "calibration": self.calibration.as_dict() if self.calibration else None,
        }
        found = {_ABOUT: json.dumps(about, indent=1).encode()}
        if is_booster(self.estimator):
            found[_BOOSTER] = bytes(self.estimator.save_raw("ubj"))
        else:
            import skops.io

            found[_SKOPS] = skops.io.dumps(self.estimator)
        sums = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in found.items())
        return {**found, _SUMS: "".join(sums).encode()}

    def digest(self) -> str:
        """SHA-256 in hex of what the model is; skops files themselves carry times and addresses."""
        files = self.files()
        total = hashlib.sha256(files[_ABOUT])
        if is_booster(self.estimator):
            total.update(files[_BOOSTER])
        else:
            total.update(content_digest(self.estimator).encode())
        return total.hexdigest()


def fit(
    recipe: Recipe, rows: pl.DataFrame, features: list[str], label: str, checkpoints: Checkpoints | None = None
) -> FittedModel:
    """Fit the declared algorithm. The same rows and seed give a model with the same digest.

    Raises `TrainingDataError` for rows with one class only, or values that are missing or infinite.
    With `checkpoints`, XGBoost goes on from the newest one and may raise `TrainingStoppedError`.
    """
    name, recipe = recipe.algorithm, in_process(recipe, features)
    target = _target(rows, label) if needs_labels(recipe.algorithm) else np.zeros(len(rows))
    values = rows.select(features).to_numpy()
    if not np.isfinite(values).all():
        column = features[int(np.argmin(np.isfinite(values).all(axis=0)))]
        raise TrainingDataError(f"feature {column} is missing or infinite in some rows. Mend: rebuild features.")
    mean = scale = None
    if recipe.standardise:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(values)
        mean, scale = scaler.mean_, scaler.scale_
        values = (values - mean) / scale
    if recipe.algorithm.startswith("xgboost") and checkpoints is not None:
        estimator = checkpoints.fit(make_estimator(recipe), values, target)
    else:
        estimator = fit_estimator(recipe, values, target)
    return FittedModel(name, features, estimator, mean, scale)


def _target(rows: pl.DataFrame, label: str) -> np.ndarray:
    if label not in rows.columns:
        raise TrainingDataError(f"the training rows have no column {label}. Mend: give the label's name.")
    if rows[label].is_null().any():
        raise TrainingDataError(f"label {label} is missing in some rows. Mend: train on rows whose label is known.")
    target = rows[label].to_numpy()
    if len(np.unique(target)) < 2:
        raise TrainingDataError(
            f"all {len(target)} training rows have the same label. Mend: train on more days, or check labels."
        )
    return target


def load_model(files: Mapping[str, bytes]) -> FittedModel:
    """A model from its files. Raises `ModelFileError`; never runs code from the files."""
    try:
        _check_sums(files)
        about = json.loads(files[_ABOUT])
        boosted = _BOOSTER in files or about["algorithm"].startswith("xgboost")
        estimator = _booster(files[_BOOSTER]) if boosted else _sklearn(files[_SKOPS])
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


def _check_sums(files: Mapping[str, bytes]) -> None:
    """Refuse what is not whole before XGBoost sees it: it ends the process, or reads on, where a file is cut off."""
    for line in files.get(_SUMS, b"").decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ModelFileError(f"the model's file {name} is not what was written. Mend: register it again.")


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
