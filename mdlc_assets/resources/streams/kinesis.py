"""A Kinesis stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta
from typing import Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from mdlc_assets.resources.aws import PASSING
from mdlc_assets.resources.streams.records import Batch, Record, Shard, StreamAwayError, refuse_large

_MOST_RECORDS, _MOST_BYTES = 500, 5 << 20
_MOST_READ = 10_000
# Kinesis calls a rate so; the other is DynamoDB's word for a transaction that met another.
_PASSING = PASSING | {"LimitExceededException", "TransactionConflictException"}


class KinesisStream:
    """The stream `name`. Reads keep the shard's iterator, so that going on costs one call."""

    def __init__(self, name: str, client: Any = None, *, attempts: int = 8) -> None:
        from mdlc_assets.resources.aws import aws_client

        self.name, self.client, self._attempts = name, client or aws_client("kinesis"), attempts
        self._iterators: dict[str, tuple[str | None, str]] = {}

    def create(self, shards: int, retention: timedelta) -> None:
        """Make the stream where it is not there, and wait until it takes records."""
        try:
            self.client.create_stream(StreamName=self.name, ShardCount=shards)
        except self.client.exceptions.ResourceInUseException:
            return
        self.client.get_waiter("stream_exists").wait(StreamName=self.name, WaiterConfig={"Delay": 2})
        hours = retention // timedelta(hours=1)
        if hours > 24:
            self.client.increase_stream_retention_period(StreamName=self.name, RetentionPeriodHours=hours)

    def put(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append records, those that Kinesis refuses again and again until StreamAwayError."""
        refuse_large(entries)
        for part in _parts(entries):
            left: Sequence[tuple[str, bytes]] = part
            for attempt in Retrying(
                retry=retry_if_exception_type(StreamAwayError),
                stop=stop_after_attempt(self._attempts),
                wait=wait_exponential_jitter(initial=0.05, max=5, jitter=0.1),
                reraise=True,
            ):
                with attempt:
                    left = self._put_once(left)
                    if left:
                        raise StreamAwayError(
                            f"stream {self.name} refused {len(left)} of {len(part)} records. Mend: give it more "
                            "shards, or send more slowly."
                        )

    def _put_once(self, entries: Sequence[tuple[str, bytes]]) -> Sequence[tuple[str, bytes]]:
        """Gives what was refused, in its order."""
        with away_errors(self.name):
            answer = self.client.put_records(
                StreamName=self.name, Records=[{"PartitionKey": key, "Data": data} for key, data in entries]
            )
        if not answer.get("FailedRecordCount"):
            return []
        return [entry for entry, said in zip(entries, answer["Records"], strict=True) if said.get("ErrorCode")]

    def shards(self) -> list[Shard]:
        """All shards that Kinesis still lists."""
        found: list[Shard] = []
        asked: dict[str, str] = {"StreamName": self.name}
        with away_errors(self.name):
            while True:
                page = self.client.list_shards(**asked)
                found += map(_shard, page["Shards"])
                if not page.get("NextToken"):
                    return found
                asked = {"NextToken": page["NextToken"]}

    def read(self, shard: str, after: str | None, limit: int) -> Batch:
        """What follows `after`; raises StreamAwayError when the shard does not answer or is read too often."""
        with away_errors(self.name):
            answer = self._get(shard, after, min(limit, _MOST_READ))
        records = tuple(
            Record(
                shard,
                record["SequenceNumber"],
                record["PartitionKey"],
                record["Data"],
                record["ApproximateArrivalTimestamp"].astimezone(UTC),
            )
            for record in answer["Records"]
        )
        following = answer.get("NextShardIterator")
        if following is None:
            self._iterators.pop(shard, None)
        else:
            self._iterators[shard] = (records[-1].sequence if records else after, following)
        return Batch(records, answer.get("MillisBehindLatest", 0), ended=following is None)

    def _get(self, shard: str, after: str | None, limit: int) -> dict[str, Any]:
        known = self._iterators.get(shard)
        if known and known[0] == after:
            try:
                return self.client.get_records(ShardIterator=known[1], Limit=limit)
            except self.client.exceptions.ExpiredIteratorException:
                pass  # after five minutes without a read
        return self.client.get_records(ShardIterator=self._iterator(shard, after), Limit=limit)

    def _iterator(self, shard: str, after: str | None) -> str:
        asked: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            asked = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        return self.client.get_shard_iterator(StreamName=self.name, ShardId=shard, **asked)["ShardIterator"]


@contextmanager
def away_errors(what: str) -> Iterator[None]:
    """What passes by itself, as StreamAwayError; everything else as it is."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code not in _PASSING:
            raise
        raise StreamAwayError(f"{what}: {code}") from error
    except (ConnectionError, HTTPClientError) as error:
        raise StreamAwayError(f"{what} does not answer: {type(error).__name__}") from error


def _parts(entries: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """As many at a time as one call takes."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for entry in entries:
        weight = len(entry[0].encode()) + len(entry[1])
        if part and (len(part) == _MOST_RECORDS or size + weight > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += weight
    if part:
        yield part


def _shard(said: dict[str, Any]) -> Shard:
    hashes = said["HashKeyRange"]
    return Shard(
        said["ShardId"],
        int(hashes["StartingHashKey"]),
        int(hashes["EndingHashKey"]),
        tuple(said[name] for name in ("ParentShardId", "AdjacentParentShardId") if said.get(name)),
        "EndingSequenceNumber" in said["SequenceNumberRange"],
    )
