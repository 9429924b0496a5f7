"""Where people who were new to it stumbled: each is a shape of data from another package, made small."""

from __future__ import annotations

import json
import math
import runpy
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from mdlc_assets.cli import main
from mdlc_assets.declaration import read_declaration
from mdlc_assets.lifecycle import find_problems

_TODAY = datetime.now(UTC).date()


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDLC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MDLC_LIFECYCLES", str(tmp_path / "lifecycles"))


def _hours(tmp_path: Path, last: date, *, days: int = 30, lost: Sequence[int] = ()) -> Path:
    """A sensor's hourly readings up to `last`, of which `lost` days have one row only."""
    first = datetime.combine(last, datetime.min.time(), UTC) - timedelta(days=days - 1)
    hours = [hour for hour in range(days * 24) if hour // 24 not in lost or hour % 24 == 5]
    table = {
        "Time": [(first + timedelta(hours=hour)).isoformat() for hour in hours],
        "Flow [l/s]": [60 + 9 * math.sin(hour / 24 * math.tau) + hour % 7 / 3 for hour in hours],
    }
    pl.DataFrame(table).write_csv(tmp_path / "flow.csv")
    return tmp_path / "flow.csv"


def _mdlc(*command: str) -> Result:
    return CliRunner().invoke(main, list(command))


def _new(tmp_path: Path, data: Path, *options: str) -> Result:
    return _mdlc("new", "flow", "--data", str(data), "--into", str(tmp_path / "lifecycles"), *options, "--yes")


def _written(tmp_path: Path) -> Path:
    return tmp_path / "lifecycles" / "flow" / "defs.yaml"


def test_the_only_number_is_foretold_from_its_own_past(tmp_path: Path) -> None:
    ran = _new(tmp_path, _hours(tmp_path, _TODAY), "--number")
    assert ran.exit_code == 0, ran.output
    assert "all rows are one series" in ran.output
    found = read_declaration(_written(tmp_path))
    assert find_problems(found) == []
    assert found.description == "Foretells Flow [l/s]."
    assert found.dataset.sources["files"].constants == {"series": "flow"}
    assert {"series_mean_flow_l_s_1d", "series_mean_flow_l_s_28d"} <= set(found.features.names())
    assert found.model.entity == found.dataset.id, "rows of one series are judged by themselves"
    assert found.model.windows.test_days == 7
    assert len(_written(tmp_path).read_text().splitlines()) < 40


def test_of_several_numbers_one_is_named(tmp_path: Path) -> None:
    data = _hours(tmp_path, _TODAY)
    pl.read_csv(data).with_columns(pressure=pl.col("Flow [l/s]") * 2).write_csv(data)
    ran = _new(tmp_path, data, "--number")
    assert ran.exit_code == 1
    assert "Mend: add --label and one of Flow [l/s], pressure." in ran.output
    pl.read_csv(data).select("Time").write_csv(data)
    assert "--number: no column holds numbers. Mend: leave it out" in _new(tmp_path, data, "--number").output


@pytest.mark.parametrize("days_ago", [3, 400])
def test_data_that_ended_long_ago_end(tmp_path: Path, days_ago: int) -> None:
    last = _TODAY - timedelta(days=days_ago)
    ran = _new(tmp_path, _hours(tmp_path, last), "--anomalies")
    assert ran.exit_code == 0, ran.output
    ended = days_ago > 30
    assert read_declaration(_written(tmp_path)).dataset.end == (last if ended else None)
    assert (f"no rows after {last}: dataset.end says so" in ran.output) == ended

    later = _hours(tmp_path, last + timedelta(days=2), days=2)
    ran = _mdlc("land", "flow", str(later))
    assert ran.exit_code == 0, ran.output
    assert (f"dataset.end: 2 of these days are after it and do not run (found {last}). Mend:" in ran.output) == ended


def test_days_after_the_end_are_not_run(tmp_path: Path) -> None:
    last = _TODAY - timedelta(days=400)
    assert _new(tmp_path, _hours(tmp_path, last), "--anomalies").exit_code == 0
    landing = tmp_path / "home" / "landing" / "flow" / "transactions"
    for path in landing.iterdir():
        path.unlink()
    assert _mdlc("land", "flow", str(_hours(tmp_path, last + timedelta(days=1), days=2))).exit_code == 0
    ran = _mdlc("run", "flow", "history", "--json")
    assert ran.exit_code == 0, ran.output
    (history,) = json.loads(ran.stdout)
    assert (history["first"], history["last"]) == (str(last), str(last))


@pytest.mark.parametrize("lost", [(), (19,)])
def test_a_rule_that_the_data_break_only_warns(tmp_path: Path, lost: Sequence[int]) -> None:
    ran = _new(tmp_path, _hours(tmp_path, _TODAY, lost=lost), "--anomalies")
    assert ran.exit_code == 0, ran.output
    volume = read_declaration(_written(tmp_path)).quality.volume
    assert volume.severity == ("warn" if lost else "stop")
    assert ("not all of these days keep quality.volume" in ran.output) == bool(lost)


def test_an_index_without_name_is_the_time(tmp_path: Path) -> None:
    data = _hours(tmp_path, _TODAY)
    pl.read_csv(data).rename({"Time": ""}).write_csv(data)
    ran = _new(tmp_path, data, "--anomalies")
    assert ran.exit_code == 0, ran.output
    assert find_problems(read_declaration(_written(tmp_path))) == []


def test_who_approves_is_asked_where_the_system_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER", raising=False)
    ran = _new(tmp_path, _hours(tmp_path, _TODAY), "--anomalies")
    assert "mdlc approve 1 --lifecycle flow --approver me@example.com --reason" in ran.output


@pytest.mark.slow
def test_training_says_what_the_gate_said(tmp_path: Path) -> None:
    assert _new(tmp_path, _hours(tmp_path, _TODAY, days=18), "--anomalies").exit_code == 0
    ran = _mdlc("run", "flow", "history", "train")
    assert ran.exit_code == 0, ran.output
    assert "version 1, gate: " in ran.output and "not judged" not in ran.output
    assert f"to {_TODAY - timedelta(days=1)}" in ran.output, "today is not over"
    ran = _mdlc("run", "flow", "history", "--day", str(_TODAY))
    assert ran.exit_code == 1
    assert f"{_TODAY}: this day is not over (UTC). Mend: choose --last" in ran.output


@pytest.mark.slow
def test_the_written_test_of_a_forecast_holds(tmp_path: Path) -> None:
    assert _new(tmp_path, _hours(tmp_path, _TODAY), "--number").exit_code == 0
    written = runpy.run_path(str(_written(tmp_path).parent / "test_flow.py"))
    written["test_good_days_become_features"]()


def test_numbers_that_count_the_rows_are_the_id(tmp_path: Path) -> None:
    """A column called `visit` that runs from 1 is no feature: it drifts by nature."""
    first = datetime.combine(_TODAY, datetime.min.time(), UTC) - timedelta(days=30)
    rows = range(30 * 40)
    table = {
        "visit": [row + 1 for row in rows],
        "began": [(first + timedelta(minutes=36 * row)).isoformat() for row in rows],
        "minutes": [20 + row * 7 % 13 for row in rows],
        "bought": [int(row * 7 % 13 > 6) for row in rows],
    }
    pl.DataFrame(table).write_csv(tmp_path / "visits.csv")
    ran = _new(tmp_path, tmp_path / "visits.csv")
    assert ran.exit_code == 0, ran.output
    found = read_declaration(_written(tmp_path))
    assert found.dataset.id == "visit"
    assert not any("visit" in name for name in found.features.names())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--label-delay", "7"),
            "'7' is not a duration. Mend: write a whole number and a unit: 90s, 15m, 1h, 7d or 2w.",
        ),
        (("--zone", "Europe/Brusels"), "there is no zone 'Europe/Brusels'. Mend: write 'Europe/Brussels'"),
        (("--days", "0"), "0 is not in the range x>=1"),
    ],
)
def test_options_that_cannot_be_read(tmp_path: Path, options: tuple[str, str], said: str) -> None:
    ran = _new(tmp_path, _hours(tmp_path, _TODAY), *options)
    assert ran.exit_code == 2
    assert f"Invalid value for '{options[0]}': {said}" in ran.stderr


def test_answers_that_cannot_be_read_are_asked_again(tmp_path: Path) -> None:
    data = _hours(tmp_path, _TODAY)
    rows = pl.read_csv(data).with_columns(pl.col("Time").str.replace(r"\+00:00$", ""), late=pl.int_range(pl.len()) % 2)
    rows.write_csv(data)
    command = ["new", "flow", "--data", str(data), "--into", str(tmp_path / "lifecycles")]
    ran = CliRunner().invoke(main, command, input="\nCET+1\nAsia/Tokyo\n\n-\n-\nsoon\n2w\n")
    assert ran.exit_code == 0, ran.output
    assert "there is no zone 'CET+1'" in ran.output and "'soon' is not a duration" in ran.output
    found = read_declaration(_written(tmp_path))
    assert found.dataset.sources["files"].time_zone == "Asia/Tokyo"
    assert found.labels.delay == timedelta(days=14)


def test_a_line_with_more_cells_than_columns_is_named(tmp_path: Path) -> None:
    data = tmp_path / "notes.csv"
    data.write_text("at,note,bad\n2024-03-01,fine,0\n2024-03-02,late, again,1\n")
    ran = _new(tmp_path, data)
    assert ran.exit_code == 1
    assert "notes.csv: line 3: it has 4 cells, and the header names 3 columns. Mend: put text that holds" in ran.stderr
