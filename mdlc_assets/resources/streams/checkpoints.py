"""How far an application has read each shard, and which worker reads it: one row for both.

A worker leases a shard until an instant, which it moves on while it lives; a lease that has run out may be taken by
another. Each taking has a number of its own, and every write names it, so that a worker which slept through the end
of its lease can change nothing any more. A position only ever moves forward.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mdlc_assets.resources.streams.embedded import disk_errors, open_database, transaction

ENDED = "9" * 64
"""The position of a shard that was read to its end."""


class LeaseLostError(RuntimeError):
    """Another worker has taken the shard, or has come further: what this one did of it, the other does as well."""

    def __init__(self, shard: str) -> None:
        super().__init__(f"the lease of {shard} is lost")


@dataclass(frozen=True)
class Lease:
    """One worker's right to move a shard's position. `after` is the last sequence number done, None at the horizon."""

    shard: str
    owner: str
    token: int
    after: str | None
    ended: bool


@dataclass(frozen=True)
class Progress:
    """What a worker says of a shard: lag at its last read, events done since ever, the greatest event time among them
    (ISO, UTC, or empty)."""

    behind_ms: int = 0
    events: int = 0
    event_time: str = ""


@dataclass(frozen=True)
class Entry:
    """A shard's row as others read it; `seen` is when its worker last wrote, in seconds since 1970."""

    shard: str
    owner: str
    until: float
    after: str | None
    ended: bool
    seen: float
    progress: Progress


class Checkpoints(Protocol):
    """The rows of one application. Calls may raise StreamAwayError."""

    def entries(self) -> dict[str, Entry]:
        """All rows by shard."""
        ...

    def take(self, shard: str, owner: str, seconds: float) -> Lease | None:
        """Lease a shard that is free, has run out, or is the owner's own; None when another holds it."""
        ...

    def write(
        self, lease: Lease, seconds: float, progress: Progress, *, after: str | None = None, ended: bool = False
    ) -> Lease:
        """Renew a lease and say how things stand; with `after` or `ended` the position moves there. The lease as it
        is now. Raises `LeaseLostError`."""
        ...

    def release(self, lease: Lease) -> None:
        """Give a shard up; nothing happens when it is lost already."""
        ...

    def greet(self, owner: str, seconds: float) -> None:
        """Say that a worker lives, for so many seconds."""
        ...

    def leave(self, owner: str) -> None:
        """Say that a worker goes."""
        ...

    def workers(self) -> list[str]:
        """The workers that live, sorted."""
        ...


_SCHEMA = """
CREATE TABLE IF NOT EXISTS shards (
    application TEXT, shard TEXT, owner TEXT, token INTEGER, until REAL, position TEXT, seen REAL,
    behind_ms INTEGER, events INTEGER, event_time TEXT, PRIMARY KEY (application, shard)
);
CREATE TABLE IF NOT EXISTS workers (application TEXT, owner TEXT, until REAL, PRIMARY KEY (application, owner));
"""


class LocalCheckpoints:
    """In a SQLite file that workers on this machine share."""

    def __init__(self, path: Path, application: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.application, self.path = application, path
        self._connection: sqlite3.Connection = open_database(path, _SCHEMA)

    def entries(self) -> dict[str, Entry]:
        rows = self._rows(
            "SELECT shard, owner, until, position, seen, behind_ms, events, event_time FROM shards "
            "WHERE application = ? ORDER BY shard",
            self.application,
        )
        return {
            shard: Entry(shard, owner, until, after_of(position), position == ENDED, seen, Progress(*said))
            for shard, owner, until, position, seen, *said in rows
        }

    def take(self, shard: str, owner: str, seconds: float) -> Lease | None:
        now = time.time()
        with disk_errors(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT OR IGNORE INTO shards VALUES (?, ?, '', 0, 0, '', 0, 0, 0, '')", (self.application, shard)
            )
            row = self._connection.execute(
                "UPDATE shards SET owner = ?, token = token + 1, until = ?, seen = ? "
                "WHERE application = ? AND shard = ? AND (until < ? OR owner IN ('', ?)) RETURNING token, position",
                (owner, now + seconds, now, self.application, shard, now, owner),
            ).fetchone()
        return row and Lease(shard, owner, row[0], after_of(row[1]), row[1] == ENDED)

    def write(
        self, lease: Lease, seconds: float, progress: Progress, *, after: str | None = None, ended: bool = False
    ) -> Lease:
        now, position = time.time(), position_of(after, ended)
        with disk_errors(self.path), transaction(self._connection):
            changed = self._connection.execute(
                "UPDATE shards SET until = ?, seen = ?, behind_ms = ?, events = ?, event_time = ?, "
                "position = CASE WHEN ? = '' THEN position ELSE ? END "
                "WHERE application = ? AND shard = ? AND token = ? AND owner = ? AND (? = '' OR position < ?)",
                (
                    *(now + seconds, now, progress.behind_ms, progress.events, progress.event_time),
                    *(position, position, self.application, lease.shard, lease.token, lease.owner),
                    *(position, position),
                ),
            ).rowcount
        if not changed:
            raise LeaseLostError(lease.shard)
        return Lease(lease.shard, lease.owner, lease.token, after or lease.after, ended or lease.ended)

    def release(self, lease: Lease) -> None:
        with disk_errors(self.path), transaction(self._connection):
            self._connection.execute(
                "UPDATE shards SET owner = '', until = 0 "
                "WHERE application = ? AND shard = ? AND token = ? AND owner = ?",
                (self.application, lease.shard, lease.token, lease.owner),
            )

    def greet(self, owner: str, seconds: float) -> None:
        with disk_errors(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", (self.application, owner, time.time() + seconds)
            )

    def leave(self, owner: str) -> None:
        with disk_errors(self.path), transaction(self._connection):
            self._connection.execute(
                "DELETE FROM workers WHERE application = ? AND owner = ?", (self.application, owner)
            )

    def workers(self) -> list[str]:
        rows = self._rows(
            "SELECT owner FROM workers WHERE application = ? AND until >= ? ORDER BY owner",
            self.application,
            time.time(),
        )
        return [owner for (owner,) in rows]

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with disk_errors(self.path):
            return self._connection.execute(query, values).fetchall()


def position_of(after: str | None, ended: bool) -> str:
    """A sequence number as text whose order is that of the numbers; empty for none."""
    return ENDED if ended else (after or "").zfill(64) if after else ""


def after_of(position: str) -> str | None:
    """The sequence number of a position; None at the horizon, and for a shard that was read to its end."""
    return None if position in ("", ENDED) else position.lstrip("0") or "0"
