"""The Pandera schema of a day's rows, made from the declaration."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import pandera.polars as pa
import polars as pl
from pandera.polars import PolarsData

from mdlc_assets.declaration.dataset import Column, Dataset
from mdlc_assets.declaration.quality import Quality
from mdlc_assets.sourcing.mapping import TYPES


def day_schema(dataset: Dataset, quality: Quality, day: date, absent: Collection[str] = ()) -> pa.DataFrameSchema:
    """What every row of the day must satisfy; `absent` are optional columns that the source lacks.

    The text of each check completes a sentence that begins with the column and its value.
    """
    columns = {
        name: pa.Column(
            TYPES[column.type],
            nullable=column.nullable or name in absent,
            unique=column.unique or name == dataset.id,
            checks=[] if name in absent else _value_checks(column),
        )
        for name, column in dataset.columns.items()
    }
    columns[dataset.time].checks.append(_within(day))
    rules = [pa.Check(_holds(rule.holds), name=rule.name, error=f"{rule.name}|{rule.reason}") for rule in quality.rows]
    return pa.DataFrameSchema(columns, checks=rules, strict=True, ordered=True)


def _value_checks(column: Column) -> list[pa.Check]:
    checks = []
    if column.min is not None:
        checks.append(pa.Check.ge(column.min, error=f"min|is below {column.min:g}"))
    if column.max is not None:
        checks.append(pa.Check.le(column.max, error=f"max|is above {column.max:g}"))
    if column.allowed is not None:
        allowed = ", ".join(map(str, column.allowed))
        checks.append(pa.Check.isin(column.allowed, error=f"allowed|is not one of {allowed}"))
    if column.decimals is not None:
        checks.append(
            pa.Check(
                _has_decimals(column.decimals),
                error=f"decimals|has more than {column.decimals} decimals",
            )
        )
    if column.type == "float":
        checks.append(pa.Check(_finite, error="finite|is not a finite number"))
    return checks


def _within(day: date) -> pa.Check:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)

    def inside(data: PolarsData) -> pl.LazyFrame:
        instant = pl.col(data.key)
        return data.lazyframe.select((instant >= begin) & (instant < begin + timedelta(days=1)))

    return pa.Check(inside, error=f"day|lies outside {day} (UTC)")


def _has_decimals(decimals: int):  # type: ignore[no-untyped-def]
    def check(data: PolarsData) -> pl.LazyFrame:
        value = pl.col(data.key)
        # Doubles carry 15 significant digits, so the comparison allows for their rounding.
        return data.lazyframe.select((value - value.round(decimals)).abs() <= value.abs() * 1e-12)

    return check


def _finite(data: PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select(pl.col(data.key).is_finite())


def _holds(expression: str):  # type: ignore[no-untyped-def]
    def check(data: PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.sql_expr(expression).fill_null(False))

    return check
