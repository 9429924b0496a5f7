"""What a stream is, whoever keeps it: shards by hash of the partition key, records in order within each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Protocol

HASHES = 1 << 128
MOST_BYTES = 1 << 20
"""The largest record that Kinesis takes; the embedded form keeps to the same."""


class StreamAwayError(ConnectionError):
    """The stream, or the table of checkpoints, does not answer or asks for patience: it may be asked again."""


@dataclass(frozen=True)
class Shard:
    """A part of a stream. One that was split or merged is closed, and its `children` have it among their `parents`."""

    name: str
    first_hash: int
    last_hash: int
    parents: tuple[str, ...] = ()
    closed: bool = False


@dataclass(frozen=True)
class Record:
    """One record. `sequence` is a whole number as text, which grows within its shard; `arrived` is in UTC."""

    shard: str
    sequence: str
    key: str
    data: bytes
    arrived: datetime


@dataclass(frozen=True)
class Batch:
    """Records that follow one another. `behind_ms`: how old the oldest record not given yet is, 0 at the tip;
    `ended`: the shard is closed, and nothing follows."""

    records: tuple[Record, ...]
    behind_ms: int
    ended: bool = False


class Stream(Protocol):
    """Delivery is at least once: who reads remembers how far it has come (see checkpoints.py)."""

    name: str

    def put(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append records, each a partition key and its data. When it returns all of them are kept."""
        ...

    def shards(self) -> list[Shard]:
        """All shards whose records may still be there, closed ones too."""
        ...

    def read(self, shard: str, after: str | None, limit: int) -> Batch:
        """At most `limit` records of a shard after a sequence number; from the oldest there is when it is None."""
        ...


def hash_of(key: str) -> int:
    """Where a partition key lies among the shards' hashes, as Kinesis has it: MD5 as a 128-bit number."""
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest())


def even_ranges(count: int) -> list[tuple[int, int]]:
    """First and last hash of `count` shards of the same width."""
    edges = [HASHES * i // count for i in range(count + 1)]
    return [(first, after - 1) for first, after in pairwise(edges)]


def refuse_large(entries: Sequence[tuple[str, bytes]]) -> None:
    """Raises ValueError for a record that no stream takes."""
    for number, (key, data) in enumerate(entries, start=1):
        if not 1 <= len(key) <= 256 or not 0 < len(data) + len(key.encode()) <= MOST_BYTES:
            raise ValueError(
                f"record {number}: {len(data)} bytes under a key of {len(key)} characters. Mend: keep to {MOST_BYTES} "
                "bytes, and to a key of 1 to 256 characters."
            )
