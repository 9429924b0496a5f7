"""A whole platform below a temporary folder, with one lifecycle in it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.demo.loop import Loop, Ran, open_loop
from mdlc_assets.features.table import days_needed, label_days_needed
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.testing.oracle import window_oracle
from mdlc_assets.testing.samples import sample_labels, sample_rows


@dataclass
class SamplePlatform:
    """Put days in, run workflows, look at what came out. `loop` is there for whatever is not here."""

    declaration: LifecycleDeclaration
    home: Home
    loop: Loop

    @property
    def first_day(self) -> date:
        """The first day of the dataset."""
        return self.declaration.dataset.start

    def days(self, count: int, first: date | None = None) -> list[date]:
        """So many days on end, from the first day of the dataset unless another is named."""
        return [(first or self.first_day) + timedelta(days=i) for i in range(count)]

    def sample(self, day: date, rows: int = 100, *, seed: int = 0) -> pl.DataFrame:
        """Made-up events of a day that keep the declared rules."""
        return sample_rows(self.declaration, day, rows, seed=seed)

    def land(self, day: date, rows: pl.DataFrame, feed: str = "transactions", *, name: str = "") -> Path:
        """Put rows into the landing zone as the day's file, under the declared names or a source's own."""
        path = self.home.landing / self.declaration.source.name / feed / (name or f"{day}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(path)
        return path

    def land_bytes(self, name: str, content: bytes, feed: str = "transactions") -> Path:
        """Put a file of any content into the landing zone; the day stands in its name."""
        path = self.home.landing / self.declaration.source.name / feed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def land_samples(self, days: int, rows: int = 100, *, labels: bool = True, first: date | None = None) -> list[date]:
        """Land made-up days, with their labels unless they come without. Returns the days."""
        landed = self.days(days, first)
        for day in landed:
            events = self.sample(day, rows)
            self.land(day, events)
            if labels and self.declaration.labels.column:
                self.land(day, sample_labels(self.declaration, events, seed=day.toordinal()), "labels")
        return landed

    @staticmethod
    def without(rows: pl.DataFrame, column: str, row: int) -> pl.DataFrame:
        """The rows, one of them with nothing in a column."""
        return rows.with_columns(pl.when(pl.int_range(pl.len()) != row).then(pl.col(column)).alias(column))

    def run(self, workflow: str, days: Sequence[date] = (), config: Mapping[str, Any] | None = None) -> Ran:
        """Run a workflow over days on end (none for those without days). See `success`, `stopped_by`, `error`."""
        first, last = (days[0], days[-1]) if days else (None, None)
        return self.loop.run(workflow, first, last, config)

    def approve(self, version: int, reason: str = "a test", approver: str = "test@example.com") -> Ran:
        """Make a version the champion, as a person does."""
        config = {"version": version, "reason": reason, "approver": approver, "override": False}
        return self.loop.run("approve", config={f"{self.declaration.name}__champion": {"config": config}})

    def table(self, name: str, days: Sequence[date] | None = None) -> pl.DataFrame:
        """Rows of a table of the lake, of some days or of all that are there."""
        table = self.loop.resources["lake"].table(*self.declaration.place(name))
        return table.read(table.days() if days is None else days)

    def document(self, name: str, day: date) -> dict[str, Any]:
        """A report of a day, such as `quality_report`, `evaluation` or `open_loop_report`."""
        found: dict[str, Any] = self.loop.resources["lake"].documents(*self.declaration.place(name)).read_document(day)
        return found

    def check_windows(self, days: Sequence[date], *, close: float = 1e-9) -> None:
        """Hold the windowed features of some days against an oracle that looks at every event.

        Raises `AssertionError` naming feature, event and both values.
        """
        lake, declaration = self.loop.resources["lake"], self.declaration
        features = self.table("features", days)
        needed = days_needed(self.declaration, days[0], days[-1])
        events = lake.table(*declaration.place("validated")).read(needed, skip_absent=True)
        labelled = label_days_needed(self.declaration, days[0], days[-1])
        there = set(lake.table(*declaration.place("labels")).days())
        labels = (
            lake.table(*declaration.place("labels")).read(sorted(there & set(labelled)))
            if there & set(labelled)
            else None
        )
        for feature, expected in window_oracle(self.declaration, events, labels, features).items():
            for key, found, right in zip(
                features[self.declaration.dataset.id], features[feature], expected, strict=True
            ):
                if not math.isclose(found, right, rel_tol=close, abs_tol=close):
                    raise AssertionError(f"{feature} of {key} is {found}, and should be {right}")


@contextmanager
def sample_platform(declaration: Path | str, home: Path | str | None = None) -> Iterator[SamplePlatform]:
    """A platform with the declared lifecycle, gone afterwards unless a folder is given. Raises `DeclarationError`."""
    lifecycle = load_lifecycle(declaration)
    with tempfile.TemporaryDirectory(prefix="mdlc-test-") as temporary:
        place = Home(home or temporary)
        loop = open_loop(lifecycle, place)
        try:
            yield SamplePlatform(lifecycle.declaration, place, loop)
        finally:
            loop.resources["endpoints"].stop(lifecycle.declaration.name)
            loop.instance.dispose()
