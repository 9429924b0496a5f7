"""1.4 million rows in 146 days: `batch_predictions`, Parquet in and out, beside bare `inplace_predict`.

python -m benchmarks.batch_scoring
"""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import xgboost

from benchmarks.serving import FEATURES, train
from mdlc_assets.deployment.predictions import score_days
from mdlc_assets.deployment.scoring import in_one_thread
from mdlc_assets.resources.lake import Lake
from mdlc_assets.training.algorithms import FittedModel

DAYS = [date(2018, 4, 1) + timedelta(days=i) for i in range(146)]
ROWS = 9_600
ROUNDS = 5
KEPT = ["transaction_id", "event_time", "customer_id"]


def write_features(lake: Lake) -> np.ndarray:
    """Fill `features`; returns all its values as one array."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=(len(DAYS) * ROWS, len(FEATURES)))
    for number, day in enumerate(DAYS):
        began = datetime(day.year, day.month, day.day, tzinfo=UTC)
        frame = pl.DataFrame(
            {
                "transaction_id": pl.Series(range(number * ROWS, (number + 1) * ROWS), dtype=pl.Int64),
                "event_time": pl.Series([began] * ROWS, dtype=pl.Datetime("us", "UTC")),
                "customer_id": pl.Series(generator.integers(0, 5000, ROWS), dtype=pl.Int64),
                **dict(zip(FEATURES, values[number * ROWS : (number + 1) * ROWS].T, strict=True)),
            }
        )
        lake.table("benchmark", "features").write_day(day, frame)
    return values


def main() -> None:
    booster: xgboost.Booster = train()
    booster.feature_names = None
    model = FittedModel("xgboost", FEATURES, booster)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(root=str(Path(folder)))
        values = write_features(lake)
        features, table = lake.table("benchmark", "features"), lake.table("benchmark", "batch_predictions")
        single = in_one_thread(model)
        bare, whole = [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            booster.inplace_predict(values)
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            for _ in score_days(DAYS, features.read_day, table.write_day, single, 1, KEPT):
                pass
            whole.append(time.perf_counter() - began)
    rows = len(values)
    print("| 1.4 million rows | s | rows/s |\n|---|---|---|")
    for name, seconds in (("inplace_predict, one array", bare), ("read, score and write 146 days", whole)):
        middle = statistics.median(seconds)
        print(f"| {name} | {middle:.2f} | {rows / middle:,.0f} |")
    ratios = [one / other for one, other in zip(bare, whole, strict=True)]
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\nOf the speed of the bare call, round by round: {shown}; median {statistics.median(ratios):.2f}.")


if __name__ == "__main__":
    main()
