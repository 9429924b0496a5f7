"""What `mdlc new` makes of data of many shapes, none of them payments."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from mdlc_assets.cli import main
from mdlc_assets.declaration import read_declaration
from mdlc_assets.lifecycle import find_problems

_START = datetime(2024, 3, 1, tzinfo=UTC)
_DAYS, _A_DAY = 40, 30


def _rows(make: Callable[[int, datetime], dict[str, Any]]) -> list[dict[str, Any]]:
    return [make(i, _START + timedelta(days=i // _A_DAY, minutes=45 * (i % _A_DAY))) for i in range(_DAYS * _A_DAY)]


def _machines(i: int, at: datetime) -> dict[str, Any]:
    return {
        "Reading No": f"R-{i:05}",
        "Measured At": at.strftime("%Y-%m-%d %H:%M:%S"),
        "Machine": f"press-{i % 13}",
        "Temp (°C)": 60 + (i * 7 % 23) / 2,
        "order": i % 5,
        "Shift": ("early", "late", "night")[i % 3],
        "Failed": "True" if i % 9 == 0 else "False",
    }


def _clicks(i: int, at: datetime) -> dict[str, Any]:
    late = i >= (_DAYS - 14) * _A_DAY
    return {
        "ts": at.isoformat(),
        "visitor_id": i % 50,
        "pages": None if i % 40 == 0 else i % 11,
        "mobile": i % 2 == 0,
        "bought": None if late else int(i % 6 == 0),
    }


def _bare(i: int, at: datetime) -> dict[str, Any]:
    return {"day": at.date(), "height": float(i % 17), "width": i % 4, "grade": ("good", "fair", "poor")[i % 3]}


def _new(tmp_path: Path, data: Path, *options: str) -> Result:
    into = tmp_path / "lifecycles"
    home = ["--home", str(tmp_path / "home")]
    return CliRunner().invoke(main, [*home, "new", "first", "--data", str(data), "--into", str(into), *options])


def _written(tmp_path: Path) -> Path:
    return tmp_path / "lifecycles" / "first" / "defs.yaml"


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDLC_HOME", str(tmp_path / "home"))


def test_text_ids_zones_entities_and_words_as_labels(tmp_path: Path) -> None:
    data = tmp_path / "machines.csv"
    pl.DataFrame(_rows(_machines)).write_csv(data)
    ran = _new(tmp_path, data, "--zone", "Europe/Brussels", "--yes")
    assert ran.exit_code == 0, ran.output
    found = read_declaration(_written(tmp_path))
    assert find_problems(found) == []
    assert (found.dataset.id, found.dataset.time) == ("reading_no", "measured_at")
    assert found.model.entity == "machine"
    assert (found.labels.column, found.labels.positive_values) == ("failed", ["true"])
    assert found.dataset.sources["files"].time_zone == "Europe/Brussels"
    assert found.dataset.columns["shift"].allowed == ["early", "late", "night"]
    assert {"temp_c", "order", "shift_late", "machine_events_7d", "hour"} <= set(found.features.names())
    assert "became no feature" not in ran.output, "id and entity are none, and need none"
    assert "1 rows have no instant" in ran.output, "02:15 is not there when the clocks go forward"
    # The first readings were made before midnight UTC: they belong to the day before.
    landed = sorted(path.stem for path in (tmp_path / "home" / "landing" / "first" / "transactions").iterdir())
    assert (landed[0], len(landed)) == ("2024-02-29", _DAYS + 1)


def test_json_lines_with_zones_nulls_and_labels_that_come_later(tmp_path: Path) -> None:
    data = tmp_path / "clicks.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in _rows(_clicks)))
    ran = _new(tmp_path, data, "--yes")
    assert ran.exit_code == 0, ran.output
    found = read_declaration(_written(tmp_path))
    assert find_problems(found) == []
    assert (found.labels.column, found.labels.delay) == ("bought", timedelta(days=14))
    assert found.model.entity == "visitor_id"
    assert found.dataset.columns["pages"].nullable
    assert found.features.rows["pages"] == "coalesce(pages, 0)"
    assert found.dataset.id == "row_id"
    assert "a digest of the row is the id" in ran.output


def test_a_folder_of_parquet_without_id_or_entity(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = pl.DataFrame(_rows(_bare))
    rows.head(400).write_parquet(folder / "a.parquet")
    rows.tail(-400).write_parquet(folder / "b.parquet")
    ran = _new(tmp_path, folder, "--label", "grade", "--positive", "poor", "--json")
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)
    assert len(said["days"]) == _DAYS
    assert len(said["next"]) == 3
    found = read_declaration(said["declaration"])
    assert find_problems(found) == []
    assert found.model.entity == found.dataset.id == "row_id"
    assert "hour" not in found.features.names(), "a date has no hour"


def test_what_is_not_certain_is_asked(tmp_path: Path) -> None:
    data = tmp_path / "bare.csv"
    pl.DataFrame(_rows(_bare)).write_csv(data)
    into = str(tmp_path / "lifecycles")
    answers = "\nAmerica/New_York\ngrade\npoor\n-\n-\n3d\n"
    ran = CliRunner().invoke(main, ["new", "first", "--data", str(data), "--into", into], input=answers)
    assert ran.exit_code == 0, ran.output
    found = read_declaration(_written(tmp_path))
    assert found.dataset.sources["files"].time_zone == "America/New_York"
    assert (found.labels.positive_values, found.labels.delay) == (["poor"], timedelta(days=3))


def test_it_is_short_and_names_the_schema_that_lies_beside(tmp_path: Path) -> None:
    data = tmp_path / "machines.csv"
    pl.DataFrame(_rows(_machines)).write_csv(data)
    assert _new(tmp_path, data, "--yes").exit_code == 0
    text = _written(tmp_path).read_text()
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines()[2:])) <= 120
    named = text.splitlines()[0].split("$schema=")[1]
    assert (_written(tmp_path).parent / named).exists()
    assert yaml.safe_load(text)["type"] == "mdlc_assets.ModelLifecycle"


def test_days_are_taken_on_end_and_the_others_are_named(tmp_path: Path) -> None:
    gap = {(_START + timedelta(days=i)).date() for i in range(5, 14)}
    data = tmp_path / "gap.csv"
    pl.DataFrame([row for row in _rows(_bare) if row["day"] not in gap]).write_csv(data)
    ran = _new(tmp_path, data, "--label", "grade", "--positive", "poor", "--yes")
    assert ran.exit_code == 0, ran.output
    assert "5 other days are left out" in ran.output
    found = read_declaration(_written(tmp_path)).dataset
    assert (found.start, found.quiet_days) == ((_START + timedelta(days=14)).date(), False)


def test_weekends_without_rows_are_quiet_days(tmp_path: Path) -> None:
    data = tmp_path / "weekdays.csv"
    pl.DataFrame([row for row in _rows(_bare) if row["day"].weekday() < 5]).write_csv(data)
    ran = _new(tmp_path, data, "--label", "grade", "--positive", "poor", "--yes")
    assert ran.exit_code == 0, ran.output
    assert "count as days without events (quiet_days)" in ran.output
    found = read_declaration(_written(tmp_path)).dataset
    assert (found.start, found.quiet_days) == (_START.date(), True)


@pytest.mark.parametrize("known_later", [False, True])
def test_a_number_to_be_foretold(tmp_path: Path, known_later: bool) -> None:
    data = tmp_path / "machines.csv"
    pl.DataFrame(_rows(_machines)).write_csv(data)
    delay = ("--label-delay", "7d") if known_later else ()
    ran = _new(tmp_path, data, "--label", "Temp (°C)", "--number", "--yes", *delay)
    assert ran.exit_code == 0, ran.output
    found = read_declaration(_written(tmp_path))
    assert find_problems(found) == []
    assert (found.labels.kind, found.model.algorithm) == ("number", "xgboost_regression")
    assert found.model.gate.floors == {"r2": 0} and found.model.gate.compare_by == "r2"
    assert found.labels.column not in found.features.rows
    # The machine's own past is there, from when it is known, and therefore no endpoint.
    (past,) = [window for window in found.features.windows if found.labels.column in str(window.aggregate)]
    assert past.entity == "machine" and past.delay > found.labels.delay
    assert found.deployment.real_time is None
    assert found.decisions.rules[0].when == "score >= 70.0"


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, ("--label", "grade", "--number"), "--number grade: the label is no quantity. Mend:"),
        ({"day": "31/12/2024"}, (), "day: day and month cannot be told apart. Mend: write the dates as 2024-12-31"),
        ({"day": "soon"}, (), "--time: no column holds instants. Mend:"),
        ({}, (), "--label: no column has two values"),
        ({}, ("--label", "grade"), "counts as 1. Mend: add --positive VALUE, for instance --positive 'fair'"),
        ({}, ("--label", "grades"), "--label grades: the data have no such column. Mend: use one of day, height"),
        ({}, ("--label", "grade", "--positive", "bad"), "--positive bad: no row has it in grade. Mend:"),
        ({}, ("--label", "grade", "--positive", "poor", "--time", "width"), "--time width: 1200 of 1200 rows have no"),
        ({}, ("--label", "grade", "--positive", "poor", "--days", "6"), "are too few"),
    ],
)
def test_data_that_cannot_be_started_from(
    tmp_path: Path, change: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    data = tmp_path / "bare.csv"
    pl.DataFrame([{**row, **change} for row in _rows(_bare)]).write_csv(data)
    ran = _new(tmp_path, data, "--yes", *options)
    assert ran.exit_code == 1
    assert said in ran.output
    assert "Mend: " in ran.output
    assert not _written(tmp_path).exists()


def test_a_lifecycle_that_is_there_is_left_alone(tmp_path: Path) -> None:
    _written(tmp_path).parent.mkdir(parents=True)
    _written(tmp_path).write_text("mine")
    ran = _new(tmp_path, tmp_path / "none.csv", "--yes")
    assert ran.exit_code == 1
    assert "is there already. Mend:" in ran.output
    assert _written(tmp_path).read_text() == "mine"


def test_more_days_land_in_their_own_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, later = tmp_path / "first.csv", tmp_path / "later.csv"
    rows = pl.DataFrame(_rows(_machines))
    rows.head(36 * _A_DAY).write_csv(first)
    rows.tail(4 * _A_DAY).write_csv(later)
    assert _new(tmp_path, first, "--zone", "Europe/Brussels", "--yes").exit_code == 0
    monkeypatch.setenv("MDLC_LIFECYCLES", str(tmp_path / "lifecycles"))
    folder = tmp_path / "home" / "landing" / "first" / "transactions"
    there = {path.name for path in folder.iterdir()}

    ran = CliRunner().invoke(main, ["land", "first", str(later)])
    assert ran.exit_code == 1, "the first hours of these days belong to the last day that is there"
    assert "1 of these days are there already, the first 2024-04-05. Mend: --add puts the rows beside" in ran.output
    assert {path.name for path in folder.iterdir()} == there

    ran = CliRunner().invoke(main, ["land", "first", str(later), "--add"])
    assert ran.exit_code == 0, ran.output
    assert "120 rows on 5 days, 2024-04-05 to 2024-04-09" in ran.output
    more = {path.name for path in folder.iterdir()} - there
    assert more == {"2024-04-05_2.parquet", *(f"2024-04-0{day}.parquet" for day in range(6, 10))}

    ran = CliRunner().invoke(main, ["land", "first", str(later), "--replace"])
    assert "2024-04-05_2.parquet: the day has 1 files of other names, which would stay. Mend: move" in ran.output
    (folder / "2024-04-05_2.parquet").unlink()
    ran = CliRunner().invoke(main, ["land", "first", str(later), "--replace"])
    assert ran.exit_code == 0, ran.output
    assert pl.read_parquet(folder / "2024-04-05.parquet").height < _A_DAY


def test_rows_with_other_columns_do_not_land(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, other = tmp_path / "machines.csv", tmp_path / "other.csv"
    rows = pl.DataFrame(_rows(_machines))
    rows.write_csv(data)
    rows.rename({"Machine": "Maschine"}).write_csv(other)
    assert _new(tmp_path, data, "--yes").exit_code == 0
    monkeypatch.setenv("MDLC_LIFECYCLES", str(tmp_path / "lifecycles"))
    ran = CliRunner().invoke(main, ["land", "first", str(other)])
    assert ran.exit_code == 1
    assert "column Machine is missing (source files). Mend: send the file again with Machine" in ran.output
