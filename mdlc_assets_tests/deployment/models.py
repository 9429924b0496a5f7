"""Small real models for the tests of stage 6."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from mdlc_assets.declaration.model import Gate, Model, Windows
from mdlc_assets.training.algorithms import FittedModel, fit

FEATURES = ("amount", "is_night", "customer_payments_1d", "terminal_fraud_share_7d")
_MODEL = Model(
    algorithm="xgboost",
    hyperparameters={"n_estimators": 20, "max_depth": 3},
    windows=Windows(train_days=1, gap_days=0, test_days=1),
    entity="customer_id",
    gate=Gate(floors={}),
)


def fit_model(seed: int = 0, features: tuple[str, ...] = FEATURES) -> FittedModel:
    """A fitted model; another seed gives other scores."""
    generator = np.random.default_rng(seed)
    rows = pl.DataFrame({name: generator.normal(size=500) for name in features})
    label = pl.Series("label", rows[features[0]].to_numpy() + generator.normal(size=500) > 0.5).cast(pl.Int8)
    return fit(_MODEL, rows.with_columns(label), list(features), "label")


def save_model(folder: Path, seed: int = 0) -> Path:
    """A model folder; another seed gives other scores."""
    folder.mkdir(parents=True)
    for name, content in fit_model(seed).files().items():
        (folder / name).write_bytes(content)
    return folder


def corrupt(folder: Path) -> Path:
    """Spoil the booster of a model folder."""
    (folder / "model.ubj").write_bytes(b"{ spoilt")
    return folder
