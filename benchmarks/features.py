"""Features: in bulk and incrementally, against peers in the same run.

    python -m benchmarks.features ../shared/payments

Prints the table of benchmarks/README.md. Peers compute the same windows from the same arrays in memory; the
incremental day reads and writes its files.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import lifecycle_files
from mdlc_assets.features.days import Days
from mdlc_assets.features.engines import compute_features
from mdlc_assets.features.table import feature_table
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.resources.lake import Lake

_ROUNDS = 5
_WINDOWS = (1, 7, 30)
_DELAY = 7


def main(source: Path) -> None:
    lifecycle = load_lifecycle(next(path for path in lifecycle_files() if "payments" in str(path))).declaration
    events, labels = _handbook(source)
    days = lifecycle.days(date(2018, 4, 1), date(2018, 8, 31))
    both = events.join(labels, on="transaction_id").sort("event_time", "transaction_id")

    rows: list[tuple[str, float, str]] = []
    ours = _median(lambda: feature_table(lifecycle, events, labels, days[0], days[-1]), warm=True)
    rows.append(("bulk, 15 features, 153 days", ours, ""))
    for name, work, rounds in (
        ("plain Polars rolling", lambda: _polars(both), _ROUNDS),
        ("DuckDB windows", lambda: _duckdb(both), _ROUNDS),
        ("pandas groupby-rolling", lambda: _pandas(both), 1),
    ):
        taken = _median(work, rounds)
        rows.append((name, taken, f"{taken / ours:.1f}x ours"))
    rows += _incremental(lifecycle, events, labels, both)
    for name, seconds, said in rows:
        print(f"| {name} | {seconds * 1000:,.0f} ms | {said} |", flush=True)


def _incremental(
    lifecycle: LifecycleDeclaration, events: pl.DataFrame, labels: pl.DataFrame, both: pl.DataFrame
) -> list[tuple[str, float, str]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(root=folder)
        name = lifecycle.name
        events = events.sort("event_time", "transaction_id")
        for (day,), frame in events.group_by(pl.col("event_time").dt.date(), maintain_order=True):
            lake.table(name, "validated").write_day(day, frame)  # type: ignore[arg-type]
            of_day = labels.join(frame.select("transaction_id"), on="transaction_id", how="semi")
            lake.table(name, "labels").write_day(day, of_day)  # type: ignore[arg-type]
        source = Days(lifecycle, lake)
        for day, state in source.make_states([date(2018, 8, 31)]):
            source.states.write_day(day, state)

        def one_day(declaration: LifecycleDeclaration, day: date) -> None:
            ((found, engine),) = compute_features(declaration, lake, [day])
            assert engine == "incremental"
            lake.table(name, "features").write_day(day, found[day])

        for history in (45, 90, 150):
            day = date(2018, 4, 1) + timedelta(days=history)
            rows.append(
                (
                    f"incremental day after {history} days of history",
                    _median(lambda day=day: one_day(lifecycle, day), warm=True),
                    "",
                )
            )
        last = date(2018, 8, 29)
        ours = _median(lambda: one_day(lifecycle, last), warm=True)
        first = last - timedelta(days=37)
        day = pl.col("event_time").dt.date()
        reached = both.filter(day.is_between(first, last))
        peer = _median(lambda: _polars(reached))
        rows.append(("plain Polars from scratch over 38 days, in memory", peer, f"{peer / ours:.1f}x ours"))
    return rows


def _median(work: Callable[[], object], rounds: int = _ROUNDS, *, warm: bool = False) -> float:
    if warm:
        work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _handbook(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = pl.concat(pl.read_parquet(path) for path in sorted(source.glob("*.parquet")))
    instant = pl.col("TX_DATETIME").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    names = {"TRANSACTION_ID": "transaction_id", "CUSTOMER_ID": "customer_id", "TERMINAL_ID": "terminal_id"}
    frame = frame.with_columns(instant.alias("event_time")).rename({**names, "TX_AMOUNT": "amount"})
    events = frame.select("transaction_id", "event_time", "customer_id", "terminal_id", "amount")
    known = (pl.col("event_time") + timedelta(days=_DELAY)).alias("known_at")
    return events, frame.select("transaction_id", pl.col("TX_FRAUD").cast(pl.Int8).alias("is_fraud"), known)


def _polars(both: pl.DataFrame) -> pl.DataFrame:
    def rolled(value: pl.Expr, how: str, entity: str, window: str) -> pl.Expr:
        return getattr(value, f"rolling_{how}_by")("event_time", window_size=window).over(entity)

    columns = []
    for window in _WINDOWS:
        columns += [
            rolled(pl.col("one"), "sum", "customer_id", f"{window}d").alias(f"n{window}"),
            rolled(pl.col("amount"), "mean", "customer_id", f"{window}d").alias(f"m{window}"),
        ]
    late = {}
    for window in (0, *_WINDOWS):
        for value in ("one", "is_fraud"):
            name = f"t_{value}_{window}"
            late[name] = rolled(pl.col(value), "sum", "terminal_id", f"{_DELAY + window}d").alias(name)
    table = both.with_columns(pl.lit(1).alias("one"), pl.col("is_fraud").cast(pl.Int32))
    table = table.with_columns(*columns, *late.values())
    count = {w: pl.col(f"t_one_{w}") - pl.col("t_one_0") for w in _WINDOWS}
    frauds = {w: pl.col(f"t_is_fraud_{w}") - pl.col("t_is_fraud_0") for w in _WINDOWS}
    return table.with_columns(
        *(count[w].alias(f"tn{w}") for w in _WINDOWS),
        *((frauds[w] / count[w]).fill_nan(0).alias(f"ts{w}") for w in _WINDOWS),
        (pl.col("event_time").dt.weekday() >= 6).alias("weekend"),
        (pl.col("event_time").dt.hour() <= 6).alias("night"),
    )


def _duckdb(payments: pl.DataFrame) -> pl.DataFrame:
    columns = []
    for window in _WINDOWS:
        frame = f"RANGE BETWEEN INTERVAL {window} DAY - INTERVAL 1 SECOND PRECEDING AND CURRENT ROW"
        over = f"OVER (PARTITION BY customer_id ORDER BY event_time {frame})"
        columns += [f"count(*) {over}", f"avg(amount) {over}"]
        begin = f"INTERVAL {window + _DELAY} DAY - INTERVAL 1 SECOND PRECEDING"
        frame = f"RANGE BETWEEN {begin} AND INTERVAL {_DELAY} DAY PRECEDING"
        over = f"OVER (PARTITION BY terminal_id ORDER BY event_time {frame})"
        columns += [f"count(*) {over}", f"coalesce(avg(is_fraud) {over}, 0)"]
    named = ", ".join(f"{column} AS c{i}" for i, column in enumerate(columns))
    return duckdb.sql(f"SELECT transaction_id, {named} FROM payments").pl()


def _pandas(both: pl.DataFrame) -> None:
    table = both.to_pandas().set_index("event_time")
    customers, terminals = table.groupby("customer_id"), table.groupby("terminal_id")
    for window in _WINDOWS:
        customers["amount"].rolling(f"{window}D").count()
        customers["amount"].rolling(f"{window}D").mean()
    for window in (0, *_WINDOWS):
        terminals["is_fraud"].rolling(f"{_DELAY + window}D").count()
        terminals["is_fraud"].rolling(f"{_DELAY + window}D").sum()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
