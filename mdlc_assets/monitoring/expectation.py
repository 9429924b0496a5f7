"""Gathers, from lake and registry, what the estimate without labels is made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.estimate import Calibration, expected
from mdlc_assets.monitoring.record import Record
from mdlc_assets.resources.lake import DayAbsentError
from mdlc_assets.resources.registry import Registry, UnknownVersionError
from mdlc_assets.training.foreign import ForeignModel, load_any_model
from mdlc_assets.training.sets import usable_test_rows
from mdlc_assets.training.windows import protocol

_CALIBRATION_DAYS = 14
_RECENT_DAYS = 7


def recent_days(day: date) -> list[date]:
    """The days whose scores are estimated together: the day and those before it."""
    return [day - timedelta(days=back) for back in range(_RECENT_DAYS)]


class Expectation:
    """Estimates for the days of one lifecycle, from labels known by the end of each."""

    def __init__(self, record: Record, registry: Registry) -> None:
        self.record, self.registry = record, registry
        self.lifecycle: LifecycleDeclaration = record.lifecycle
        self._tested: dict[int, pl.DataFrame | None] = {}

    def of_day(self, day: date, version: int) -> dict[str, Any] | None:
        """The estimate of a day scored by a version; None while too few labels are known, and for foretold numbers,
        which say nothing of how wrong they are."""
        if self.lifecycle.labels.kind != "event":
            return None
        days = self.record.days_scored_by(version, recent_days(day), labelled=False)
        return self.of_scores(day, version, {when: self.record.scores(when) for when in days})

    def of_scores(self, day: date, version: int, scores: Mapping[date, np.ndarray]) -> dict[str, Any] | None:
        """The same from scores at hand, of the day and of the recent days before it."""
        if self.lifecycle.labels.kind != "event" or day not in scores:
            return None
        days = scores.keys()
        return expected(self.calibration(day, version), scores[day], np.concatenate(list(scores.values())), len(days))

    def calibration(self, day: date, version: int) -> Calibration:
        """By labelled days that the version scored and had not learnt from; while these are few, by the test days
        of its evaluation too, scored by the model that was judged there."""
        label, delay = self.lifecycle.labels.column, self.lifecycle.labels.delay_days
        learnt = self.record.learnt_from(version)
        window = [day - timedelta(days=delay + back) for back in range(_CALIBRATION_DAYS)]
        later = [when for when in window if learnt is None or when > learnt[1]]
        days = self.record.days_scored_by(version, later)
        rows = [self.record.scored_and_labelled(days).select("score", label)] if days else []
        count = len(days)
        if count < _RECENT_DAYS:
            tested = self._test_rows(version)
            if tested is not None:
                rows.append(tested.select("score", label))
                count += tested["day"].n_unique()
        if not rows:
            return Calibration(np.empty(0), np.empty(0), 0)
        together = pl.concat(rows)
        return Calibration(together["score"].to_numpy(), together[label].to_numpy(), count)

    def _test_rows(self, version: int) -> pl.DataFrame | None:
        if version not in self._tested:
            self._tested[version] = self._score_test_rows(version)
        return self._tested[version]

    def _score_test_rows(self, version: int) -> pl.DataFrame | None:
        trained = self.record.model(version)["trained"]
        if trained is None:
            return None
        try:
            rows = self.record.lake.table(self.lifecycle.name, "training_set").read_day(trained)
            judged = load_any_model(self.registry.files(self.registry.version(self.lifecycle.name, version), "judged"))
        except (DayAbsentError, UnknownVersionError):
            return None
        if isinstance(judged, ForeignModel):
            # Only its own image scores it, by a job that costs; what was served has to do.
            return None
        test = usable_test_rows(self.lifecycle, rows, protocol(self.lifecycle, trained))
        return test.select(
            self.lifecycle.labels.column,
            pl.col(self.lifecycle.dataset.time).dt.date().alias("day"),
            pl.Series("score", judged.score(test)),
        )
