"""Features of ten times the data in bulk: ten times the customers, terminals and payments.

    python -m benchmarks.features_tenfold ../shared/payments

Rows a second once and tenfold, in the same run, and the most memory that the process ever held.
"""

from __future__ import annotations

import resource
import sys
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.features import handbook, median, say
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.features.table import feature_table
from mdlc_assets.lifecycle import load_lifecycle

_TIMES = 10


def main(source: Path) -> None:
    lifecycle = load_lifecycle(next(path for path in lifecycle_files() if "payments" in str(path))).declaration
    events, labels = handbook(source)
    once = _rows_a_second(lifecycle, events, labels, "once")
    many = _rows_a_second(lifecycle, *_tenfold(events, labels), f"{_TIMES} times")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| rows a second, {_TIMES} times against once | {many / once:.2f} | peak memory {peak:.1f} GB |", flush=True)


def _rows_a_second(lifecycle: LifecycleDeclaration, events: pl.DataFrame, labels: pl.DataFrame, name: str) -> float:
    days = lifecycle.days(date(2018, 4, 1), date(2018, 8, 31))
    taken = median(lambda: feature_table(lifecycle, events, labels, days[0], days[-1]))
    say(f"bulk, {events.height:,} rows ({name})", taken, f"{events.height / taken / 1e6:.1f} million rows/s")
    return events.height / taken


def _tenfold(events: pl.DataFrame, labels: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ten worlds side by side, each with customers, terminals and payments of its own, in order of time."""
    both = pl.concat([events, labels.drop("transaction_id")], how="horizontal")
    most = {name: int(both[name].max()) + 1 for name in ("transaction_id", "customer_id", "terminal_id")}  # type: ignore[arg-type]
    worlds = [both.with_columns(pl.col(name) + k * count for name, count in most.items()) for k in range(_TIMES)]
    whole = pl.concat(worlds).sort("event_time", "transaction_id")
    return whole.select(events.columns), whole.select(labels.columns)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
