"""1.4 million rows in 146 days: `batch_predictions`, Parquet in and out, beside bare `inplace_predict`.

The bare call is timed twice: on one array that is there already, and in a plain loop that reads and writes the same
Parquet files with polars, which does what the platform does.

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
        plain = Path(folder) / "plain"
        plain.mkdir()
        bare, loop, whole = [], [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            booster.inplace_predict(values)
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            for day in DAYS:
                frame = pl.read_parquet(f"{folder}/benchmark/features/date={day}/part-0.parquet")
                scores = booster.inplace_predict(frame.select(FEATURES).to_numpy())
                frame.select(KEPT).with_columns(score=scores).write_parquet(plain / f"{day}.parquet")
            loop.append(time.perf_counter() - began)
            began = time.perf_counter()
            for _ in score_days(DAYS, features.read_day, table.write_day, single, 1, KEPT):
                pass
            whole.append(time.perf_counter() - began)
    rows = len(values)
    print("| 1.4 million rows | s | rows/s |\n|---|---|---|")
    timed = {"inplace_predict, one array": bare, "plain loop: read, inplace_predict, write": loop, "platform": whole}
    for name, seconds in timed.items():
        middle = statistics.median(seconds)
        print(f"| {name} | {middle:.2f} | {rows / middle:,.0f} |")
    print()
    for name, seconds in (("bare call", bare), ("plain loop", loop)):
        ratios = [one / other for one, other in zip(seconds, whole, strict=True)]
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"Of the speed of the {name}, round by round: {shown}; median {statistics.median(ratios):.2f}.")


if __name__ == "__main__":
    main()
