"""What the lake remembers of a model's life, as the monitors ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.open_loop import Profile, columns_of, enough_reference, make_profile
from mdlc_assets.monitoring.retrain_policy import LabelledDay
from mdlc_assets.resources.lake import Lake

_LABELLED_DAYS = 28


class Record:
    """Reads the tables and documents of one lifecycle."""

    def __init__(self, lifecycle: LifecycleDeclaration, lake: Lake) -> None:
        self.lifecycle, self.lake = lifecycle, lake

    def _table(self, name: str):  # type: ignore[no-untyped-def]
        return self.lake.table(self.lifecycle.name, name)

    def _documents(self, name: str):  # type: ignore[no-untyped-def]
        return self.lake.documents(self.lifecycle.name, name)

    def documents(self, name: str, last: date, count: int) -> Mapping[date, Mapping[str, Any]]:
        """The documents of the `count` days up to `last`, of those that are there."""
        found = self._documents(name)
        days = [day for day in found.days() if last - timedelta(days=count) < day <= last]
        return {day: found.read_document(day) for day in days}

    def version_on(self, day: date) -> int:
        """The version that scored a day."""
        return int(self._table("batch_predictions").read_day(day, ["model_version"])["model_version"].max() or 0)

    def model(self, version: int) -> dict[str, Any]:
        """Version, `trained` (as-of day or None) and `refit` (the days it learnt from) of a version."""
        found = self._documents("candidate_model")
        for day in reversed(found.days()):
            document = found.read_document(day)
            if document["version"] == version:
                return {"version": version, "trained": day, "refit": document["mdlc.refit"]}
        return {"version": version, "trained": None, "refit": ""}

    def trained_on(self, version: int) -> date | None:
        """The as-of day of a version."""
        return self.model(version)["trained"]

    def newest_training(self, today: date) -> date | None:
        """The newest as-of day before today; today's own training follows from today's decision."""
        return max((day for day in self._documents("candidate_model").days() if day < today), default=None)

    def profiles(self, version: int, names: Sequence[str]) -> dict[str, Profile]:
        """A profile of each feature over the days that a version learnt from; none when they are too few."""
        refit = self.model(version)["refit"]
        if not refit:
            return {}
        first, last = (date.fromisoformat(part) for part in refit.split(" to "))
        days = [day for day in self._table("features").days() if first <= day <= last]
        if not enough_reference(days):
            return {}
        found = {day: columns_of(self._table("features").read_day(day, names), names) for day in days}
        return {name: make_profile({day: columns[name] for day, columns in found.items()}) for name in names}

    def scores(self, day: date) -> np.ndarray:
        """The scores of a day."""
        return self._table("batch_predictions").read_day(day, ["score"])["score"].to_numpy()

    def scores_before(self, day: date, version: int) -> dict[date, np.ndarray]:
        """Scores that a version gave on the calm days before a day, within the declared reference."""
        reports = self.documents("open_loop_report", day - timedelta(days=1), self._reference_days)
        calm = [when for when, said in reports.items() if said["model_version"] == version and not said["marked"]]
        return {when: self.scores(when) for when in calm}

    @property
    def _reference_days(self) -> int:
        return self.lifecycle.monitoring.open_loop.reference_days

    def days_scored_by(self, version: int, days: Sequence[date]) -> list[date]:
        """Which of the days a version scored, of those that have labels."""
        present = set(self._table("batch_predictions").days()) & set(self._table("labels").days())
        return sorted(day for day in days if day in present and self.version_on(day) == version)

    def scored_and_labelled(self, days: Sequence[date]) -> pl.DataFrame:
        """Predictions of the days with their labels; events without a label are left out."""
        lifecycle = self.lifecycle
        labels = self._table("labels").read(days, [lifecycle.dataset.id, lifecycle.labels.column])
        scores = self._table("batch_predictions").read(days)
        return scores.join(labels, on=lifecycle.dataset.id, how="inner", maintain_order="left")

    def promised(self, version: int) -> dict[str, float | None] | None:
        """The metrics with which a version passed its gate."""
        found = self._documents("evaluation")
        for day in reversed(found.days()):
            document = found.read_document(day)
            if document["version"] == version:
                return document["metrics"]
        return None

    def stopped_days(self, today: date, count: int) -> list[date]:
        """The days among the last `count` that quality stopped and nobody has mended."""
        reports = self.documents("quality_report", today, count)
        return [day for day, report in reports.items() if not report["passed"]]

    def labelled_days(self, version: int, last: date) -> list[LabelledDay]:
        """The days up to `last` that a version scored and whose labels are in, oldest first."""
        metric = self.lifecycle.monitoring.retrain.metric
        reports = self.documents("closed_loop_report", last, _LABELLED_DAYS)
        return [
            LabelledDay(
                day,
                report["metrics"].get(metric),
                report["recent"]["metrics"].get(metric),
                report["recent"]["days"],
                tuple(report["recent"]["interval"]) if report["recent"]["interval"] else None,
                (report["promised"] or {}).get(metric),
            )
            for day, report in sorted(reports.items())
            if report["model_version"] == version
        ]

    def decision_shares(self, last: date, count: int) -> dict[date, dict[str, float]]:
        """The share of each decision by day."""
        table = self._table("decisions")
        days = [day for day in table.days() if last - timedelta(days=count) < day <= last]
        found = {}
        for day in days:
            rows = table.read_day(day, ["decision"])
            counted = rows["decision"].value_counts().iter_rows()
            found[day] = {decision: number / rows.height for decision, number in counted}
        return found
