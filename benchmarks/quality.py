"""How fast rows are validated beside the same rules written by hand in Polars, and how long a large day takes to judge.

    python -m benchmarks.quality ../shared/payments

Rows are those of 146 real days folded into one; one in a hundred breaks a rule. Both sides end with the good rows
sorted by time and id, and with the bad ones, the first rule and all reasons beside them, in file order. Medians of
five, one after the other.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.quality.history import History
from mdlc_assets.quality.metrics import as_mapping, daily_metrics, refused_by_rule
from mdlc_assets.quality.report import DayData, judge_day
from mdlc_assets.quality.row_checks import arrival_checks, unique_checks
from mdlc_assets.quality.rows import part_rows
from mdlc_assets.quality.schemas import complaints, stored_schema

_ROUNDS, _DAYS, _DAY = 5, 146, date(2018, 4, 1)
_LARGE_DAY, _HISTORY_DAYS = 10, 50


def raw_rows(source: Path, days: int, *, bad: float = 0.01) -> pl.DataFrame:
    """Real payments of `days` days, all dated the first, as table `raw` has them; a share of them is bad."""
    start = datetime(_DAY.year, _DAY.month, _DAY.day)
    frames = [pl.read_parquet(source / f"{_DAY + timedelta(days=i)}.parquet") for i in range(days)]
    rows = pl.concat(frames).with_row_index("_row")
    time_of_day = pl.col("TX_DATETIME").cast(pl.Datetime("us")) - pl.col("TX_DATETIME").dt.truncate("1d").cast(
        pl.Datetime("us")
    )
    wrong = pl.col("_row") % 400 < int(400 * bad)
    return rows.select(
        transaction_id=pl.col("TRANSACTION_ID"),
        event_time=(start + time_of_day).dt.replace_time_zone("UTC"),
        customer_id=pl.when(wrong & (pl.col("_row") % 400 == 1)).then(-1).otherwise("CUSTOMER_ID"),
        terminal_id=pl.when(wrong & (pl.col("_row") % 400 == 2)).then(None).otherwise("TERMINAL_ID"),
        amount=pl.when(wrong & (pl.col("_row") % 400 == 3)).then(-1.5).otherwise("TX_AMOUNT"),
        account_age_days=pl.col("CUSTOMER_ID") % 2_000,
        _source_file=pl.lit("a"),
        _source_row=pl.col("_row").cast(pl.Int64) + 1,
        _unreadable=pl.lit(None, pl.String),
    )


def by_hand(raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The shipped rules as a person would write them for these columns, without a library of checks."""
    amount, instant = pl.col("amount"), pl.col("event_time")
    start = pl.lit(datetime(_DAY.year, _DAY.month, _DAY.day)).dt.replace_time_zone("UTC")
    rules = {f"{name}_present": pl.col(name).is_null() for name in raw.columns[:5]}
    rules["account_age_days_present"] = pl.col("account_age_days").is_null() & pl.col(
        "account_age_days"
    ).is_not_null().any().over("_source_file")
    rules |= {
        f"{name}_min": (pl.col(name) < 0).fill_null(False)
        for name in ("transaction_id", "customer_id", "terminal_id", "amount", "account_age_days")
    }
    rules["amount_decimals"] = ((amount - amount.round(2)).abs() > 1e-5 + 1e-15 * amount.abs()).fill_null(False)
    rules["event_time_in_day"] = ((instant < start) | (instant >= start + timedelta(days=1))).fill_null(False)
    marked = raw.with_columns(rule.alias(f"__{name}") for name, rule in rules.items())
    wrong = pl.any_horizontal(f"__{name}" for name in rules)
    bad = (
        marked.filter(wrong)
        .with_columns(
            rule=pl.coalesce(pl.when(pl.col(f"__{name}")).then(pl.lit(name)) for name in rules),
            reason=pl.concat_str(
                (pl.when(pl.col(f"__{name}")).then(pl.lit(f"{name} is broken")) for name in rules),
                separator="; ",
                ignore_nulls=True,
            ),
        )
        .select(*raw.columns, "rule", "reason")
    )
    good = marked.filter(~wrong).select(raw.columns)
    again = good["transaction_id"].is_first_distinct()
    twice = good.filter(~again).with_columns(rule=pl.lit("transaction_id_unique"), reason=pl.lit("it came twice"))
    quarantine = pl.concat([bad, twice]).sort("_source_file", "_source_row").drop("_unreadable")
    return good.filter(again).select(raw.columns[:6]).sort("event_time", "transaction_id"), quarantine


def paired(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of each, run in turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for call, times in zip((first, second), taken, strict=True):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return statistics.median(taken[0]), statistics.median(taken[1])


def large_day(lifecycle: LifecycleDeclaration, source: Path) -> tuple[int, float]:
    """Rows of a day of ten times the shared volume, and seconds to part, measure and judge it beside 50 others."""
    raw = raw_rows(source, _LARGE_DAY, bad=0)
    history, validated = History(), None
    for i in range(_HISTORY_DAYS + 1):
        day = _DAY + timedelta(days=i)
        shift = pl.duration(days=i)
        rows = raw.with_columns(
            pl.col("transaction_id") + i * 10_000_000,
            pl.col("event_time") + shift,
            pl.col("account_age_days") + i,
            amount=(pl.col("amount") * 100 + i).round(0) / 100,
        )
        began = time.perf_counter()
        parted = part_rows(lifecycle, day, rows)
        refused = refused_by_rule(parted.quarantine)
        metrics = as_mapping(daily_metrics(lifecycle, parted.validated, refused))
        document = judge_day(lifecycle, day, DayData(parted.validated, refused, metrics), history)
        against = complaints(stored_schema(lifecycle, day), parted.validated)
        taken = time.perf_counter() - began
        broken = [rule["text"] for rule in document["rules"] if not rule["passed"]]
        assert document["passed"] and not against, broken
        validated = parted.validated
    return validated.height if validated is not None else 0, taken


def main(source: Path) -> None:
    lifecycle = read_declaration(next(path for path in lifecycle_files() if "payments" in str(path)))
    checks = [*arrival_checks(lifecycle, _DAY, all_readable=True), *unique_checks(lifecycle)]
    print("| rows | checks | ours | by hand | ratio |\n|---|---|---|---|---|")
    for bad in (0.0, 0.01):
        raw = raw_rows(source, _DAYS, bad=bad)
        parted, (good, quarantine) = part_rows(lifecycle, _DAY, raw), by_hand(raw)
        assert parted.validated.equals(good)
        assert parted.quarantine.drop("reason").equals(quarantine.drop("reason"))
        ours, hand = paired(lambda raw=raw: part_rows(lifecycle, _DAY, raw), lambda raw=raw: by_hand(raw))  # type: ignore[misc]
        print(
            f"| {raw.height:,}, {parted.quarantined_share:.1%} bad | {len(checks)} | {ours:.2f} s | {hand:.2f} s "
            f"| {ours / hand:.2f} |"
        )
    rows, taken = large_day(lifecycle, source)
    print(f"\nAll checks of a day of {rows:,} rows beside {_HISTORY_DAYS} days before: {taken:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
