"""The lake: one Parquet file for each table and day, in the Hive layout that Athena, Spark and DuckDB read.

    <root>/<lifecycle>/<table>/date=2018-04-01/part-0.parquet
    <root>/<lifecycle>/<document>/date=2018-04-01/document.json

The same rows always give the same bytes, so running a day again changes nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from mdlc_assets.resources.storage import Storage, open_storage

_READERS = 8


class DayAbsentError(LookupError):
    """A day that a step needs was never written."""

    def __init__(self, table: str, days: Sequence[date]) -> None:
        self.table, self.days = table, tuple(days)
        which = str(days[0]) if len(days) == 1 else f"{days[0]} and {len(days) - 1} more, to {days[-1]}"
        super().__init__(f"{table} has no data for {which}. Mend: materialise {table} for those days first.")


@dataclass(frozen=True)
class Written:
    """What a write left behind. `digest` is the SHA-256 of the file's bytes, in hex."""

    rows: int
    size: int
    digest: str
    location: str


class LakeTable:
    """One table of one lifecycle, a file for each day."""

    def __init__(self, storage: Storage, folder: str, file: str = "part-0.parquet") -> None:
        self.storage, self.folder, self.file = storage, folder, file

    def name_of(self, day: date) -> str:
        """The storage name of a day's file."""
        return f"{self.folder}/date={day.isoformat()}/{self.file}"

    def write_day(self, day: date, frame: pl.DataFrame) -> Written:
        """Replace the day by `frame`, wholly or not at all."""
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", statistics=True)
        content = buffer.getvalue()
        self.storage.write(self.name_of(day), content)
        return Written(
            frame.height,
            len(content),
            hashlib.sha256(content).hexdigest(),
            self.storage.location(self.name_of(day)),
        )

    def read_day(self, day: date, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of a day. Raises `DayAbsentError`."""
        try:
            content = self.storage.read(self.name_of(day))
        except FileNotFoundError:
            raise DayAbsentError(self.folder, [day]) from None
        return pl.read_parquet(
            io.BytesIO(content),
            columns=list(columns) if columns is not None else None,
            hive_partitioning=False,
        )

    def read(
        self, days: Iterable[date], columns: Sequence[str] | None = None, *, skip_absent: bool = False
    ) -> pl.DataFrame:
        """The rows of several days, in the order of the days.

        Raises `DayAbsentError` naming every day that is not there, unless `skip_absent`; when then nothing
        at all is there, raises it all the same, since no columns are known.
        """
        wanted = sorted(days)
        present = set(self.days())
        absent = [day for day in wanted if day not in present]
        if absent and (not skip_absent or len(absent) == len(wanted)):
            raise DayAbsentError(self.folder, absent)
        with ThreadPoolExecutor(_READERS) as pool:
            frames = list(pool.map(lambda day: self.read_day(day, columns), sorted(present & set(wanted))))
        return pl.concat(frames)

    def has(self, day: date) -> bool:
        """Whether the day is there; for a few days quicker than to list them all."""
        return self.storage.has(self.name_of(day))

    def days(self) -> list[date]:
        """The days that are there, sorted."""
        marker = f"{self.folder}/date="
        names = self.storage.names(self.folder)
        return sorted(
            date.fromisoformat(name[len(marker) : len(marker) + 10])
            for name in names
            if name.startswith(marker) and name.endswith("/" + self.file)
        )

    def marks(self) -> dict[date, str]:
        """For each day that is there a text that changes when it is replaced, found without reading it."""
        marks = self.storage.marks(self.folder)
        return {day: marks[name] for day in self.days() if (name := self.name_of(day)) in marks}

    def written(self, day: date) -> float:
        """When a day was last written, in seconds since 1970. Raises `FileNotFoundError`."""
        return self.storage.modified(self.name_of(day))

    def sizes(self, days: Iterable[date]) -> dict[date, int]:
        """The bytes of those of the days that are there, found without reading them."""
        sizes = self.storage.sizes(self.folder)
        return {day: sizes[name] for day in days if (name := self.name_of(day)) in sizes}

    def digest(self, days: Iterable[date]) -> str:
        """SHA-256 in hex over the bytes of the given days, which must all be there."""
        total = hashlib.sha256()
        for day in sorted(days):
            total.update(hashlib.sha256(self.storage.read(self.name_of(day))).digest())
        return total.hexdigest()

    def delete_day(self, day: date) -> None:
        """Take a day away."""
        self.storage.delete(self.name_of(day))


class LakeDocuments(LakeTable):
    """One JSON document for each day: a report's figures, a verdict with its reasons."""

    def __init__(self, storage: Storage, folder: str) -> None:
        super().__init__(storage, folder, "document.json")

    def write_document(self, day: date, content: dict[str, Any]) -> Written:
        """Replace the day's document, wholly or not at all."""
        text = json.dumps(content, indent=1, sort_keys=True, default=str, allow_nan=False).encode()
        self.storage.write(self.name_of(day), text)
        location = self.storage.location(self.name_of(day))
        return Written(1, len(text), hashlib.sha256(text).hexdigest(), location)

    def read_document(self, day: date) -> dict[str, Any]:
        """The day's document. Raises `DayAbsentError`."""
        try:
            return json.loads(self.storage.read(self.name_of(day)))
        except FileNotFoundError:
            raise DayAbsentError(self.folder, [day]) from None


class Lake(dg.ConfigurableResource):
    """The lake at `root`: a folder, or `s3://bucket/prefix`."""

    root: str

    def table(self, lifecycle: str, name: str) -> LakeTable:
        """The table `name` of a lifecycle."""
        return LakeTable(open_storage(self.root), f"{lifecycle}/{name}")

    def documents(self, lifecycle: str, name: str) -> LakeDocuments:
        """The documents `name` of a lifecycle."""
        return LakeDocuments(open_storage(self.root), f"{lifecycle}/{name}")
