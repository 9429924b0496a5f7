"""What the decision service captured: lines of JSON by lifecycle and day (realtime/capture.py writes them)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg

from mdlc_assets.resources.storage import open_storage


class CapturedDecisions(dg.ConfigurableResource):
    """The folder of captured decisions, or `s3://bucket/prefix` where files of other machines are brought together."""

    root: str

    @classmethod
    def from_environment(cls, folder: Path) -> CapturedDecisions:
        """MDLC_CAPTURED, or else a folder here."""
        return cls(root=os.environ.get("MDLC_CAPTURED") or str(folder))

    def days(self, lifecycle: str) -> list[date]:
        """The days of which something was captured, sorted."""
        names = open_storage(self.root).names(lifecycle)
        folders = {part for name in names for part in name.split("/") if part.startswith("date=")}
        return sorted(date.fromisoformat(folder.removeprefix("date=")) for folder in folders)

    def lines(self, lifecycle: str, day: date) -> Iterator[bytes]:
        """The captured lines of a day, file by file."""
        storage = open_storage(self.root)
        for name in sorted(storage.names(f"{lifecycle}/date={day.isoformat()}")):
            if name.endswith(".jsonl"):
                yield from storage.read(name).splitlines()
