"""`raw` and `labels` through Dagster: whole runs over real files, in folders and on S3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import boto3
import dagster as dg
import polars as pl
import pytest

from mdlc_assets.sourcing.assets import sourcing_definitions
from mdlc_assets_tests.conftest import PAYMENTS
from mdlc_assets_tests.sourcing.small_platform import (
    DAY,
    Platform,
    days_from,
    failure_text,
    metadata_of,
    payments,
    ran,
    shipped,
)


@pytest.fixture
def s3_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket on moto's server, reached over HTTP by the real boto3 client."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="landed-payments")
    yield "s3://landed-payments/some/where"
    server.stop()


def test_a_range_of_days_lands_with_rows_catalogue_and_metadata(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 3)
    platform.put_days(days)
    result = platform.run(days[0], days[-1])
    assert result.success and ran(result, "next_stage")
    raw = platform.table("raw").read(days)
    assert raw.height == 3 * 480 and raw.columns[-3:] == ["_source_file", "_source_row", "_unreadable"]
    assert metadata_of(result, "raw", days[1])["dagster/partition_row_count"] == 480
    assert metadata_of(result, "raw", days[1])["sources"] == "canonical"
    entry = platform.catalogue.find("payments_fraud", "raw")
    assert entry is not None and entry.owner == "team:payments-data" and entry.fresh_within == "36h"
    assert entry.rows == dict.fromkeys(days, 480) and entry.missing_days == []
    assert [column.name for column in entry.columns][:2] == ["transaction_id", "event_time"]
    assert {e.dataset for e in platform.catalogue.entries(["payments_fraud"])} == {"raw", "labels"}


def test_running_again_leaves_the_same_bytes(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 2)
    platform.put_days(days)
    platform.put(f"{DAY}.csv", b"transaction_id,is_fraud,known_at\n2,1,2018-04-08\n1,0,2018-04-08\n", "labels")
    platform.run(days[0], days[-1])
    before = platform.contents()
    assert len(before) == 2 * 6 + 2
    platform.run(days[0], days[-1])
    assert platform.contents() == before
    platform.run(days[1])
    assert platform.contents() == before


def test_a_missing_day_fails_with_the_folder_and_writes_nothing(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    platform.put_days([DAY, DAY + timedelta(days=2)])
    result = platform.run(DAY, DAY + timedelta(days=2), "raw")
    text = failure_text(result)
    assert "No file for 2018-04-02" in text and "payments_fraud/transactions" in text and "Mend" in text
    assert platform.contents() == {}


def test_a_range_with_bad_days_names_every_bad_file_and_writes_nothing(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 4)
    platform.put_days(days)
    platform.put(f"{days[1]}.parquet", b"")
    platform.put(f"{days[2]}.csv", payments(days[2]).drop("amount").write_csv().encode())
    text = failure_text(platform.run(days[0], days[-1], "raw"))
    assert "2 files cannot be used; no day of this run was written" in text
    assert "2018-04-02.parquet: (file)" in text and "2018-04-03.csv: amount" in text
    assert platform.contents() == {}


def test_a_file_that_arrives_twice_is_read_once(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    for name in (f"{DAY}.parquet", f"{DAY} (1).parquet"):
        platform.put(name, payments(DAY))
    result = platform.run(DAY)
    assert platform.table("raw").read_day(DAY).height == 480
    assert metadata_of(result, "raw", DAY)["files_left_out"] == f"same bytes as another file: {DAY}.parquet"


def test_a_late_file_shows_and_its_day_becomes_what_a_fresh_run_gives(tmp_path: Path) -> None:
    days = days_from(DAY, 3)
    late = payments(days[1], 40, first_id=900_000)
    lived = Platform(str(tmp_path / "lived"))
    lived.put_days(days)
    lived.run(days[0], days[-1])
    before = lived.landing.feed("payments_fraud", "transactions").fingerprints()
    lived.put(f"late_{days[1]}.jsonl", late.write_ndjson().encode())
    after = lived.landing.feed("payments_fraud", "transactions").fingerprints()
    assert [day for day in days if before[day] != after[day]] == [days[1]]
    lived.run(days[1])

    fresh = Platform(str(tmp_path / "fresh"))
    fresh.put_days(days)
    fresh.put(f"late_{days[1]}.jsonl", late.write_ndjson().encode())
    fresh.run(days[0], days[-1])
    tables = ("raw", "validated", "quarantine")
    assert [lived.table(t).digest(days) for t in tables] == [fresh.table(t).digest(days) for t in tables]
    assert lived.table("validated").read_day(days[1]).height == 520
    assert lived.report(days[1]) == fresh.report(days[1])


def test_labels_come_from_their_feed_and_are_not_missed_before_they_are_due(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 12)
    platform.put_days(days)
    for day in days[:3]:
        known = day + timedelta(days=7)
        rows = f"{(day - DAY).days * 100_000},1,{known}\n"
        platform.put(f"{day}.csv", ("transaction_id,is_fraud,known_at\n" + rows).encode(), "labels")
    assert platform.run(days[0], days[-1], "labels").success
    labels = platform.table("labels")
    assert labels.read_day(days[2])["known_at"].to_list() == [datetime(2018, 4, 10, tzinfo=UTC)]
    assert labels.read_day(days[5]).is_empty()
    platform.put(f"{days[-1] + timedelta(days=1)}.parquet", payments(days[-1] + timedelta(days=1)))
    text = failure_text(platform.run(days[0], days[-1], "labels"))
    assert "No labels for 1 days, 2018-04-04 to 2018-04-04" in text and "Mend" in text


def test_landing_and_lake_on_s3(s3_bucket: str) -> None:
    platform = Platform(s3_bucket)
    days = days_from(DAY, 2)
    platform.put(f"date={days[0]}/part-0.parquet", payments(days[0]))
    platform.put(f"{days[1]}.csv", payments(days[1]).write_csv().encode())
    feed = platform.landing.feed("payments_fraud", "transactions")
    before = feed.fingerprints()
    assert feed.days() == days and feed.location.startswith("s3://landed-payments/some/where/landing")
    result = platform.run(days[0], days[-1])
    assert result.success
    assert platform.table("validated").read(days).height == 960
    platform.put(f"late_{days[0]}.parquet", payments(days[0], 10, first_id=5_000))
    after = platform.landing.feed("payments_fraud", "transactions").fingerprints()
    assert after[days[0]] != before[days[0]] and after[days[1]] == before[days[1]]


@pytest.mark.skipif(not PAYMENTS.is_dir(), reason="the real payments are not on this machine")
def test_real_days_pass_from_raw_to_the_report(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    first, last = date(2018, 6, 1), date(2018, 6, 20)
    folder = tmp_path / "landing" / "payments_fraud"
    folder.mkdir(parents=True)
    (folder / "transactions").symlink_to(PAYMENTS)
    result = platform.run(first, last)
    assert result.success and ran(result, "next_stage")
    days = days_from(first, 20)
    expected = pl.concat([pl.read_parquet(PAYMENTS / f"{day}.parquet") for day in days])
    validated = platform.table("validated").read(days)
    assert validated["transaction_id"].sort().equals(expected["TRANSACTION_ID"].sort(), check_names=False)
    assert platform.table("quarantine").read(days).is_empty()
    labels = platform.table("labels").read(days)
    assert labels["is_fraud"].sum() == expected["TX_FRAUD"].sum()
    joined = labels.join(validated, on="transaction_id")
    assert ((joined["known_at"] - joined["event_time"]) == timedelta(days=7)).all()
    assert platform.report(last)["passed"]


def test_an_open_dataset_has_a_freshness_policy_and_a_closed_one_has_none() -> None:
    dataset = shipped().dataset.model_copy(update={"end": None})
    still_open = shipped().model_copy(update={"dataset": dataset})
    for lifecycle, expected in ((still_open, True), (shipped(), False)):
        assets = sourcing_definitions(lifecycle).assets or []
        specs = {s.key.path[-1]: s for a in assets if isinstance(a, dg.AssetsDefinition) for s in a.specs}
        assert (specs["raw"].freshness_policy is not None) == expected
        assert specs["raw"].owners == ["team:payments-data"] and specs["raw"].group_name
        assert specs["raw"].description and specs["labels"].description
        assert specs["raw"].metadata["dagster/table_name"] == "payments_fraud.raw"
