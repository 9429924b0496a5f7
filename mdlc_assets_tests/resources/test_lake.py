"""The lake in a folder and on S3: whole writes, same rows same bytes, errors that name the mend."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mdlc_assets.resources.lake import DayAbsentError, Lake

_FIRST, _SECOND, _THIRD = date(2018, 4, 1), date(2018, 4, 2), date(2018, 4, 3)


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    root = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3_root")
    return Lake(root=root)


def _rows(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"id": values, "name": [f"n{value}" for value in values]})


def test_what_is_written_is_read(lake: Lake) -> None:
    table = lake.table("payments", "raw")
    written = table.write_day(_FIRST, _rows(1, 2))
    table.write_day(_SECOND, _rows(3))
    assert written.rows == 2
    assert table.days() == [_FIRST, _SECOND]
    assert table.has(_SECOND)
    assert not table.has(_THIRD)
    assert table.read_day(_FIRST).equals(_rows(1, 2))
    assert table.read([_SECOND, _FIRST], ["id"])["id"].to_list() == [1, 2, 3]
    assert lake.table("payments", "ra").days() == []


def test_the_same_rows_give_the_same_bytes(lake: Lake) -> None:
    table = lake.table("payments", "raw")
    first = table.write_day(_FIRST, _rows(1, 2))
    assert table.write_day(_FIRST, _rows(1, 2)) == first
    digest = table.digest([_FIRST])
    table.write_day(_FIRST, _rows(2, 1))
    assert table.digest([_FIRST]) != digest


def test_absent_days_are_all_named(lake: Lake) -> None:
    table = lake.table("payments", "raw")
    with pytest.raises(DayAbsentError, match=r"payments/raw has no data for 2018-04-01\. Mend: materialise"):
        table.read_day(_FIRST)
    table.write_day(_FIRST, _rows(1))
    with pytest.raises(DayAbsentError, match="2018-04-02 and 1 more, to 2018-04-03"):
        table.read([_FIRST, _SECOND, _THIRD])
    assert table.read([_FIRST, _SECOND], skip_absent=True).height == 1
    with pytest.raises(DayAbsentError):
        table.read([_SECOND], skip_absent=True)


def test_a_day_can_be_taken_away(lake: Lake) -> None:
    table = lake.table("payments", "raw")
    table.write_day(_FIRST, _rows(1))
    table.delete_day(_FIRST)
    table.delete_day(_FIRST)
    assert table.days() == []


def test_documents(lake: Lake) -> None:
    documents = lake.documents("payments", "evaluation")
    documents.write_document(_FIRST, {"passed": True, "day": _FIRST})
    assert documents.read_document(_FIRST) == {"passed": True, "day": "2018-04-01"}
    assert documents.days() == [_FIRST]
    with pytest.raises(ValueError, match="JSON compliant"):
        documents.write_document(_FIRST, {"metric": float("nan")})
    assert documents.read_document(_FIRST)["passed"] is True


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Lake(root=str(tmp_path)).table("payments", "raw")
    table.write_day(_FIRST, _rows(1))

    def full_disk(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        table.write_day(_FIRST, _rows(9))
    assert table.read_day(_FIRST).equals(_rows(1))
    assert [path.name for path in (tmp_path / "payments/raw/date=2018-04-01").iterdir()] == ["part-0.parquet"]
