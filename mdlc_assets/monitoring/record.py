"""What the lake remembers of a model's life, as the monitors ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.open_loop import Reference, Sketches, healthy_days
from mdlc_assets.monitoring.retrain_policy import EstimatedDay, LabelledDay, Training
from mdlc_assets.monitoring.sketch import Sketch, from_table, sketch, sketches, to_table
from mdlc_assets.quality.quarantined import is_stopped_by_quarantine, report_from_quarantine
from mdlc_assets.resources.lake import Lake, LakeDocuments, LakeTable

OUTPUTS = ("score", "decision")
_LABELLED_DAYS = 28
_READERS = 4


class Record:
    """Reads the tables and documents of one lifecycle."""

    def __init__(self, lifecycle: LifecycleDeclaration, lake: Lake) -> None:
        self.lifecycle, self.lake = lifecycle, lake
        self._models: dict[int, dict[str, Any]] = {}

    def _table(self, name: str) -> LakeTable:
        return self.lake.table(*self.lifecycle.place(name))

    def _documents(self, name: str) -> LakeDocuments:
        return self.lake.documents(*self.lifecycle.place(name))

    def documents(self, name: str, last: date, count: int, having: str = "") -> dict[date, dict[str, Any]]:
        """The documents of the `count` days up to `last`, of those that are there; `having` leaves out what an older
        version wrote without that field."""
        found = self._documents(name)
        days = [day for day in found.days() if last - timedelta(days=count) < day <= last]
        with ThreadPoolExecutor(_READERS) as pool:
            read = dict(zip(days, pool.map(found.read_document, days), strict=True))
        return {day: document for day, document in read.items() if not having or having in document}

    def version_on(self, day: date) -> int:
        """The version that scored a day."""
        return int(self._table("batch_predictions").read_day(day, ["model_version"])["model_version"].max() or 0)  # type: ignore[arg-type]

    def model(self, version: int) -> dict[str, Any]:
        """Version, `trained` (as-of day or None), `refit` (the days it learnt from), MLflow and Dagster run."""
        if version not in self._models:
            found = self._documents("candidate_model")
            about: dict[str, Any] = {"version": version, "trained": None, "refit": "", "run_id": "", "dagster_run": ""}
            for day in reversed(found.days()):
                document = found.read_document(day)
                if document["version"] == version:
                    about |= {"trained": day, "refit": document["mdlc.refit"], "run_id": document.get("run_id", "")}
                    break
            self._models[version] = about
        return self._models[version]

    def model_on(self, day: date) -> dict[str, Any]:
        """The model of the newest day up to `day` that was scored: a day that quality stopped has none of its own."""
        newest = max((when for when in self._table("batch_predictions").days() if when <= day), default=None)
        return self.model(0 if newest is None else self.version_on(newest))

    def learnt_from(self, version: int) -> tuple[date, date] | None:
        """The first and the last day a version learnt from."""
        refit = self.model(version)["refit"]
        if not refit:
            return None
        first, last = (date.fromisoformat(part) for part in refit.split(" to "))
        return first, last

    def trainings(self, today: date) -> list[Training]:
        """All candidates made before today, oldest first: today's own follows from today's decision."""
        verdicts = self._documents("evaluation")
        judged = set(verdicts.days())
        return [
            Training(day, verdicts.read_document(day)["passed"] if day in judged else None)
            for day in self._documents("candidate_model").days()
            if day < today
        ]

    # What the open loop compares.

    def input_names(self) -> list[str]:
        """Each feature, and each text column of the dataset but its id."""
        names, dataset = self.lifecycle.features.names(), self.lifecycle.dataset
        texts = [column for column, declared in dataset.columns.items() if declared.type == "string"]
        return [*names, *(column for column in texts if column != dataset.id and column not in names)]

    def sketch_inputs(self, day: date) -> dict[str, Sketch]:
        """Sketches of the day's inputs, from its rows: each feature, and each text column of the dataset."""
        names = self.lifecycle.features.names()
        found = sketches(self._table("features").read_day(day, names), names)
        texts = [name for name in self.input_names() if name not in found]
        if texts:
            found |= sketches(self._table("validated").read_day(day, texts), texts)
        return found

    def inputs(self, day: date) -> dict[str, Sketch]:
        """Sketches of the day's inputs: stored ones, or of its rows where there are none."""
        stored = self._table("drift_profile")
        return from_table(stored.read_day(day)) if stored.has(day) else self.sketch_inputs(day)

    def outputs(self, day: date) -> dict[str, Sketch]:
        """Sketches of the day's scores, and of its decisions where they were made; kept for later days."""
        found = {"score": sketch(self._table("batch_predictions").read_day(day, ["score"])["score"])}
        if self._table("decisions").has(day):
            found["decision"] = sketch(self._table("decisions").read_day(day, ["decision"])["decision"])
        self._table("output_profile").write_day(day, to_table(found))
        return found

    def scores_of_the_version_before(self, version: int, before: Mapping[date, Mapping[str, Any]]) -> list[Sketch]:
        """Sketches of the scores of the newest other version that scored any of the days of `before`."""
        others = {when: said["model_version"] for when, said in before.items() if said["model_version"] != version}
        if not others:
            return []
        last, stored = others[max(others)], self._table("output_profile")
        days = [when for when, scored_by in others.items() if scored_by == last and stored.has(when)]
        return [from_table(stored.read_day(when))["score"] for when in days]

    def reference(self, day: date, version: int, before: Mapping[date, Mapping[str, Any]]) -> Reference:
        """What a day scored by a version is compared with. Outputs only count where the same version gave them."""
        features = self._table("features").days()
        learnt = self.learnt_from(version)
        training_days = [when for when in features if learnt and learnt[0] <= when <= learnt[1]]
        own = {when: said for when, said in before.items() if said["model_version"] == version}
        wanted = sorted({*training_days, *(when for when in before if when in set(features))})
        with ThreadPoolExecutor(_READERS) as pool:
            inputs: dict[date, Sketches] = dict(zip(wanted, pool.map(self.inputs, wanted), strict=True))
        stored = self._table("output_profile")
        for when in own:
            if when in inputs and stored.has(when):
                inputs[when] = {**inputs[when], **from_table(stored.read_day(when))}
        span = (day - min(wanted)).days + 1 if wanted else 1
        # What the model learnt from is normal to it, whatever an earlier version's monitor thought of those days.
        judged = {when: said for when, said in before.items() if when not in training_days or when in own}
        recent = healthy_days(self.lifecycle.monitoring.open_loop, day, inputs, judged, self.stopped_days(day, span))
        training = {when: {n: s for n, s in inputs[when].items() if n not in OUTPUTS} for when in training_days}
        return Reference(training, recent)

    def sketches_to_show(self, day: date, count: int = 6) -> dict[str, tuple[Sketch, list[Sketch]]]:
        """For the columns that moved most on a day: today's sketch and those of the healthy days behind it."""
        documents = self.documents("open_loop_report", day, self.lifecycle.monitoring.open_loop.reference_days)
        if day not in documents:
            return {}
        columns = documents[day]["columns"]
        today = {**self.inputs(day), **from_table(self._table("output_profile").read_day(day))}
        before = {when: said for when, said in documents.items() if when < day}
        recent = self.reference(day, documents[day]["model_version"], before).recent
        chosen = sorted((name for name in columns if name in today), key=lambda name: -columns[name]["size"])[:count]
        return {name: (today[name], [one[name] for one in recent.values() if name in one]) for name in chosen}

    def scores(self, day: date) -> np.ndarray:
        """The scores of a day."""
        return self._table("batch_predictions").read_day(day, ["score"])["score"].to_numpy()

    # What the closed loop and the policy look at.

    def days_scored_by(self, version: int, days: Sequence[date], *, labelled: bool = True) -> list[date]:
        """Which of the days a version scored, of those that have labels."""
        present = set(self._table("batch_predictions").days())
        if labelled:
            present &= set(self._table("labels").days())
        return sorted(day for day in days if day in present and self.version_on(day) == version)

    def unseen(self, version: int, days: Sequence[date]) -> list[date]:
        """Those of the days that a version did not learn from, unless there are none."""
        return [day for day in days if not self.has_learnt(version, day)] or list(days)

    def has_learnt(self, version: int, day: date) -> bool:
        """Whether a version was made from the labels of a day, or of later ones."""
        learnt = self.learnt_from(version)
        return learnt is not None and day <= learnt[1]

    def scored_and_labelled(self, days: Sequence[date]) -> pl.DataFrame:
        """Predictions of the days with their labels and `known_at`; events without a label are left out."""
        lifecycle = self.lifecycle
        labels = self._table("labels").read(days, [lifecycle.dataset.id, lifecycle.labels.column, "known_at"])
        scores = self._table("batch_predictions").read(days)
        return scores.join(labels, on=lifecycle.dataset.id, how="inner", maintain_order="left")

    def features(self, days: Sequence[date], names: Sequence[str]) -> pl.DataFrame:
        """The id and the named features of the days."""
        return self._table("features").read(days, [self.lifecycle.dataset.id, *names])

    def predicted(self, day: date) -> int:
        """How many events of the day were scored."""
        return self._table("batch_predictions").read_day(day, ["model_version"]).height

    def promised(self, version: int) -> dict[str, Any] | None:
        """The evaluation with which a version passed its gate: `metrics` and `intervals`."""
        found = self._documents("evaluation")
        for day in reversed(found.days()):
            document = found.read_document(day)
            if document["version"] == version:
                return {"metrics": document["metrics"], "intervals": document.get("intervals") or {}}
        return None

    def stopped_days(self, today: date, count: int) -> list[date]:
        """The days among the last `count` that quality stopped and nobody has mended."""
        reports = self.documents("quality_report", today, count)
        stopped = {day for day, report in reports.items() if not report["passed"]}
        return sorted(stopped.union(self._stopped_by_quarantine(today, count, reports)))

    def quality(self, today: date, count: int) -> dict[date, dict[str, Any]]:
        """The quality reports of the last `count` days. A day with too much in quarantine stops before its report is
        made, so that one is made of its tables."""
        reports = self.documents("quality_report", today, count)
        for day in self._stopped_by_quarantine(today, count, reports):
            reports[day] = report_from_quarantine(self.lifecycle, self.lake, day)
        return dict(sorted(reports.items()))

    def _stopped_by_quarantine(self, today: date, count: int, reports: Mapping[date, Mapping[str, Any]]) -> list[date]:
        days = [day for day in self._table("daily_metrics").days() if today - timedelta(days=count) < day <= today]
        with ThreadPoolExecutor(_READERS) as pool:
            stopped = pool.map(
                lambda day: is_stopped_by_quarantine(self.lifecycle, self.lake, day, reports.get(day)), days
            )
            return [day for day, is_stopped in zip(days, stopped, strict=True) if is_stopped]

    def labelled_days(self, version: int, last: date, table: str = "closed_loop_report") -> list[LabelledDay]:
        """The days up to `last` that a version scored without having learnt from them, labels in, oldest first."""
        metric = self.lifecycle.monitoring.retrain.metric
        reports = self.documents(table, last, _LABELLED_DAYS)
        own = {day: report for day, report in reports.items() if report["model_version"] == version}
        return [_labelled_day(day, own[day], metric) for day in self.unseen(version, sorted(own))]

    def estimated_days(self, version: int, last: date, table: str = "open_loop_report") -> list[EstimatedDay]:
        """What the open loop expected on the days up to `last` that a version scored, oldest first."""
        metric = self.lifecycle.monitoring.retrain.metric
        reports = self.documents(table, last, _LABELLED_DAYS)
        found = []
        for day, report in sorted(reports.items()):
            if report["model_version"] != version:
                continue
            said = report.get("estimated")
            found.append(
                EstimatedDay(
                    day,
                    list(report["alarmed"]),
                    list(report.get("outputs_alarmed", [])),
                    said["recent"]["metrics"].get(metric) if said else None,
                    said["calibrated_on"]["metrics"].get(metric) if said else None,
                )
            )
        return found

    def before(self, name: str, day: date) -> dict[str, Any] | None:
        """The newest of a stage's documents before a day."""
        found = self._documents(name)
        newest = max((when for when in found.days() if when < day), default=None)
        return None if newest is None else found.read_document(newest)

    def asked(self, today: date) -> date | None:
        """The newest day before today whose verdict asked for a model."""
        found = self.documents("retrain_decision", today - timedelta(days=1), _LABELLED_DAYS)
        return max((day for day, said in found.items() if said["verdict"] == "retrain"), default=None)

    def decision_shares(self, day: date) -> dict[str, float]:
        """The share of each decision on a day; empty where none were made."""
        if not self._table("decisions").has(day):
            return {}
        decided = self._table("decisions").read_day(day, ["decision"])["decision"]
        return {
            decision: count / len(decided) for decision, count in decided.value_counts().sort("decision").iter_rows()
        }


def _labelled_day(day: date, report: Mapping[str, Any], metric: str) -> LabelledDay:
    """A closed loop document as the policy sees it; what an older version did not write counts as not known."""
    window, recent = report.get("calibration_window") or {}, report["recent"]
    return LabelledDay(
        day,
        report["metrics"].get(metric),
        recent["metrics"].get(metric),
        recent["days"],
        _pair(recent["interval"]),
        (report["promised"] or {}).get(metric),
        window.get("ratio"),
        _pair(window.get("interval")),
        window.get("days", 0),
        _pair(report.get("promised_interval")),
    )


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return (bounds[0], bounds[1]) if bounds else None
