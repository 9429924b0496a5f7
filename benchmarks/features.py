"""Features: in bulk and incrementally, against peers in the same run.

    python -m benchmarks.features ../shared/payments

Prints the table of benchmarks/README.md. In bulk all have their columns in memory, the labels beside the events for
the peers, and give the same table; the incremental day reads and writes its files.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.features.days import Days
from mdlc_assets.features.engines import compute_features
from mdlc_assets.features.events import EventFeatures
from mdlc_assets.features.table import feature_table
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.resources.lake import Lake

_ROUNDS, _MANY = 5, 15
_WINDOWS = (1, 7, 30)
_DELAY = 7


def main(source: Path) -> None:
    lifecycle = load_lifecycle(next(path for path in lifecycle_files() if "payments" in str(path))).declaration
    events, labels = handbook(source)
    days = lifecycle.days(date(2018, 4, 1), date(2018, 8, 31))
    both = events.join(labels, on="transaction_id", maintain_order="left")

    found = feature_table(lifecycle, events, labels, days[0], days[-1])
    names = lifecycle.features.names()
    for name, table in (("Polars", _polars(both)), ("DuckDB", _duckdb(both)), ("pandas", _pandas(both))):
        _agree(name, found.select(names), table)
    ours = median(lambda: feature_table(lifecycle, events, labels, days[0], days[-1]))
    say("bulk, 15 features, 153 days", ours, f"{found.height / ours / 1e6:.1f} million rows/s")
    for name, work in (
        ("plain Polars rolling", lambda: _polars(both)),
        ("DuckDB windows", lambda: _duckdb(both)),
        ("pandas groupby-rolling", lambda: _pandas(both)),
    ):
        taken = median(work)
        say(name, taken, f"{taken / ours:.1f}x ours")
    _incremental(lifecycle, events, labels)
    _by_window(lifecycle, events, labels)
    _by_event(lifecycle, events, labels)


def _lake(lifecycle: LifecycleDeclaration, folder: str, events: pl.DataFrame, labels: pl.DataFrame) -> Lake:
    """A lake of validated days with the states of all of them, and no labels: those come as they become known."""
    lake = Lake(root=folder)
    for day, frame in _by_day(events):
        lake.table(lifecycle.name, "validated").write_day(day, frame)
    _label(lifecycle, lake, events, labels, date(2018, 8, 31))
    source = Days(lifecycle, lake)
    for day, state in source.make_states([date(2018, 8, 31)]):
        source.states.write_day(day, state)
    _label(lifecycle, lake, events, labels, date.min)
    return lake


def _label(
    lifecycle: LifecycleDeclaration, lake: Lake, events: pl.DataFrame, labels: pl.DataFrame, as_of: date
) -> None:
    """The labels that the lake has as of a day."""
    table = lake.table(lifecycle.name, "labels")
    for day in table.days():
        table.delete_day(day)
    for day, frame in _by_day(events):
        if (as_of - day).days >= _DELAY:
            table.write_day(day, labels.join(frame.select("transaction_id"), on="transaction_id", how="semi"))


def _by_day(events: pl.DataFrame) -> list[tuple[date, pl.DataFrame]]:
    parts = events.group_by(pl.col("event_time").dt.date(), maintain_order=True)
    return [(day, frame) for (day,), frame in parts]  # type: ignore[misc]


def _one_day(lifecycle: LifecycleDeclaration, lake: Lake, day: date) -> None:
    ((found, engine),) = compute_features(lifecycle, lake, [day])
    assert engine == "incremental"
    lake.table(lifecycle.name, "features").write_day(day, found[day])


def _incremental(lifecycle: LifecycleDeclaration, events: pl.DataFrame, labels: pl.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = _lake(lifecycle, folder, events, labels)
        ours = {}
        for history in (45, 90, 150):
            day = date(2018, 4, 1) + timedelta(days=history)
            _label(lifecycle, lake, events, labels, day)
            ours[history] = median(lambda day=day: _one_day(lifecycle, lake, day), _MANY)
            say(
                f"incremental day after {history} days of history",
                ours[history],
                f"{ours[history] / ours[45]:.2f}x of 45",
            )
        needed = [day - timedelta(days=back) for back in range(37, -1, -1)]
        validated, known = (lake.table(lifecycle.name, name) for name in ("validated", "labels"))

        def from_scratch() -> None:
            """As a careful person would do it without state: read the days that the windows need, keep one."""
            read = validated.read(needed)
            read = read.join(
                known.read(needed, skip_absent=True), on="transaction_id", how="left", maintain_order="left"
            )
            table = _polars(read).filter(pl.col("event_time").dt.date() == day)
            lake.table(lifecycle.name, "peer").write_day(day, table)

        taken = median(from_scratch)
        say("plain Polars from scratch over 38 days, files read and written", taken, f"{taken / ours[150]:.1f}x ours")
        read = validated.read(needed).join(labels, on="transaction_id", how="left", maintain_order="left")
        taken = median(lambda: _polars(read))
        say("the same with everything in memory already", taken, f"{taken / ours[150]:.1f}x ours")


def _by_window(lifecycle: LifecycleDeclaration, events: pl.DataFrame, labels: pl.DataFrame) -> None:
    """The same day with one window for each family, of 7, 30 and 90 days, in turns."""
    day = date(2018, 8, 29)
    with ExitStack() as stack:
        work: dict[int, Callable[[], None]] = {}
        for width in (7, 30, 90):
            declared = lifecycle.features.model_dump(mode="json")
            for family in declared["windows"]:
                family["windows"] = [f"{width}d"]
            other = lifecycle.model_copy(update={"features": Features.model_validate(declared)})
            lake = _lake(other, stack.enter_context(tempfile.TemporaryDirectory()), events, labels)
            _label(other, lake, events, labels, day)
            work[width] = partial(_one_day, other, lake, day)
        taken: dict[int, list[float]] = {width: [] for width in work}
        for _ in range(_MANY + 1):
            for width, one_day in work.items():
                began = time.perf_counter()
                one_day()
                taken[width].append(time.perf_counter() - began)
    medians = {width: statistics.median(times[1:]) for width, times in taken.items()}
    for width, middle in medians.items():
        say(f"incremental day, {width}-day windows alone", middle, f"{middle / medians[7]:.2f}x of 7")


def _by_event(lifecycle: LifecycleDeclaration, events: pl.DataFrame, labels: pl.DataFrame) -> None:
    """A day's events one by one in memory, with the state of 37 days before."""
    day = date(2018, 8, 29)
    at = pl.col("event_time").dt.date()
    known = labels.filter(pl.col("known_at").dt.date() <= day)
    past = events.filter(at < day).join(known, on="transaction_id", how="left", maintain_order="left").drop("known_at")
    today = events.filter(at == day)
    expected = feature_table(lifecycle, events, labels, day, day)

    engine = EventFeatures(lifecycle)
    engine.fill(past.filter(at >= day - timedelta(days=38)))
    began = time.perf_counter()
    found = engine.features(today)
    taken = time.perf_counter() - began
    _agree("single events", expected.select(lifecycle.features.names()), found.select(lifecycle.features.names()))
    say(f"single events, {today.height} of a day", taken, f"{today.height / taken:,.0f} events/s on one core")


def say(name: str, seconds: float, said: str) -> None:
    """A row of the table."""
    print(f"| {name} | {seconds * 1000:,.0f} ms | {said} |", flush=True)


def _agree(name: str, ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Raises `AssertionError` unless the peer gives the same features, but for ties among one customer's payments."""
    apart = sum(
        int(((ours[column] - theirs[column]).abs() > 1e-6).sum() + (theirs.height != ours.height))
        for column in ours.columns
    )
    assert apart <= 0.0001 * ours.height * ours.width, f"{name} differs in {apart} values"


def median(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Median seconds of some rounds, after one that is not counted."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def handbook(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and labels of the handbook's files, in order of time and id as the lake has them."""
    frame = pl.concat(pl.read_parquet(path) for path in sorted(source.glob("*.parquet")))
    instant = pl.col("TX_DATETIME").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    names = {"TRANSACTION_ID": "transaction_id", "CUSTOMER_ID": "customer_id", "TERMINAL_ID": "terminal_id"}
    frame = frame.with_columns(instant.alias("event_time")).rename({**names, "TX_AMOUNT": "amount"})
    frame = frame.sort("event_time", "transaction_id").rechunk()
    known = (pl.col("event_time") + timedelta(days=_DELAY)).alias("known_at")
    events = frame.select("transaction_id", "event_time", "customer_id", "terminal_id", "amount")
    return events, frame.select("transaction_id", pl.col("TX_FRAUD").cast(pl.Int8).alias("is_fraud"), known)


def _polars(both: pl.DataFrame) -> pl.DataFrame:
    def rolled(value: pl.Expr, how: str, entity: str, window: str) -> pl.Expr:
        return getattr(value, f"rolling_{how}_by")("event_time", window_size=window).over(entity)

    columns = []
    for window in _WINDOWS:
        columns += [
            rolled(pl.col("one"), "sum", "customer_id", f"{window}d").alias(f"customer_payments_{window}d"),
            rolled(pl.col("amount"), "mean", "customer_id", f"{window}d").alias(f"customer_mean_amount_{window}d"),
        ]
    late = {}
    for window in (0, *_WINDOWS):
        for value in ("one", "is_fraud"):
            name = f"t_{value}_{window}"
            late[name] = rolled(pl.col(value), "sum", "terminal_id", f"{_DELAY + window}d").alias(name)
    table = both.with_columns(pl.lit(1).alias("one"), pl.col("is_fraud").fill_null(0).cast(pl.Int32))
    table = table.with_columns(*columns, *late.values())
    count = {w: pl.col(f"t_one_{w}") - pl.col("t_one_0") for w in _WINDOWS}
    frauds = {w: pl.col(f"t_is_fraud_{w}") - pl.col("t_is_fraud_0") for w in _WINDOWS}
    return table.with_columns(
        *(count[w].alias(f"terminal_payments_{w}d") for w in _WINDOWS),
        *((frauds[w] / count[w]).fill_nan(0).alias(f"terminal_fraud_share_{w}d") for w in _WINDOWS),
        (pl.col("event_time").dt.weekday() >= 6).cast(pl.Float64).alias("is_weekend"),
        (pl.col("event_time").dt.hour() <= 6).cast(pl.Float64).alias("is_night"),
    )


def _duckdb(payments: pl.DataFrame) -> pl.DataFrame:
    columns = []
    for window in _WINDOWS:
        # The instants are whole seconds, and RANGE takes in both of its ends.
        frame = f"RANGE BETWEEN INTERVAL {window} DAY - INTERVAL 1 SECOND PRECEDING AND CURRENT ROW"
        over = f"OVER (PARTITION BY customer_id ORDER BY event_time {frame})"
        columns += [
            f"count(*) {over} AS customer_payments_{window}d",
            f"avg(amount) {over} AS customer_mean_amount_{window}d",
        ]
        begin = f"INTERVAL {window + _DELAY} DAY - INTERVAL 1 SECOND PRECEDING"
        frame = f"RANGE BETWEEN {begin} AND INTERVAL {_DELAY} DAY PRECEDING"
        over = f"OVER (PARTITION BY terminal_id ORDER BY event_time {frame})"
        columns += [
            f"count(*) {over} AS terminal_payments_{window}d",
            f"coalesce(avg(is_fraud) {over}, 0) AS terminal_fraud_share_{window}d",
        ]
    columns += ["(isodow(event_time) >= 6)::DOUBLE AS is_weekend", "(hour(event_time) <= 6)::DOUBLE AS is_night"]
    # UTC instants without a zone: DuckDB's own zone handling wants an extension.
    payments = payments.with_columns(pl.col("event_time").dt.replace_time_zone(None))
    chosen = ", ".join(columns)
    return duckdb.sql(f"SELECT transaction_id, amount, {chosen} FROM payments ORDER BY event_time, transaction_id").pl()


def _pandas(both: pl.DataFrame) -> pl.DataFrame:
    table = both.to_pandas()
    for entity in ("customer_id", "terminal_id"):
        # Groups come one after the other, each in order of time: the same order as this sorting gives.
        ordered = table.sort_values([entity, "event_time", "transaction_id"])
        groups = ordered.set_index("event_time").groupby(entity)
        if entity == "customer_id":
            for window in _WINDOWS:
                rolling = groups["amount"].rolling(f"{window}D")
                ordered[f"customer_payments_{window}d"] = rolling.count().to_numpy()
                ordered[f"customer_mean_amount_{window}d"] = rolling.mean().to_numpy()
        else:
            sums = {w: groups["is_fraud"].rolling(f"{_DELAY + w}D").sum().to_numpy() for w in (0, *_WINDOWS)}
            counts = {w: groups["is_fraud"].rolling(f"{_DELAY + w}D").count().to_numpy() for w in (0, *_WINDOWS)}
            for w in _WINDOWS:
                number = counts[w] - counts[0]
                ordered[f"terminal_payments_{w}d"] = number
                share = (sums[w] - sums[0]) / np.where(number > 0, number, 1)
                ordered[f"terminal_fraud_share_{w}d"] = share
        table = ordered.sort_index()
    table["is_weekend"] = (table["event_time"].dt.day_of_week >= 5).astype(float)
    table["is_night"] = (table["event_time"].dt.hour <= 6).astype(float)
    return pl.from_pandas(table)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
