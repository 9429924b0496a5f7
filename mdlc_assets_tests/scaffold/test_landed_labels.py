"""`mdlc land --feed labels`: a week's labels in a file of their own go to the days of their events."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from mdlc_assets.cli import main
from mdlc_assets.declaration import read_declaration
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home
from mdlc_assets.sourcing.days import labels_day
from mdlc_assets_tests.conftest import SHIPPED

_FIRST = date(2018, 4, 2)
_KNOWN = datetime(2018, 4, 9, 6, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDLC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MDLC_LIFECYCLES", str(tmp_path))


def _events(day: date) -> pl.DataFrame:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    ids = range(day.day * 100, day.day * 100 + 4)
    return pl.DataFrame({"transaction_id": ids, "event_time": [start + timedelta(hours=i) for i in range(4)]})


def _days() -> list[date]:
    return [_FIRST + timedelta(days=i) for i in range(7)]


def _bring_in_events() -> None:
    table = embedded_resources(Home())["lake"].table("payments_fraud", "validated")
    for day in _days():
        table.write_day(day, _events(day))


def _land(tmp_path: Path, rows: pl.DataFrame, *options: str) -> Result:
    rows.write_csv(tmp_path / "week.csv")
    return CliRunner().invoke(
        main, ["land", "payments_fraud", str(tmp_path / "week.csv"), "--feed", "labels", *options]
    )


def _week() -> pl.DataFrame:
    events = pl.concat([_events(day) for day in _days()])
    return events.with_columns(is_fraud=pl.int_range(pl.len()) % 2, known_at=pl.lit(_KNOWN))


def _landed(day: date) -> pl.DataFrame:
    """What the asset `labels` makes of what landed."""
    path = Home().landing / "payments_fraud" / "labels" / f"{day}.parquet"
    declaration = read_declaration(SHIPPED / "payments_fraud" / "defs.yaml")
    return labels_day(declaration, day, [], lambda _: b"", [path.name], lambda _: path.read_bytes()).frame


@pytest.mark.parametrize("by_time", [True, False])
def test_each_label_goes_to_the_day_of_its_event(tmp_path: Path, by_time: bool) -> None:
    if not by_time:
        _bring_in_events()
    rows = _week() if by_time else _week().drop("event_time")
    ran = _land(tmp_path, rows)
    assert ran.exit_code == 0, ran.output
    assert "28 rows on 7 days, 2018-04-02 to 2018-04-08" in ran.output
    for day in _days():
        found = _landed(day)
        assert found["transaction_id"].to_list() == _events(day)["transaction_id"].to_list()
        assert found["known_at"].unique().to_list() == [_KNOWN]


def test_labels_of_events_that_are_not_there_are_counted(tmp_path: Path) -> None:
    _bring_in_events()
    rows = _week().drop("event_time").with_columns(pl.col("transaction_id").replace(200, 999))
    ran = _land(tmp_path, rows)
    assert ran.exit_code == 0, ran.output
    assert "27 rows on 7 days" in ran.output and "1 without event or instant are left out" in ran.output
    assert _land(tmp_path, rows).exit_code == 1, "they are there"
    assert _land(tmp_path, rows, "--replace").exit_code == 0


def test_labels_that_cannot_land(tmp_path: Path) -> None:
    ran = _land(tmp_path, _week().drop("event_time"))
    assert ran.exit_code == 1
    assert "transaction_id: none of the 28 labels is of an event that is there. Mend: `mdlc run payments" in ran.stderr
    ran = _land(tmp_path, _week().drop("known_at"))
    assert ran.exit_code == 1
    assert "column known_at is missing (source canonical). Mend: send the file again with known_at" in ran.stderr
    assert not (Home().landing / "payments_fraud" / "labels").exists()
