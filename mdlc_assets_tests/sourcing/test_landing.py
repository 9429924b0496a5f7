"""Which day a file is for, and how a change in the landing zone shows."""

from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path

import pytest

from mdlc_assets.resources.landing import LandingZone, day_of_file
from mdlc_assets.resources.storage import open_storage


@pytest.mark.parametrize(
    "name",
    [
        "2018-04-01.parquet",
        "2018-04-01 (1).csv",
        "late_2018-04-01.jsonl",
        "date=2018-04-01/part-0.csv",
        "date=2018-04-01/sent-2018-04-09.ndjson",
        "shop/2018-04-01.CSV.GZ",
    ],
)
def test_the_day_is_found_in_the_name(name: str) -> None:
    assert day_of_file(name) == date(2018, 4, 1)


@pytest.mark.parametrize(
    "name", ["payments.csv", "2018-04-01.txt", ".2018-04-01.csv", "2018-13-01.csv", "12018-04-011.csv"]
)
def test_other_files_are_left_alone(name: str) -> None:
    assert day_of_file(name) is None


def test_fingerprints_show_added_replaced_and_untouched_files(tmp_path: Path) -> None:
    folder = tmp_path / "shop" / "transactions"
    folder.mkdir(parents=True)
    (folder / "2018-04-01.csv").write_text("a\n1\n")
    (folder / "2018-04-02.csv").write_text("a\n2\n")
    zone = LandingZone(root=str(tmp_path))

    def look() -> dict[date, str]:
        return zone.feed("shop", "transactions").fingerprints()

    before = look()
    assert look() == before
    (folder / "late_2018-04-01.csv").write_text("a\n3\n")
    late = look()
    assert late[date(2018, 4, 1)] != before[date(2018, 4, 1)]
    assert late[date(2018, 4, 2)] == before[date(2018, 4, 2)]
    replaced = folder / "2018-04-02.csv"
    replaced.write_text("a\n9\n")  # of the same size
    os.utime(replaced, ns=(1, 1))
    assert look()[date(2018, 4, 2)] != before[date(2018, 4, 2)]


def test_when_files_came_in_a_folder_and_on_s3(tmp_path: Path, s3_root: str) -> None:
    before = time.time()
    for root in (str(tmp_path), s3_root):
        storage = open_storage(root)
        for name in ("2018-04-01.csv", "late_2018-04-01.csv"):
            storage.write(f"shop/transactions/{name}", b"a")
        feed = LandingZone(root=root).feed("shop", "transactions")
        arrived = feed.arrived(date(2018, 4, 1))
        assert arrived is not None and before - 2 <= arrived <= time.time() + 2
        assert feed.arrived(date(2018, 4, 2)) is None
        with pytest.raises(FileNotFoundError):
            storage.modified("shop/transactions/none.csv")
    os.utime(tmp_path / "shop" / "transactions" / "2018-04-01.csv", (2e9, 2e9))
    assert LandingZone(root=str(tmp_path)).feed("shop", "transactions").arrived(date(2018, 4, 1)) == 2e9


def test_a_feed_that_nobody_has_filled_is_empty(tmp_path: Path) -> None:
    feed = LandingZone(root=str(tmp_path)).feed("shop", "labels")
    assert feed.days() == [] and feed.files(date(2018, 4, 1)) == [] and feed.fingerprints() == {}
