"""What a single row must satisfy, from the declaration: an expression that holds, and the reason if not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Column


@dataclass(frozen=True)
class RowCheck:
    """One rule for rows. `holds` gives Boolean, null counting as held; `reason` gives text for a bad row."""

    name: str
    column: str | None
    holds: pl.Expr
    reason: pl.Expr


def arrival_checks(lifecycle: LifecycleDeclaration, day: date, *, all_readable: bool = False) -> list[RowCheck]:
    """The checks of a raw row of `day`, in the order in which their names stand as a row's first rule.

    `all_readable` leaves out those that look at `_unreadable`, for a day where it is null throughout.
    """
    columns = lifecycle.dataset.columns
    checks = [check for name, column in columns.items() for check in _there(name, column, all_readable)]
    return [*checks, *value_checks(lifecycle, day)]


def value_checks(lifecycle: LifecycleDeclaration, day: date) -> list[RowCheck]:
    """The checks that need the declared columns alone, so they also hold for what is stored."""
    columns = lifecycle.dataset.columns
    checks = [check for name, column in columns.items() for check in _in_bounds(name, column)]
    checks.append(_in_day(lifecycle.dataset.time, day))
    for rule in lifecycle.quality.rows:
        if rule.severity == "warn":  # Its rows stay; the day's report counts them.
            continue
        reason = pl.lit(f"{rule.reason} (rule {rule.name}: {rule.holds})")
        checks.append(RowCheck(rule.name, None, pl.sql_expr(rule.holds), reason))
    return checks


def unique_checks(lifecycle: LifecycleDeclaration) -> list[RowCheck]:
    """No value twice within a day; the first row in file order is kept."""
    return [
        RowCheck(
            f"{name}_unique",
            name,
            pl.col(name).is_null() | pl.col(name).is_first_distinct(),
            pl.format("{} {} is there more than once on this day", pl.lit(name), pl.col(name).cast(pl.String)),
        )
        for name in unique_columns(lifecycle)
    ]


def unique_columns(lifecycle: LifecycleDeclaration) -> list[str]:
    """The id, and each column declared unique."""
    columns = lifecycle.dataset.columns
    return [name for name, column in columns.items() if column.unique or name == lifecycle.dataset.id]


def _there(name: str, column: Column, all_readable: bool) -> Iterator[RowCheck]:
    present = pl.col(name).is_not_null()
    if not all_readable:
        text = pl.col("_unreadable").str.json_path_match(f"$['{name}']")
        kind = "an integer" if column.type == "integer" else f"a {column.type}"
        reason = pl.format("{} '{}' cannot be read as {}", pl.lit(name), text, pl.lit(kind))
        yield RowCheck(f"{name}_readable", name, text.is_null(), reason)
        present = present | text.is_not_null()
    if not column.nullable:
        if column.optional:
            # A source that lacks the column altogether is not at fault.
            present = present | (~present).all().over("_source_file")
        yield RowCheck(f"{name}_present", name, present, pl.lit(f"{name} is missing"))


def _in_bounds(name: str, column: Column) -> Iterator[RowCheck]:
    value = pl.col(name)
    said = value.cast(pl.String)
    if column.min is not None:
        reason = pl.format("{} {} is below {}", pl.lit(name), said, pl.lit(number_text(column.min)))
        yield RowCheck(f"{name}_min", name, value >= column.min, reason)
    if column.max is not None:
        reason = pl.format("{} {} is above {}", pl.lit(name), said, pl.lit(number_text(column.max)))
        yield RowCheck(f"{name}_max", name, value <= column.max, reason)
    if column.allowed is not None:
        among = ", ".join(map(str, column.allowed))
        reason = pl.format("{} '{}' is not one of {}", pl.lit(name), said, pl.lit(among))
        yield RowCheck(f"{name}_allowed", name, value.is_in(column.allowed), reason)
    if column.decimals is not None and column.type == "float":
        # Decimal fractions are not exact in binary: allow for the distance between neighbouring doubles.
        slack = 10.0**-column.decimals / 1_000 + 1e-15 * value.abs()
        reason = pl.format("{} {} has more than {} decimals", pl.lit(name), said, pl.lit(column.decimals))
        yield RowCheck(f"{name}_decimals", name, (value - value.round(column.decimals)).abs() <= slack, reason)


def _in_day(name: str, day: date) -> RowCheck:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    holds = pl.col(name).is_between(start, start + timedelta(days=1), closed="left")
    said = pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S")
    reason = pl.format("{} {} UTC is not on {}", pl.lit(name), said, pl.lit(day.isoformat()))
    return RowCheck(f"{name}_in_day", name, holds, reason)


def number_text(value: float) -> str:
    """A number as people write it: 0 rather than 0.0."""
    return str(int(value)) if float(value).is_integer() else str(value)
