"""When labels come, as far as a file tells: after a delay, once a week, of one weekday only."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import read_declaration
from mdlc_assets.lifecycle import find_problems
from mdlc_assets.scaffold.days import instants
from mdlc_assets.scaffold.label_times import LabelTimes, label_times
from mdlc_assets.scaffold.look import look_at

_MONDAY = datetime(2024, 2, 5)
_DAYS, _A_DAY = 50, 12
_END = _MONDAY + timedelta(days=_DAYS)
_EIGHT = timedelta(days=8)


def _frame(label: Any, came: Any = None, *, called: str = "labelled_at") -> pl.DataFrame:
    """Events every two hours; `label` and `came` of an instant."""
    at = [_MONDAY + timedelta(hours=24 / _A_DAY) * i for i in range(_DAYS * _A_DAY)]
    table = {"at": at, "size": [i % 7 + 0.5 for i in range(len(at))], "bad": [label(when) for when in at]}
    if came:
        table[called] = [came(when) for when in at]
    return pl.DataFrame(table, infer_schema_length=None)


def _seen(frame: pl.DataFrame, zone: str = "UTC") -> LabelTimes:
    look = look_at(frame)
    return label_times(look, instants(frame, "at", zone), look.column("bad", "--label"), zone)


def _bad(when: datetime) -> int:
    return int(when.hour == 10)


def _monday_after(when: datetime) -> datetime:
    return (when + timedelta(days=7 - when.weekday())).replace(hour=6)


def _if_known(at: Any, value: Any) -> Any:
    return lambda when: value(when) if at(when) <= _END else None


def test_all_have_one() -> None:
    assert _seen(_frame(_bad)) == LabelTimes(timedelta(days=1))


@pytest.mark.parametrize("days", [3, 9])
def test_the_newest_have_none(days: int) -> None:
    last = _END - timedelta(days=days)
    assert _seen(_frame(lambda when: _bad(when) if when < last else None)) == LabelTimes(timedelta(days=days))


@pytest.mark.parametrize("weeks_back", [0, 1])
def test_labels_that_end_with_a_week_come_once_a_week(weeks_back: int) -> None:
    # The data end on a Tuesday.
    last = _monday_after(_END) - timedelta(days=7 * (weeks_back + 1), hours=6)
    assert last.isoweekday() == 1
    found = _seen(_frame(lambda when: _bad(when) if when < last else None))
    assert found == LabelTimes(max(_EIGHT, _END - last), weekly=True)


def test_a_week_is_that_of_the_zone_where_they_are_made() -> None:
    last = datetime(2024, 3, 18)
    frame = _frame(lambda when: _bad(when) if when < last else None)
    frame = frame.with_columns(pl.col("at").dt.replace_time_zone("Asia/Tokyo").dt.convert_time_zone("UTC"))
    assert _seen(frame, "Asia/Tokyo").weekly
    assert not _seen(frame, "America/New_York").weekly


@pytest.mark.parametrize("called", ["labelled_at", "reply"])
def test_a_column_that_says_when_they_came(called: str) -> None:
    came = _if_known(_monday_after, _monday_after)
    found = _seen(_frame(_if_known(_monday_after, _bad), came, called=called))
    assert found == LabelTimes(_EIGHT, weekly=True, column=called)


def test_a_column_that_says_so_day_by_day() -> None:
    def at(when: datetime) -> datetime:
        return when + timedelta(days=2, hours=5)

    found = _seen(_frame(_if_known(at, _bad), _if_known(at, at)))
    assert found == LabelTimes(timedelta(days=3), column="labelled_at")


def test_other_instants_say_nothing_of_labels() -> None:
    opened = _seen(_frame(_bad, lambda when: when + timedelta(days=2), called="delivery"))
    before = _seen(_frame(_bad, lambda when: when - timedelta(days=2)))
    assert opened == before == LabelTimes(timedelta(days=1))


def test_only_one_weekday_has_any() -> None:
    found = _seen(_frame(lambda when: _bad(when) if when.isoweekday() == 3 else None))
    assert found == LabelTimes(timedelta(days=1), weekly=True, one_weekday=True)


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDLC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MDLC_LIFECYCLES", raising=False)


def _new(frame: pl.DataFrame, *options: str) -> str:
    frame.write_csv("data.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    ran = CliRunner().invoke(main, ["new", "first", "--data", "data.csv", "--yes", *options])
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_weekly_labels_are_declared_and_their_instants_left_out() -> None:
    came = _if_known(_monday_after, _monday_after)
    said = _new(_frame(_if_known(_monday_after, _bad), came))
    assert "known once a week, all of them 8d later" in said
    assert "labelled_at says when labels came: it is left out of the events" in said
    found = read_declaration("lifecycles/first/defs.yaml")
    assert found.labels.delay == _EIGHT
    assert found.dataset.sources["files"].ignore == ["labelled_at"]
    assert "labelled_at" not in found.dataset.columns
    # What is said counts more than what is seen.
    Path("lifecycles/first/defs.yaml").unlink()
    _new(_frame(_if_known(_monday_after, _bad), came), "--label-delay", "2w")
    assert read_declaration("lifecycles/first/defs.yaml").labels.delay_days == 14


def test_columns_called_as_the_lake_calls_its_own() -> None:
    frame = _frame(_bad).with_columns(rule=pl.col("size") * 2, reason=pl.lit("a")).rename({"size": "Known At"})
    _new(frame, "--label", "bad")
    found = read_declaration("lifecycles/first/defs.yaml")
    assert find_problems(found) == []
    assert found.dataset.sources["files"].columns == {
        "known_at_": "Known At",
        "rule_": "rule",
        "reason_": "reason",
        "bad": "bad",
    }


def test_what_would_not_load_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    # As it would be if the platform took a name for itself that `mdlc new` does not know of.
    monkeypatch.setattr("mdlc_assets.sourcing.declared.RESERVED", ("size",))
    _frame(_bad).write_csv("data.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    ran = CliRunner().invoke(main, ["new", "first", "--data", "data.csv", "--label", "bad", "--yes"])
    assert ran.exit_code == 1
    assert "dataset.columns.size: the lake uses this name itself" in ran.stderr
    assert "Mend: name columns otherwise in the data." in ran.stderr
    assert not Path("lifecycles/first/defs.yaml").exists() and not Path("home/landing").exists()
