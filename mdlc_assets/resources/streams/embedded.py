"""A stream on this machine's disk, one SQLite file, with Kinesis's shards, sequence numbers and retention.

A put is one transaction that is on disk when it returns, so a producer or a reader that is killed leaves whole records
or none. Sequence numbers are given out in the order of commits: a reader never passes by one that shows up later.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from mdlc_assets.resources.streams.records import (
    Batch,
    Record,
    Shard,
    StreamAwayError,
    even_ranges,
    hash_of,
    refuse_large,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shards (
    name TEXT PRIMARY KEY, first_hash TEXT, last_hash TEXT, parents TEXT, closed_at INTEGER
);
CREATE TABLE IF NOT EXISTS records (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, shard TEXT, key TEXT, data BLOB, arrived INTEGER
);
CREATE INDEX IF NOT EXISTS records_by_shard ON records (shard, sequence);
"""
_TRIM_EVERY = 60.0
_PATIENCE = 30.0


class EmbeddedStream:
    """The stream in the SQLite file at `path`, made with `shards` shards where it is not there yet."""

    def __init__(self, path: Path, *, shards: int = 1, retention: timedelta = timedelta(days=7)) -> None:
        self.name, self.path, self.retention = path.stem, path, retention
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = open_database(path, _SCHEMA)
        self._trimmed = 0.0
        with self._transaction():
            if self._connection.execute("SELECT count(*) FROM shards").fetchone() == (0,):
                self._add_shards(even_ranges(shards))

    def put(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append records; they are on disk when it returns. Raises ValueError for one that is too large."""
        refuse_large(entries)
        with disk_errors(self.path), self._transaction():
            shards = [shard for shard in self.shards() if not shard.closed]
            now = _now_ms()
            self._connection.executemany(
                "INSERT INTO records (shard, key, data, arrived) VALUES (?, ?, ?, ?)",
                ((_shard_of(shards, key), key, data, now) for key, data in entries),
            )
            if time.monotonic() - self._trimmed > _TRIM_EVERY:
                self._trimmed = time.monotonic()
                self._connection.execute("DELETE FROM records WHERE arrived < ?", (self._horizon(),))

    def shards(self) -> list[Shard]:
        """All shards, but for closed ones whose last record is older than the retention."""
        rows = self._connection.execute(
            "SELECT name, first_hash, last_hash, parents, closed_at FROM shards "
            "WHERE closed_at IS NULL OR closed_at >= ? ORDER BY name",
            (self._horizon(),),
        ).fetchall()
        return [
            Shard(name, int(first, 16), int(last, 16), tuple(json.loads(parents)), closed is not None)
            for name, first, last, parents, closed in rows
        ]

    def read(self, shard: str, after: str | None, limit: int) -> Batch:
        """The records that follow `after`, oldest first. Those past retention are not given."""
        # One look at both: a shard that is closed between two would seem read to its end before it was.
        with disk_errors(self.path), self._transaction("DEFERRED"):
            rows = self._connection.execute(
                "SELECT sequence, key, data, arrived FROM records WHERE shard = ? AND sequence > ? AND arrived >= ? "
                "ORDER BY sequence LIMIT ?",
                (shard, int(after or 0), self._horizon(), limit + 1),
            ).fetchall()
            closed = self._connection.execute("SELECT closed_at FROM shards WHERE name = ?", (shard,)).fetchone()
        records = tuple(
            Record(shard, str(sequence), key, data, datetime.fromtimestamp(arrived / 1000, UTC))
            for sequence, key, data, arrived in rows[:limit]
        )
        if len(rows) > limit:
            return Batch(records, max(1, _now_ms() - rows[limit][3]))
        return Batch(records, 0, ended=closed is None or closed[0] is not None)

    def reshard(self, count: int) -> None:
        """Close the open shards and go on with `count` new ones, each a child of those whose hashes it takes over."""
        with self._transaction():
            before = [shard for shard in self.shards() if not shard.closed]
            self._connection.execute("UPDATE shards SET closed_at = ? WHERE closed_at IS NULL", (_now_ms(),))
            self._add_shards(even_ranges(count), before)

    def _add_shards(self, ranges: Sequence[tuple[int, int]], before: Sequence[Shard] = ()) -> None:
        (number,) = self._connection.execute("SELECT count(*) FROM shards").fetchone()
        for place, (first, last) in enumerate(ranges, start=number):
            parents = [shard.name for shard in before if shard.first_hash <= last and first <= shard.last_hash]
            self._connection.execute(
                "INSERT INTO shards VALUES (?, ?, ?, ?, NULL)",
                (f"shard-{place:04}", f"{first:032x}", f"{last:032x}", json.dumps(parents)),
            )

    def _horizon(self) -> int:
        return _now_ms() - self.retention // timedelta(milliseconds=1)

    def _transaction(self, kind: str = "IMMEDIATE") -> AbstractContextManager[None]:
        return transaction(self._connection, kind)


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """A connection whose commits are on disk when they return, and that waits for other processes' commits."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    # SQLite does not wait for a lock on a file that another process makes at this moment.
    for attempt in Retrying(
        retry=retry_if_exception_type(sqlite3.OperationalError),
        stop=stop_after_delay(_PATIENCE),
        wait=wait_random(0.005, 0.05),
        reraise=True,
    ):
        with attempt:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            with transaction(connection):
                for statement in schema.split(";"):
                    connection.execute(statement)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All of what is written inside, or none; other writers wait. DEFERRED: what is read inside is of one instant."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A disk that is full or locked, as StreamAwayError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StreamAwayError(
            f"{path} does not answer: {error}. Mend: see that the disk has room and that no other process "
            "holds a lock on the file."
        ) from error


def _shard_of(shards: Sequence[Shard], key: str) -> str:
    place = hash_of(key)
    return next(shard.name for shard in shards if shard.first_hash <= place <= shard.last_hash)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
