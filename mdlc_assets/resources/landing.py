"""The landing zone: files that others put there, found by the day in their name.

<root>/<lifecycle>/transactions/2018-04-01.parquet
<root>/<lifecycle>/transactions/late_2018-04-01.jsonl
<root>/<lifecycle>/labels/date=2018-04-01/part-0.csv
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import PurePosixPath

import dagster as dg

from mdlc_assets.resources.storage import Storage, open_storage

_DAY = re.compile(r"(?<!\d)(\d{4}-\d{2}-\d{2})(?!\d)")
_ENDINGS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class _Entry:
    """A file as the listing shows it; `state` changes when its content is replaced."""

    name: str
    state: str


class LandingFeed:
    """The files of one feed. The folder is listed once, when first asked; open a new feed to look again."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self.storage, self.folder = storage, folder

    @property
    def location(self) -> str:
        """The folder or S3 prefix that people put files into."""
        return self.storage.location(self.folder)

    def days(self) -> list[date]:
        """The days for which at least one file is there, sorted."""
        return sorted(self._by_day)

    def files(self, day: date) -> list[str]:
        """Names of the day's files, below the feed's folder, sorted; empty when there are none."""
        return [entry.name for entry in self._by_day.get(day, [])]

    def read(self, name: str) -> bytes:
        """The content of a file. Raises `FileNotFoundError`."""
        return self.storage.read(f"{self.folder}/{name}")

    def fingerprint(self, day: date) -> str:
        """Sixteen hex digits that change when a file for the day is added, removed or replaced.

        From the listing alone: names, sizes, and modification times (a folder) or entity tags (S3).
        """
        lines = "\n".join(f"{entry.name}\t{entry.state}" for entry in self._by_day.get(day, []))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def fingerprints(self) -> dict[date, str]:
        """The fingerprint of each day that has files."""
        return {day: self.fingerprint(day) for day in self.days()}

    @cached_property
    def _by_day(self) -> dict[date, list[_Entry]]:
        found: dict[date, list[_Entry]] = defaultdict(list)
        for whole_name, state in sorted(self.storage.marks(self.folder).items()):
            name = whole_name[len(self.folder) + 1 :]
            day = day_of_file(name)
            if day is not None:
                found[day].append(_Entry(name, state))
        return dict(found)


class LandingZone(dg.ConfigurableResource):
    """Where files arrive: a folder, or `s3://bucket/prefix`."""

    root: str

    def feed(self, lifecycle: str, name: str) -> LandingFeed:
        """The feed `transactions` or `labels` of a lifecycle, or that of declared attributes."""
        return LandingFeed(open_storage(self.root), f"{lifecycle}/{name}")


def day_of_file(name: str) -> date | None:
    """The day a file is for: from a folder `date=YYYY-MM-DD`, or else the first day in its own name.

    None for other kinds of files, hidden ones, and names without a day.
    """
    path = PurePosixPath(name)
    if path.name.startswith((".", "_")) or not path.name.lower().endswith(_ENDINGS):
        return None
    folders = [part.removeprefix("date=") for part in path.parts[:-1] if part.startswith("date=")]
    for text in (*reversed(folders), path.name):
        for match in _DAY.finditer(text):
            try:
                return date.fromisoformat(match[1])
            except ValueError:
                continue
    return None
