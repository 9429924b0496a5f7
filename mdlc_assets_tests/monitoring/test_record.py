"""What a day is compared with and what the policy sees, read from a real lake of Parquet and JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.record import Record
from mdlc_assets.monitoring.sketch import to_table
from mdlc_assets.quality.metrics import daily_metrics
from mdlc_assets.resources.lake import Lake

_FIRST = date(2018, 6, 1)
_DAYS = 24
_LEARNT, _SCORED = 10, 14


def _day(i: int) -> date:
    return _FIRST + timedelta(days=i)


@pytest.fixture
def record(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> Record:
    """24 days of features; version 1 learnt from the first ten and scored days 14 to 20, version 2 those after."""
    lake, name = Lake(root=str(tmp_path)), payments_fraud.name
    found = Record(payments_fraud, lake)
    for i in range(_DAYS):
        lake.table(name, "features").write_day(_day(i), _rows(payments_fraud, i))
        lake.documents(name, "quality_report").write_document(_day(i), {"passed": i != 16})
        if i >= _SCORED:
            scored = pl.DataFrame({"score": np.full(50, 0.1 * (i % 3)), "model_version": 1 if i < 21 else 2})
            lake.table(name, "batch_predictions").write_day(_day(i), scored)
            lake.table(name, "decisions").write_day(_day(i), pl.DataFrame({"decision": ["allow"] * 45 + ["block"] * 5}))
            lake.documents(name, "open_loop_report").write_document(_day(i), _opened(i))
    lake.documents(name, "candidate_model").write_document(_day(12), _candidate(1, _day(0), _day(_LEARNT - 1)))
    lake.documents(name, "candidate_model").write_document(_day(20), _candidate(2, _day(4), _day(17)))
    return found


def _rows(lifecycle: LifecycleDeclaration, i: int) -> pl.DataFrame:
    rng = np.random.default_rng(i)
    columns = {name: rng.random(50) for name in lifecycle.features.names()}
    time = datetime(2018, 6, 1, tzinfo=UTC) + timedelta(days=i)
    return pl.DataFrame({"transaction_id": np.arange(50) + 100 * i, "event_time": [time] * 50, **columns})


def _candidate(version: int, first: date, last: date) -> dict[str, Any]:
    return {"version": version, "mdlc.refit": f"{first} to {last}"}


def _opened(i: int) -> dict[str, Any]:
    marked = ["amount"] if i in {15, 22} else []
    return {"marked": marked, "alarmed": marked, "model_version": 1 if i < 21 else 2}


def _reference(record: Record, i: int):  # type: ignore[no-untyped-def]
    before = record.documents("open_loop_report", _day(i - 1), 28)
    for when in before:
        record.outputs(when)
    return record.reference(_day(i), record.version_on(_day(i)), before)


def test_marked_and_stopped_days_are_left_out(record: Record) -> None:
    found = _reference(record, 20)
    assert sorted(found.training) == [_day(i) for i in range(_LEARNT)]
    assert sorted(found.recent) == [*(_day(i) for i in range(_LEARNT)), _day(14), *(_day(i) for i in range(17, 20))]
    assert "score" not in found.recent[_day(0)]
    assert {"score", "decision", "amount"} <= set(found.recent[_day(14)])


def test_a_day_stopped_by_its_quarantine_counts_though_it_has_no_report(record: Record) -> None:
    lifecycle = record.lifecycle
    rows = _rows(lifecycle, 0).select("transaction_id", "event_time")
    metrics = record.lake.table(lifecycle.name, "daily_metrics")
    most = lifecycle.quality.max_quarantined
    # Of 50 rows that passed: none, far too many, and too many after the day asked for.
    for i, refused in ((22, 0), (24, 50), (25, 50)):
        metrics.write_day(_day(i), daily_metrics(lifecycle, rows, {"amount_positive": refused} if refused else {}))
    assert most < 50 / 100
    assert record.stopped_days(_day(24), 10) == [_day(16), _day(24)]
    metrics.write_day(_day(24), daily_metrics(lifecycle, rows, {}))
    assert record.stopped_days(_day(24), 10) == [_day(16)], "sent again and mended"


def test_a_report_of_another_file_does_not_let_a_day_pass(record: Record) -> None:
    lifecycle, day = record.lifecycle, _day(20)
    rows = _rows(lifecycle, 0).select("transaction_id", "event_time")
    reports = record.lake.documents(lifecycle.name, "quality_report")
    reports.write_document(day, {"passed": True, "rows": 50, "quarantined": 0})
    metrics = daily_metrics(lifecycle, rows, {"amount_positive": 50})
    record.lake.table(lifecycle.name, "daily_metrics").write_day(day, metrics)
    assert day in record.stopped_days(_day(23), 10)
    # The same rows were judged when more was allowed, and passed.
    reports.write_document(day, {"passed": True, "rows": 50, "quarantined": 50})
    assert day not in record.stopped_days(_day(23), 10)


def test_a_new_version_is_compared_with_what_it_learnt_from(record: Record) -> None:
    found = _reference(record, 23)
    assert sorted(found.training) == [_day(i) for i in range(4, 18)]
    assert _day(15) in found.recent, "marked under version 1, but version 2 learnt from it"
    assert _day(16) not in found.recent, "quality stopped it"
    assert _day(22) not in found.recent, "marked under version 2"
    assert [when for when, one in found.recent.items() if "score" in one] == [_day(21)]


def test_stored_sketches_are_used_and_missing_ones_made(record: Record) -> None:
    made = record.inputs(_day(3))
    rows = record.lake.table(record.lifecycle.name, "features").read_day(_day(3))
    assert made["amount"].mean == pytest.approx(rows["amount"].mean())
    record.lake.table(record.lifecycle.name, "drift_profile").write_day(_day(3), to_table({"amount": made["amount"]}))
    assert list(record.inputs(_day(3))) == ["amount"]


def test_days_that_a_version_learnt_from_do_not_judge_it(record: Record) -> None:
    closed = record.lake.documents(record.lifecycle.name, "closed_loop_report")
    for i in range(15, 21):
        recent = {"metrics": {"average_precision": 0.5}, "days": 3, "interval": None}
        report = {"model_version": 2, "metrics": {"average_precision": 0.1 * i}, "promised": None, "recent": recent}
        closed.write_document(_day(i), report)
    assert [day.day for day in record.labelled_days(2, _day(20))] == [_day(18), _day(19), _day(20)]
    assert record.labelled_days(1, _day(20)) == []


def test_the_model_of_a_day_that_was_not_scored_is_the_last_one(record: Record) -> None:
    assert record.model_on(_day(40))["version"] == 2
    assert record.model_on(_day(20))["version"] == 1
    assert record.model_on(_day(0))["version"] == 0


def test_trainings_and_requests(record: Record) -> None:
    name = record.lifecycle.name
    record.lake.documents(name, "evaluation").write_document(_day(20), {"passed": False})
    assert [(one.day, one.passed) for one in record.trainings(_day(23))] == [(_day(12), None), (_day(20), False)]
    assert [one.day for one in record.trainings(_day(20))] == [_day(12)]
    for i, verdict in ((18, "retrain"), (19, "wait"), (21, "retrain")):
        record.lake.documents(name, "retrain_decision").write_document(_day(i), {"verdict": verdict})
    assert record.asked(_day(21)) == _day(18)
    assert record.asked(_day(22)) == _day(21)
