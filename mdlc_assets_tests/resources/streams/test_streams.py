"""The same promises, asked of both forms: SQLite, and Kinesis with DynamoDB over HTTP against moto."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from mdlc_assets.resources.streams import embedded
from mdlc_assets.resources.streams.checkpoints import Checkpoints, LeaseLostError, LocalCheckpoints, Progress
from mdlc_assets.resources.streams.dynamodb_checkpoints import DynamoCheckpoints
from mdlc_assets.resources.streams.embedded import EmbeddedStream
from mdlc_assets.resources.streams.kinesis import KinesisStream
from mdlc_assets.resources.streams.records import MOST_BYTES, Record, Stream, StreamAwayError, hash_of

SHARDS = 3


@pytest.fixture(params=["embedded", "kinesis"])
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stream]:
    """An empty stream of three shards."""
    if request.param == "embedded":
        yield EmbeddedStream(tmp_path / "s.db", shards=SHARDS)
        return
    client = boto3.client("kinesis", endpoint_url=request.getfixturevalue("dynamodb"))
    found = KinesisStream(f"s-{uuid.uuid4().hex}", client)
    found.create(SHARDS, timedelta(days=7))
    yield found
    client.delete_stream(StreamName=found.name)


@pytest.fixture(params=["local", "dynamodb"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Checkpoints]:
    """The rows of an application that nobody has read for yet."""
    if request.param == "local":
        yield LocalCheckpoints(tmp_path / "c.db", "app")
        return
    resource = boto3.resource("dynamodb", endpoint_url=request.getfixturevalue("dynamodb"))
    found = DynamoCheckpoints(f"c-{uuid.uuid4().hex}", "app", resource)
    found.create()
    yield found
    found.table.delete()


def _all(stream: Stream, shard: str, limit: int = 7) -> list[Record]:
    found: list[Record] = []
    while True:
        batch = stream.read(shard, found[-1].sequence if found else None, limit)
        assert len(batch.records) <= limit
        if not batch.records:
            return found
        found += batch.records


def test_each_record_is_there_once_in_the_order_of_its_puts(stream: Stream) -> None:
    entries = [(f"key-{i % 11}", json.dumps({"n": i}).encode()) for i in range(100)]
    stream.put(entries[:60])
    stream.put(entries[60:])
    shards = stream.shards()
    assert len(shards) == SHARDS and not any(shard.closed or shard.parents for shard in shards)
    read = {shard.name: _all(stream, shard.name) for shard in shards}
    assert sorted(json.loads(r.data)["n"] for of in read.values() for r in of) == list(range(100))
    for shard in shards:
        own = read[shard.name]
        assert [int(r.sequence) for r in own] == sorted({int(r.sequence) for r in own})
        assert [json.loads(r.data)["n"] for r in own] == sorted(json.loads(r.data)["n"] for r in own)
        # Where a key goes is where Kinesis says it goes, in either form.
        assert all(shard.first_hash <= hash_of(record.key) <= shard.last_hash for record in own)
        assert all(record.arrived.tzinfo == UTC for record in own)


def test_reading_starts_again_after_any_record(stream: Stream) -> None:
    stream.put([("same", b"%d" % i) for i in range(20)])
    shard = next(s.name for s in stream.shards() if s.first_hash <= hash_of("same") <= s.last_hash)
    whole = _all(stream, shard)
    for place in (0, 7, 18):
        assert list(stream.read(shard, whole[place].sequence, 100).records) == whole[place + 1 :]
    assert stream.read(shard, whole[-1].sequence, 100).records == ()
    assert list(stream.read(shard, None, 100).records) == whole


def test_what_no_stream_takes_is_refused_before_anything_is_kept(stream: Stream) -> None:
    for bad in (("k", b"x" * (MOST_BYTES + 1)), ("", b"x"), ("k" * 257, b"x")):
        with pytest.raises(ValueError, match=r"record 2: .* Mend: keep to"):
            stream.put([("k", b"good"), bad])
    assert all(not stream.read(shard.name, None, 10).records for shard in stream.shards())


def test_embedded_children_follow_their_parents(tmp_path: Path) -> None:
    stream = EmbeddedStream(tmp_path / "s.db", shards=2)
    stream.put([("a", b"1"), ("b", b"2"), ("c", b"3")])
    assert not any(stream.read(s.name, None, 10).ended for s in stream.shards())
    stream.reshard(3)
    old, new = stream.shards()[:2], stream.shards()[2:]
    assert [s.closed for s in (*old, *new)] == [True, True, False, False, False]
    assert [set(s.parents) for s in new] == [{old[0].name}, {old[0].name, old[1].name}, {old[1].name}]
    assert all(stream.read(s.name, None, 10).ended for s in old)
    assert not stream.read(old[0].name, None, 0).ended or not stream.read(old[0].name, None, 10).records
    stream.put([(f"{i}", b"x") for i in range(30)])
    assert sum(len(_all(stream, s.name)) for s in new) == 30


def test_embedded_records_go_after_their_retention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = EmbeddedStream(tmp_path / "s.db", retention=timedelta(hours=1))
    stream.put([("a", b"old")])
    now = time.time_ns
    monkeypatch.setattr(embedded.time, "time_ns", lambda: now() + 3_600_001_000_000)
    assert stream.read("shard-0000", None, 10).records == ()
    stream.put([("a", b"new")])
    assert [record.data for record in stream.read("shard-0000", None, 10).records] == [b"new"]


def test_embedded_lag_is_the_age_of_the_oldest_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = EmbeddedStream(tmp_path / "s.db")
    stream.put([("a", b"1"), ("a", b"2")])
    now = time.time_ns
    monkeypatch.setattr(embedded.time, "time_ns", lambda: now() + 5_000_000_000)
    assert 5_000 <= stream.read("shard-0000", None, 1).behind_ms < 65_000
    assert stream.read("shard-0000", None, 2).behind_ms == 0


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    """SQLite itself gives up at once when another makes the file at the same moment."""
    errors: list[Exception] = []

    def open_and_put(path: Path) -> None:
        try:
            EmbeddedStream(path).put([("k", b"x")])
        except Exception as error:
            errors.append(error)

    for number in range(10):
        threads = [threading.Thread(target=open_and_put, args=(tmp_path / f"{number}.db",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(EmbeddedStream(tmp_path / f"{number}.db").read("shard-0000", None, 10).records) == 6


@pytest.fixture
def stubbed() -> Iterator[tuple[KinesisStream, Stubber]]:
    """A Kinesis stream whose answers the test writes."""
    client = boto3.client(
        "kinesis",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with Stubber(client) as stubber:
        yield KinesisStream("s", client, attempts=3), stubber
        stubber.assert_no_pending_responses()


def _refused(*refused: bool) -> dict[str, Any]:
    said = [
        {"ErrorCode": "ProvisionedThroughputExceededException"} if bad else {"SequenceNumber": "1", "ShardId": "s"}
        for bad in refused
    ]
    return {"Records": said} | ({"FailedRecordCount": sum(refused)} if any(refused) else {})


def test_kinesis_sends_again_what_was_refused_and_nothing_else(stubbed: tuple[KinesisStream, Stubber]) -> None:
    stream, stubber = stubbed
    for keys, refused in (("abc", (True, False, True)), ("ac", (False, True)), ("c", (False,))):
        asked = {"StreamName": "s", "Records": [{"PartitionKey": key, "Data": b"x"} for key in keys]}
        stubber.add_response("put_records", _refused(*refused), asked)
    stream.put([(key, b"x") for key in "abc"])


def test_kinesis_that_keeps_refusing_is_away(stubbed: tuple[KinesisStream, Stubber]) -> None:
    stream, stubber = stubbed
    for _ in range(3):
        stubber.add_response("put_records", _refused(True))
    with pytest.raises(StreamAwayError, match=r"refused 1 of 1 records. Mend"):
        stream.put([("a", b"x")])


def test_kinesis_names_parents_and_ends_of_shards(stubbed: tuple[KinesisStream, Stubber]) -> None:
    stream, stubber = stubbed
    hashes = {"StartingHashKey": "0", "EndingHashKey": "9"}
    stubber.add_response(
        "list_shards",
        {
            "Shards": [
                {
                    "ShardId": "old",
                    "HashKeyRange": hashes,
                    "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "5"},
                }
            ],
            "NextToken": "more",
        },
        {"StreamName": "s"},
    )
    child = {"ShardId": "new", "ParentShardId": "old", "AdjacentParentShardId": "other", "HashKeyRange": hashes}
    stubber.add_response(
        "list_shards",
        {"Shards": [{**child, "SequenceNumberRange": {"StartingSequenceNumber": "6"}}]},
        {"NextToken": "more"},
    )
    old, new = stream.shards()
    assert (old.closed, old.parents, new.closed, new.parents) == (True, (), False, ("old", "other"))
    # An iterator that ran out is asked for again, and a shard's end is told.
    stubber.add_response("get_shard_iterator", {"ShardIterator": "i1"})
    arrived = datetime(2018, 4, 1, tzinfo=UTC)
    record = {"SequenceNumber": "3", "PartitionKey": "k", "Data": b"x", "ApproximateArrivalTimestamp": arrived}
    stubber.add_response(
        "get_records",
        {"Records": [record], "NextShardIterator": "i2", "MillisBehindLatest": 40},
        {"ShardIterator": "i1", "Limit": 5},
    )
    first = stream.read("old", None, 5)
    assert (first.behind_ms, first.ended, first.records[0].sequence) == (40, False, "3")
    stubber.add_client_error(
        "get_records", "ExpiredIteratorException", expected_params={"ShardIterator": "i2", "Limit": 5}
    )
    stubber.add_response(
        "get_shard_iterator",
        {"ShardIterator": "i3"},
        {
            "StreamName": "s",
            "ShardId": "old",
            "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
            "StartingSequenceNumber": "3",
        },
    )
    stubber.add_response("get_records", {"Records": [], "MillisBehindLatest": 0}, {"ShardIterator": "i3", "Limit": 5})
    assert stream.read("old", "3", 5).ended
    stubber.add_client_error("get_shard_iterator", "ProvisionedThroughputExceededException")
    with pytest.raises(StreamAwayError):
        stream.read("old", "3", 5)


def test_a_lease_is_one_workers_until_it_runs_out(checkpoints: Checkpoints) -> None:
    mine = checkpoints.take("s1", "me", 60)
    assert mine is not None and (mine.after, mine.ended) == (None, False)
    assert checkpoints.take("s1", "you", 60) is None
    mine = checkpoints.write(mine, 60, Progress(5, 10, "2018"), after="900")
    assert mine.after == "900"
    # A longer number is a greater one, though not as text.
    mine = checkpoints.write(mine, 60, Progress(5, 20, "2018"), after="1000")
    with pytest.raises(LeaseLostError):
        checkpoints.write(mine, 60, Progress(), after="999")
    mine = checkpoints.write(mine, -1, Progress(7, 20, "2018"))
    yours = checkpoints.take("s1", "you", 60)
    assert yours is not None and yours.after == "1000"
    for after in (None, "2000"):
        with pytest.raises(LeaseLostError):
            checkpoints.write(mine, 60, Progress(), after=after)
    checkpoints.release(mine)
    entry = checkpoints.entries()["s1"]
    assert (entry.owner, entry.after, entry.progress) == ("you", "1000", Progress(7, 20, "2018"))
    checkpoints.write(yours, 60, Progress(), ended=True)
    checkpoints.release(yours)
    entry = checkpoints.entries()["s1"]
    assert (entry.owner, entry.ended) == ("", True)
    again = checkpoints.take("s1", "they", 60)
    assert again is not None and again.ended


def test_workers_are_counted_while_they_live(checkpoints: Checkpoints) -> None:
    checkpoints.greet("b", 60)
    checkpoints.greet("a", 60)
    checkpoints.greet("dead", -1)
    assert checkpoints.workers() == ["a", "b"]
    checkpoints.leave("a")
    assert checkpoints.workers() == ["b"]
    assert checkpoints.entries() == {}


def test_of_many_that_take_a_shard_at_once_one_gets_it(tmp_path: Path) -> None:
    got: list[str] = []
    start = threading.Barrier(6)

    def take(owner: str) -> None:
        own = LocalCheckpoints(tmp_path / "c.db", "app")
        start.wait()
        if own.take("s", owner, 60):
            got.append(owner)

    threads = [threading.Thread(target=take, args=(f"w{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_full_disk_or_a_lock_says_its_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_PATIENCE", 0.05)
    stream = EmbeddedStream(tmp_path / "s.db")
    holder = EmbeddedStream(tmp_path / "s.db")
    with embedded.transaction(holder._connection), pytest.raises(StreamAwayError, match=r"locked.*Mend: see that"):
        stream.put([("a", b"x")])
