"""Brings a file's columns to the declared names and types. A cell that cannot be read is kept as text."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from mdlc_assets.declaration.dataset import Column, Dataset, Source
from mdlc_assets.sourcing.files import LandingError

TYPES: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "boolean": pl.Boolean(),
    "string": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
}
_TRUE, _FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")


def find_source(dataset: Dataset, label: str, columns: Iterable[str]) -> Source:
    """Which declared source a file with these columns comes from: our own names first, then the best match."""
    names = set(columns)
    own = Source(columns={name: name for name in dataset.columns if name in names})
    best, hits = own, len(own.columns)
    for source in dataset.sources.values():
        found = sum(theirs in names for theirs in source.columns.values())
        if found > hits:
            best, hits = source, found
    if best is own:
        inline = {label: label} if label in names else {}
        absent = [n for n, c in dataset.columns.items() if c.optional and n not in names]
        return Source(columns={**{n: n for n in dataset.columns if n not in absent}, **inline}, absent=absent)
    return best


def to_declared(frame: pl.DataFrame, file: str, dataset: Dataset, source: Source) -> pl.DataFrame:
    """The declared columns, then `_source_file`, `_source_row` (from 1) and `_unreadable`.

    Raises `LandingError` for a column that is missing, or that nobody declared.
    """
    check_columns(frame, file, dataset, source)
    columns: list[pl.Expr] = []
    unreadable: list[pl.Expr] = []
    for name, column in dataset.columns.items():
        theirs = source.columns.get(name)
        if theirs is None:
            columns.append(pl.lit(None, TYPES[column.type]).alias(name))
            continue
        read = as_type(pl.col(theirs), frame.schema[theirs], column, source.time_zone)
        columns.append(read.alias(name))
        if frame.schema[theirs] != TYPES[column.type]:
            text = pl.col(theirs).cast(pl.String, strict=False)
            wrong = pl.format("{}: '{}' is not a {}", pl.lit(name), text.str.head(40), pl.lit(column.type))
            unreadable.append(pl.when(read.is_null() & pl.col(theirs).is_not_null()).then(wrong))
    said = pl.concat_str(unreadable, separator="; ", ignore_nulls=True) if unreadable else pl.lit("")
    return frame.select(
        *columns,
        pl.lit(file).alias("_source_file"),
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("_source_row"),
        pl.when(said != "").then(said).cast(pl.String).alias("_unreadable"),
    )


def check_columns(frame: pl.DataFrame, file: str, dataset: Dataset, source: Source) -> None:
    """Raises `LandingError` unless the file has the source's columns, and no others."""
    for ours, theirs in source.columns.items():
        if theirs not in frame.columns:
            raise LandingError(
                file,
                f"the column is missing; the file has {', '.join(frame.columns)}",
                f"send the file with it, or map {ours!r} to another name under dataset.sources",
                theirs,
            )
    for name in dataset.columns:
        if name not in source.columns and name not in source.absent:
            raise LandingError(
                file, "the source does not say where it comes from", "add it under columns or absent", name
            )
    known = {*source.columns.values(), *source.ignore}
    for theirs in frame.columns:
        if theirs not in known:
            raise LandingError(
                file, "nobody declared this column", "add it to the source's columns, or under ignore", theirs
            )


def as_type(cells: pl.Expr, found: pl.DataType, column: Column, time_zone: str) -> pl.Expr:
    """Cells as the declared type; null where they cannot be read as it."""
    wanted = TYPES[column.type]
    if column.type == "timestamp":
        return _as_instant(cells, found, time_zone)
    if column.type == "boolean" and not found.is_numeric() and found != pl.Boolean:
        text = cells.cast(pl.String).str.to_lowercase().str.strip_chars()
        return pl.when(text.is_in(_TRUE)).then(True).when(text.is_in(_FALSE)).then(False)
    if column.type == "integer" and found.is_float():
        return pl.when(cells == cells.round()).then(cells).cast(wanted, strict=False)
    if found == pl.String and column.type != "string":
        cells = cells.str.strip_chars()
    return cells.cast(wanted, strict=False)


def _as_instant(cells: pl.Expr, found: pl.DataType, time_zone: str) -> pl.Expr:
    if isinstance(found, pl.Datetime):
        if found.time_zone:
            return cells.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        naive = cells.dt.cast_time_unit("us")
    elif found == pl.String:
        naive = cells.str.strip_chars().str.replace("T", " ").str.replace(r"(Z|\+00:00)$", "")
        naive = naive.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    else:
        naive = cells.cast(pl.Datetime("us"), strict=False)
    return naive.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
