"""XGBoost trained through the platform beside the bare library, on the same frame with the same settings.

    python -m benchmarks.training [rows]

Both begin with the training set as the lake gives it (a Polars frame) and end with a booster; they take turns.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import polars as pl
import xgboost

from benchmarks.serving import FEATURES
from mdlc_assets.declaration.model import Gate, Model, Windows
from mdlc_assets.training.algorithms import fit

ROWS = 200_000
ROUNDS = 5
SETTINGS = {"n_estimators": 200, "max_depth": 5, "learning_rate": 0.05}


def frame(rows: int) -> pl.DataFrame:
    """Fifteen features and a label that follows from two of them."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(rows, len(FEATURES)))
    label = values[:, 0] * values[:, 1] + generator.normal(size=rows) > 1
    return pl.DataFrame(values, schema=FEATURES).with_columns(pl.Series("label", label).cast(pl.Int8))


def main(rows: int = ROWS) -> None:
    data = frame(rows)
    model = Model(
        algorithm="xgboost",
        hyperparameters=SETTINGS,
        windows=Windows(train_days=1, gap_days=0, test_days=1),
        entity="customer_id",
        gate=Gate(floors={}),
    )
    bare, platform = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        one = xgboost.XGBClassifier(**SETTINGS, random_state=model.seed)
        one.fit(data.select(FEATURES).to_numpy(), data["label"].to_numpy())
        bare.append(time.perf_counter() - began)
        began = time.perf_counter()
        other = fit(model, data, FEATURES, "label")
        platform.append(time.perf_counter() - began)
    probe = data.select(FEATURES).to_numpy()[:1000]
    assert np.array_equal(one.predict_proba(probe)[:, 1], other.score_array(probe).astype(np.float32))
    ratios = [ours / theirs for ours, theirs in zip(platform, bare, strict=True)]
    print(f"| {rows:,} rows, 200 trees | s |\n|---|---|")
    print(f"| bare XGBClassifier | {statistics.median(bare):.2f} |")
    print(f"| through the platform | {statistics.median(platform):.2f} |")
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\nTime against the bare library, round by round: {shown}; median {statistics.median(ratios):.2f}.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
