"""What the lake remembers of online traffic, as its monitors and the policy ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.monitoring.closed_loop import realised, with_slices
from mdlc_assets.monitoring.expectation import recent_days
from mdlc_assets.monitoring.online_loop import judged_rows, version_of, watch_online
from mdlc_assets.monitoring.record import Record
from mdlc_assets.monitoring.retrain_policy import OnlineDays

OPEN, CLOSED = "online_open_loop_report", "online_closed_loop_report"
_MEMORY_DAYS = 7


class OnlineRecord:
    """Reads `online_decisions` beside the record of the batch path."""

    def __init__(self, record: Record) -> None:
        self.record, self.lifecycle, self.lake = record, record.lifecycle, record.lake
        self.decisions = self.lake.table(self.lifecycle.name, "online_decisions")

    def open_loop(self, day: date) -> dict[str, Any] | None:
        """The document of a day, less its estimate; None for a day about which nothing was decided online."""
        if not self.decisions.has(day):
            return None
        rows, monitors = self.decisions.read_day(day), self.lifecycle.monitoring
        yesterday = day - timedelta(days=1)
        # Healthy days are the batch path's: the service is to see the same traffic as the files.
        batch = self.record.documents("open_loop_report", yesterday, monitors.open_loop.reference_days)
        reference = self.record.reference(day, version_of(judged_rows(rows)), batch)
        before = self.record.documents(OPEN, yesterday, _MEMORY_DAYS)
        return watch_online(self.lifecycle, day, rows, self.record.input_names(), reference, before)

    def scores(self, day: date, version: int) -> dict[date, np.ndarray]:
        """Scores that a version gave online on the day and the recent days before it."""
        found = {}
        for when in recent_days(day):
            rows = self._by(version, when)
            if rows.height:
                found[when] = rows["score"].to_numpy()
        return found

    def closed_loop(self, day: date) -> dict[str, Any] | None:
        """The document of a day; None while it has no labels, or nothing was decided about it online."""
        labels = self.lake.table(self.lifecycle.name, "labels")
        if not self.decisions.has(day) or not labels.has(day):
            return None
        version = version_of(judged_rows(self.decisions.read_day(day)))
        monitors, label = self.lifecycle.monitoring, self.lifecycle.labels.column
        predicted = self._by(version, day).height

        def judged(count: int) -> list[date]:
            days = [day - timedelta(days=back) for back in range(count)]
            days = [when for when in days if self.decisions.has(when) and labels.has(when)]
            days = [when for when in days if version_of(judged_rows(self.decisions.read_day(when))) == version]
            return self.record.unseen(version, days)

        days, recent = judged(monitors.closed_loop.calibration_days), judged(monitors.retrain.for_days)
        longer = self._labelled(version, sorted({*days, *recent, day}), label)
        when = longer[self.lifecycle.dataset.time].dt.date()
        today = longer.filter(when == day)
        if not today.height:
            return None
        last = longer.filter(when.is_in(recent))
        document = realised(
            self.lifecycle,
            today,
            with_slices(self.lifecycle, last, last),
            longer.filter(when.is_in(days)),
            self.record.promised(version),
            predicted,
            learnt=self.record.has_learnt(version, day),
        )
        return document | {"traffic": "online"}

    def days_of(self, version: int, today: date, *, was_open: bool) -> OnlineDays:
        """What the policy sees of online traffic as of `today`."""
        known = today - timedelta(days=self.lifecycle.labels.delay_days)
        return OnlineDays(
            self.record.labelled_days(version, known, CLOSED),
            self.record.estimated_days(version, today, OPEN),
            was_open,
        )

    def _by(self, version: int, day: date) -> pl.DataFrame:
        if not self.decisions.has(day):
            return pl.DataFrame()
        return judged_rows(self.decisions.read_day(day)).filter(pl.col("model_version") == version)

    def _labelled(self, version: int, days: Sequence[date], label: str) -> pl.DataFrame:
        """What a version decided on the days with its labels; events without one are left out."""
        identity = self.lifecycle.dataset.id
        labels = self.lake.table(self.lifecycle.name, "labels").read(days, [identity, label, "known_at"])
        rows = pl.concat([self._by(version, when) for when in days]).drop(label, "known_at", strict=False)
        return rows.join(labels, on=identity, how="inner", maintain_order="left")
