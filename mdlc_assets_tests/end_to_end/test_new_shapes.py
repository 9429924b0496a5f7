"""Small files of awkward shapes, each by the commands that `mdlc new` prints: history, training, scores, monitoring."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home

_A_DAY = 16


def _strength(i: int) -> float:
    """What the label follows from, so that there is something to learn."""
    return (i * 7_919 % 97) / 97


def _monday_after(at: datetime) -> datetime:
    return (at + timedelta(days=7 - at.weekday())).replace(hour=6, minute=0, second=0)


def _weekly(i: int, at: datetime, end: datetime) -> dict[str, Any]:
    """Orders; on Mondays somebody writes down which of the week before came back."""
    monday = _monday_after(at)
    known = monday < end
    return {
        "order_id": i,
        "ordered_at": at,
        "customer_id": i % 23,
        "basket": 100 * _strength(i),
        "returned": int(_strength(i) > 0.7) if known else None,
        "labelled_at": monday if known else None,
    }


def _on_sundays(i: int, at: datetime, _: datetime) -> dict[str, Any]:
    """Readings of machines that are inspected on Sundays only."""
    worn = int(_strength(i) > 0.7) if at.isoweekday() == 7 else None
    return {"reading_id": i, "read_at": at, "machine": f"press-{i % 11}", "heat": 60 + _strength(i), "worn": worn}


def _texts(i: int, at: datetime, _: datetime) -> dict[str, Any]:
    bad = "yes" if _strength(i) > 0.7 else "no"
    return {
        "Ticket": f"T-{i:05}",
        "Opened": at,
        "Agent": f"{'abcdefghijkl'[i % 12]}x",
        "Words": i % 7,
        "Escalated": bad,
    } | {"Length": round(500 * _strength(i))}


def _nobody(i: int, at: datetime, _: datetime) -> dict[str, Any]:
    return {"at": at, "height": _strength(i), "width": i % 5, "broken": int(_strength(i) > 0.7)}


def _local(zone: str) -> Callable[[int, datetime, datetime], dict[str, Any]]:
    def make(i: int, at: datetime, _: datetime) -> dict[str, Any]:
        local = at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return {"when": local, "line_id": i % 13, "load": 50 * _strength(i), "late": int(_strength(i) > 0.7)}

    return make


@dataclass(frozen=True)
class Shape:
    """A file, what has to be said of it, and what of its declaration has to hold."""

    make: Callable[[int, datetime, datetime], dict[str, Any]]
    days: int
    declared: Callable[[LifecycleDeclaration], bool]
    first: datetime = datetime(2024, 2, 5)
    options: str = ""
    zone: str = "UTC"


_SHAPES = {
    "labels once a week": Shape(
        _weekly,
        31,
        lambda d: d.labels.delay_days == 8 and d.dataset.sources["files"].ignore == ["labelled_at"],
    ),
    "labels of Sundays only": Shape(
        _on_sundays,
        49,
        lambda d: d.model.windows.test_days % 7 == 0,
        first=datetime(2024, 1, 1),
        options="--label worn",
    ),
    "ids that are text": Shape(
        _texts,
        18,
        lambda d: d.dataset.columns["ticket"].type == "string" and d.labels.positive_values == ["yes"],
    ),
    "nobody's events": Shape(_nobody, 18, lambda d: d.dataset.id == d.model.entity == "row_id"),
    "clocks that go forward": Shape(
        _local("Europe/Brussels"),
        18,
        lambda d: d.dataset.sources["files"].time_zone == "Europe/Brussels",
        first=datetime(2024, 3, 22),
        options="--zone Europe/Brussels",
        zone="Europe/Brussels",
    ),
    "clocks that go back": Shape(
        _local("America/New_York"),
        18,
        lambda d: d.model.entity == "line_id",
        first=datetime(2024, 10, 25),
        options="--zone America/New_York",
        zone="America/New_York",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", _SHAPES.values(), ids=_SHAPES)
def test_from_a_file_to_a_monitored_model(shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MDLC_HOME", "MDLC_LIFECYCLES"):
        monkeypatch.delenv(name, raising=False)
    end = shape.first + timedelta(days=shape.days)
    step = timedelta(days=1) / _A_DAY
    made = pl.DataFrame(
        [shape.make(i, shape.first + step * i, end) for i in range(shape.days * _A_DAY)], infer_schema_length=None
    )
    made.write_csv("data.csv", datetime_format="%Y-%m-%d %H:%M:%S")

    said = _mdlc(f"mdlc new first --data data.csv --yes {shape.options}")
    declared = read_declaration(Path("lifecycles/first/defs.yaml"))
    assert shape.declared(declared), Path("lifecycles/first/defs.yaml").read_text()
    train, approve, live = (line.strip() for line in said.split("Next:")[1].strip().splitlines())
    assert _mdlc(train).count("done") == 3
    assert "is the champion" in _mdlc(f"{approve} --approver ann@example.com")
    # A page for each day takes seconds: the first of those that are proposed has labels in every shape.
    day = date.fromisoformat(live.split("--first ")[1].split()[0])
    assert _mdlc(f"mdlc run first batch_inference monitor --day {day}").count("done") == 2

    lake = embedded_resources(Home())["lake"]
    table = lake.table("first", "validated")
    assert table.read(table.days()).height == made.height, "each row of the file is an event of one UTC day"
    assert lake.table("first", "quarantine").read(table.days()).is_empty()
    scored = lake.table("first", "batch_predictions").read_day(day)
    assert scored.height == _A_DAY and scored["score"].is_between(0, 1).all()
    assert lake.documents("first", "closed_loop_report").read_document(day)["rows"] == _A_DAY


def _mdlc(line: str) -> str:
    ran = CliRunner().invoke(main, shlex.split(line)[1:])
    assert ran.exit_code == 0, f"{line}\n{ran.output}{ran.exception!r}"
    return ran.output
