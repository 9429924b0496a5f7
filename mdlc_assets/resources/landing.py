"""The landing zone: where daily files arrive, in a folder or below an S3 prefix.

    <root>/<lifecycle>/transactions/2018-04-01.parquet
    <root>/<lifecycle>/labels/2018-04-01.csv

A file belongs to the day that its path names last; a day may have several files.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date

import dagster as dg

from mdlc_assets.resources.storage import Storage, open_storage

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?!.*\d{4}-\d{2}-\d{2})")


class LandingFeed:
    """One feed of files of a lifecycle."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self.storage, self.folder = storage, folder

    @property
    def location(self) -> str:
        """The folder a person looks into."""
        return self.storage.location(self.folder)

    def files_by_day(self) -> dict[date, list[str]]:
        """Storage names of all files, by day. Files without a day in their name are left alone."""
        found: dict[date, list[str]] = {}
        for name in self.storage.names(self.folder):
            matched = _DAY.search(name)
            if matched:
                found.setdefault(date.fromisoformat(matched[1]), []).append(name)
        return found

    def days(self) -> list[date]:
        """The days for which there is a file, sorted."""
        return sorted(self.files_by_day())

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        return self.storage.read(name)

    def fingerprints(self) -> dict[date, str]:
        """A short text for each day that changes when a file is added, removed or replaced."""
        marks = self.storage.marks(self.folder)
        return {
            day: hashlib.sha256("\n".join(f"{name} {marks[name]}" for name in names).encode()).hexdigest()[:16]
            for day, names in self.files_by_day().items()
        }


class LandingZone(dg.ConfigurableResource):
    """The landing zone at `root`: a folder, or `s3://bucket/prefix`."""

    root: str

    def feed(self, lifecycle: str, name: str) -> LandingFeed:
        """The feed `name` (`transactions` or `labels`) of a lifecycle."""
        return LandingFeed(open_storage(self.root), f"{lifecycle}/{name}")
