"""Rows parted by the UTC day of their instant, as the landing zone wants them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl

from mdlc_assets.resources.landing import day_of_file
from mdlc_assets.scaffold.look import DataError
from mdlc_assets.sourcing.cells import read_cells

_FEW = 0.01


def instants(rows: pl.DataFrame, column: str, zone: str) -> pl.Series:
    """The instant of each row in UTC; null for the few that have none. Raises `DataError` for more than a few."""
    values, unreadable = read_cells(rows[column], "timestamp", zone)
    if values.null_count() > _FEW * rows.height:
        first = int(values.is_null().arg_true()[0])
        found = repr(rows[column][first]) if unreadable[first] else "nothing"
        raise DataError(
            f"--time {column}",
            f"{values.null_count()} of {rows.height} rows have no instant there that can be read, first row "
            f"{first + 1} (found {found})",
            "write instants as 2024-12-31T23:59:59Z, 2024-12-31 23:59:59 or 2024-12-31, or name another column",
        )
    return values


def by_day(rows: pl.DataFrame, times: pl.Series) -> Iterator[tuple[date, pl.DataFrame]]:
    """Each UTC day with its rows, days in order, rows as they stood; rows without instant are left out."""
    dated = rows.with_columns(pl.Series("_day", times.dt.date())).filter(pl.col("_day").is_not_null())
    for (day,), part in dated.sort("_day", maintain_order=True).group_by("_day", maintain_order=True):
        assert isinstance(day, date)
        yield day, part.drop("_day")


def longest_run(days: Sequence[date]) -> tuple[date, date]:
    """First and last of the most days on end; of equally many, the latest."""
    best = begin = days[0]
    longest, before = 0, days[0] - timedelta(days=1)
    for day in days:
        begin = begin if day - before == timedelta(days=1) else day
        if (day - begin).days + 1 >= longest:
            longest, best = (day - begin).days + 1, begin
        before = day
    return best, best + timedelta(days=longest - 1)


def longest_gap(days: Sequence[date]) -> int:
    """How many days at most lie without rows between two days that have some."""
    return max(((later - day).days - 1 for day, later in pairwise(days)), default=0)


def landed_files(folder: Path) -> dict[date, list[str]]:
    """The files of each day that has some."""
    found: dict[date, list[str]] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        day = day_of_file(path.relative_to(folder).as_posix()) if path.is_file() else None
        if day is not None:
            found.setdefault(day, []).append(path.relative_to(folder).as_posix())
    return found


def land_day(folder: Path, day: date, rows: pl.DataFrame, *, beside: bool = False) -> Path:
    """Write the rows of a day into the landing folder, wholly or not at all; `beside` what is there, if anything."""
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{day}.parquet", 2
    while beside and path.exists():
        path, number = folder / f"{day}_{number}.parquet", number + 1
    part = path.with_name(f".{path.name}.part")
    rows.write_parquet(part)
    return part.replace(path)
