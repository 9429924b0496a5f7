"""Small real models for the tests of stage 6."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xgboost

FEATURES = ("amount", "is_night", "customer_payments_1d", "terminal_fraud_share_7d")


def save_model(folder: Path, seed: int = 0) -> Path:
    """A model folder; another seed gives other scores."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(500, len(FEATURES)))
    labels = rows[:, 0] + generator.normal(size=500) > 0.5
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 3}, xgboost.DMatrix(rows, labels), num_boost_round=20
    )
    folder.mkdir(parents=True)
    booster.save_model(folder / "model.ubj")
    (folder / "features.json").write_text(json.dumps(FEATURES))
    return folder


def corrupt(folder: Path) -> Path:
    """Spoil each model file of a folder."""
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:7] + b"\0spoilt")
    return folder
