"""Splits a day's rows into good ones and those that go to quarantine, each with rule and reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pandera.polars as pa
import polars as pl

from mdlc_assets.declaration.dataset import Dataset
from mdlc_assets.declaration.quality import Quality
from mdlc_assets.quality.schema import day_schema

_INDEX = "_row"


@dataclass(frozen=True)
class Split:
    """`good`: the declared columns, sorted by time and id. `bad`: with source, rule and reason."""

    good: pl.DataFrame
    bad: pl.DataFrame


def split_rows(dataset: Dataset, quality: Quality, day: date, raw: pl.DataFrame) -> Split:
    """Judge each row of `raw`: good and bad rows together are all rows."""
    rows = raw.with_row_index(_INDEX)
    absent = absent_columns(dataset, raw)
    faults = [_unreadable(rows), _repeated(rows, dataset.id)]
    judged = rows.join(pl.concat(faults), on=_INDEX, how="anti")
    faults.append(_broken(judged, dataset, quality, day, absent))
    said = (
        pl.concat(faults)
        .group_by(_INDEX, maintain_order=True)
        .agg(pl.col("rule").first(), pl.col("reason").str.join("; "))
    )
    good = rows.join(said, on=_INDEX, how="anti").select(list(dataset.columns))
    bad = rows.join(said, on=_INDEX, how="inner", maintain_order="left").drop(_INDEX, "_unreadable")
    return Split(good.sort(dataset.time, dataset.id), bad)


def absent_columns(dataset: Dataset, rows: pl.DataFrame) -> list[str]:
    """The optional columns of which the day has no value at all."""
    return [
        name for name, column in dataset.columns.items() if column.optional and rows[name].null_count() == rows.height
    ]


def schema_failures(dataset: Dataset, quality: Quality, day: date, rows: pl.DataFrame) -> list[tuple[str, int]]:
    """What the stored rows of a day still break, as (column: reason, rows); empty when all is well."""
    try:
        day_schema(dataset, quality, day, absent_columns(dataset, rows)).validate(rows, lazy=True)
    except pa.errors.SchemaErrors as error:
        counted = error.failure_cases.group_by("column", "check", maintain_order=True).len()
        return [(f"{column or 'row'}: {check.split('|')[-1]}", n) for column, check, n in counted.iter_rows()]
    return []


def _unreadable(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("_unreadable").is_not_null()).select(
        _INDEX, pl.lit("type").alias("rule"), pl.col("_unreadable").alias("reason")
    )


def _repeated(rows: pl.DataFrame, id_column: str) -> pl.DataFrame:
    again = pl.col(id_column).is_not_null() & ~pl.col(id_column).is_first_distinct()
    return rows.filter(again).select(
        _INDEX,
        pl.lit("unique").alias("rule"),
        pl.format("{} {} came before on the same day", pl.lit(id_column), pl.col(id_column)).alias("reason"),
    )


def _broken(rows: pl.DataFrame, dataset: Dataset, quality: Quality, day: date, absent: list[str]) -> pl.DataFrame:
    none = pl.DataFrame(schema={_INDEX: pl.UInt32, "rule": pl.String, "reason": pl.String})
    if rows.is_empty():
        return none
    try:
        day_schema(dataset, quality, day, absent).validate(rows.select(list(dataset.columns)), lazy=True)
        return none
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
    check, column = pl.col("check"), pl.col("column")
    told = check.str.contains("|", literal=True)
    rule = pl.when(told).then(check.str.split("|").list.first()).otherwise(check.replace("not_nullable", "null"))
    text = check.str.split("|").list.last()
    reason = (
        pl.when(check == "not_nullable")
        .then(pl.format("{} is missing", column))
        .when(column.is_null())
        .then(text)
        .otherwise(pl.format("{} {} {}", column, pl.col("failure_case"), text))
    )
    positions = rows.get_column(_INDEX)
    return cases.select(
        positions.gather(cases["index"].cast(pl.UInt32)).alias(_INDEX),
        rule.alias("rule"),
        reason.alias("reason"),
    )
