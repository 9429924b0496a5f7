"""Features on Spark beside the bulk engine: the same days of the same lake, files read and written by both.

    python -m benchmarks.spark ../shared/payments

Spark has two cores (`local[2]`) and has been started and used once before, as a cluster has. The tables must be equal.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.features import handbook
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.features.engines import compute_features
from mdlc_assets.features.spark import write_features
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.spark_session import spark_session

_ROUNDS = 3


def main(source: Path) -> None:
    lifecycle = load_lifecycle(next(path for path in lifecycle_files() if "payments" in str(path))).declaration
    days = lifecycle.days(date(2018, 4, 1), date(2018, 8, 31))
    with tempfile.TemporaryDirectory() as folder:
        bulk, spark = Lake(root=f"{folder}/bulk"), Lake(root=f"{folder}/spark")
        _lay(lifecycle, source, [bulk, spark])
        began = time.perf_counter()
        with spark_session("local[2]") as session:
            started = time.perf_counter() - began
            write_features(session, lifecycle, spark.root, days)
            _in_bulk(lifecycle, bulk, days)
            taken: dict[str, list[float]] = {"bulk": [], "spark": []}
            for _ in range(_ROUNDS):
                began = time.perf_counter()
                _in_bulk(lifecycle, bulk, days)
                taken["bulk"].append(time.perf_counter() - began)
                began = time.perf_counter()
                rows = write_features(session, lifecycle, spark.root, days)
                taken["spark"].append(time.perf_counter() - began)
        one, other = bulk.table(lifecycle.name, "features"), spark.table(lifecycle.name, "features")
        assert all(one.read_day(day).equals(other.read_day(day)) for day in days)
        assert one.digest(days) == other.digest(days), "the same bytes"
    ours, theirs = (statistics.median(taken[name]) for name in ("bulk", "spark"))
    print(
        f"| bulk, {len(days)} days, {sum(rows.values()):,} rows, read from and written to the lake | {ours:.1f} s | |"
    )
    print(f"| spark on local[2], the same, equal to the last byte | {theirs:.1f} s | {theirs / ours:.1f}x bulk |")
    print(f"| start of the Spark session | {started:.1f} s | |")


def _lay(lifecycle: LifecycleDeclaration, source: Path, lakes: Sequence[Lake]) -> None:
    events, labels = handbook(source)
    both = events.join(labels, on="transaction_id").sort("event_time", "transaction_id")
    for (day,), frame in both.group_by(pl.col("event_time").dt.date(), maintain_order=True):
        for lake in lakes:
            lake.table(lifecycle.name, "validated").write_day(day, frame.select(events.columns))  # type: ignore[arg-type]
            lake.table(lifecycle.name, "labels").write_day(day, frame.select(labels.columns))  # type: ignore[arg-type]


def _in_bulk(lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date]) -> None:
    for found, _ in compute_features(lifecycle, lake, days, "bulk"):
        for day, table in found.items():
            lake.table(lifecycle.name, "features").write_day(day, table)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
