"""What delivers files in the demo: the simulator, or a folder of real files, with incidents on the way."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.simulator.incidents import drifted_amount, dropped_rows, sticking_age
from mdlc_assets.simulator.world import Simulator

Incident = Callable[[pl.DataFrame], pl.DataFrame]
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Feed(Protocol):
    """A source of daily files for the landing zone."""

    days: list[date]
    data_incident: str
    """What goes wrong with the file of one day, in words."""

    def deliver(self, day: date, *, drift: float = 1.0, broken: bool = False) -> None:
        """Put the day's file into the landing zone; `drift` multiplies amounts, `broken` spoils the file."""
        ...

    def deliver_labels(self, day: date) -> None:
        """Put what became known about the day into the landing zone."""
        ...


class SimulatedFeed:
    """Days of the simulator; labels are files of their own."""

    data_incident = "the account age of every card reads the same as the day before"

    def __init__(self, landing: Path, lifecycle: LifecycleDeclaration, days: int) -> None:
        self.folder = landing / lifecycle.name
        start = lifecycle.dataset.start
        self.days = [start + timedelta(days=i) for i in range(days)]
        self.simulator = Simulator(start=start)

    def deliver(self, day: date, *, drift: float = 1.0, broken: bool = False) -> None:
        rows = self.simulator.transactions(day)
        if drift != 1.0:
            rows = drifted_amount(rows, drift)
        if broken:
            rows = sticking_age(rows)
        _write(self.folder / "transactions" / f"{day}.parquet", rows)

    def deliver_labels(self, day: date) -> None:
        _write(self.folder / "labels" / f"{day}.parquet", self.simulator.labels(day))


class FolderFeed:
    """A folder of real daily files, copied as they are but for the incidents. Labels stand in the files."""

    data_incident = "two thirds of the day's rows are missing"

    def __init__(self, landing: Path, lifecycle: LifecycleDeclaration, source: Path) -> None:
        self.folder = landing / lifecycle.name
        self.files = {
            date.fromisoformat(found[0]): path
            for path in sorted(source.iterdir())
            if path.is_file() and (found := _DAY.search(path.name))
        }
        first, last = min(self.files, default=date.max), max(self.files, default=date.min)
        self.days = sorted(set(self.files) & set(lifecycle.days(first, last)))
        mapping = next(iter(lifecycle.dataset.sources.values()))
        self.amount = mapping.columns.get("amount", "amount")

    def deliver(self, day: date, *, drift: float = 1.0, broken: bool = False) -> None:
        source = self.files[day]
        target = self.folder / "transactions" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if drift == 1.0 and not broken:
            shutil.copyfile(source, target)
            return
        rows = pl.read_parquet(io.BytesIO(source.read_bytes()))
        if drift != 1.0:
            rows = drifted_amount(rows, drift, column=self.amount)
        if broken:
            rows = dropped_rows(rows, 2 / 3)
        _write(target, rows)

    def deliver_labels(self, day: date) -> None:
        """Nothing to do: they are in the day's own file, and count once their delay has passed."""


def _write(path: Path, rows: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
