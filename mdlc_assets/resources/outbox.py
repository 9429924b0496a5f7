"""The outbox: effects that decisions have, written down with the decision and delivered afterwards, once each.

An event's first decision counts: effects of a decision id that is known are not taken again, however
often the event is decided. An effect that is claimed and not marked within its lease, since
the process was killed, is claimed again and goes out under the same key.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_SCHEMA = """
CREATE TABLE IF NOT EXISTS acted (decision_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS effects (
    key TEXT PRIMARY KEY, target TEXT NOT NULL, payload TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'due',
    attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS effects_due ON effects (due_at) WHERE state = 'due';
"""


@dataclass(frozen=True)
class Effect:
    """One thing to be done for one decision. `key` is the same however often it is tried."""

    key: str
    target: Mapping[str, Any]
    payload: Mapping[str, Any]
    attempts: int = 0


@dataclass(frozen=True)
class Acted:
    """A decision and its effects."""

    decision_id: str
    effects: Sequence[Effect]


class Outbox(Protocol):
    """Where effects wait."""

    at_hand: bool
    """Whether writing takes microseconds; else it belongs into a thread."""

    def put(self, acted: Sequence[Acted]) -> int:
        """Write effects down, wholly or not at all for each decision; gives how many decisions were new."""
        ...

    def claim(self, now: float, lease_seconds: float, most: int = 20) -> list[Effect]:
        """Effects that are due; nobody else gets them before the lease is over."""
        ...

    def delivered(self, key: str) -> None:
        """The effect has happened."""
        ...

    def failed(self, key: str, error: str, again_at: float | None) -> None:
        """It has not; it is due again at an instant, or never (None)."""
        ...

    def counts(self) -> dict[str, int]:
        """How many effects are `due`, `delivered` and `dead`."""
        ...


class SqliteOutbox:
    """An outbox in a SQLite file."""

    at_hand = True

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What was committed outlives the process; the last commits may be lost with the machine's power.
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self._lock = threading.Lock()

    def put(self, acted: Sequence[Acted]) -> int:
        new = 0
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for one in acted:
                    mark = "INSERT OR IGNORE INTO acted VALUES (?)"
                    if self._connection.execute(mark, (one.decision_id,)).rowcount:
                        new += 1
                        rows = [(e.key, json.dumps(dict(e.target)), json.dumps(dict(e.payload))) for e in one.effects]
                        self._connection.executemany(
                            "INSERT INTO effects (key, target, payload) VALUES (?, ?, ?)", rows
                        )
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        return new

    def claim(self, now: float, lease_seconds: float, most: int = 20) -> list[Effect]:
        with self._lock:
            rows = self._connection.execute(
                "UPDATE effects SET due_at = ?, attempts = attempts + 1 WHERE key IN (SELECT key FROM effects "
                "WHERE state = 'due' AND due_at <= ? ORDER BY due_at LIMIT ?) RETURNING key, target, payload, attempts",
                (now + lease_seconds, now, most),
            ).fetchall()
        return [Effect(key, json.loads(target), json.loads(payload), tried) for key, target, payload, tried in rows]

    def delivered(self, key: str) -> None:
        with self._lock:
            self._connection.execute("UPDATE effects SET state = 'delivered', error = '' WHERE key = ?", (key,))

    def failed(self, key: str, error: str, again_at: float | None) -> None:
        state = "dead" if again_at is None else "due"
        with self._lock:
            self._connection.execute(
                "UPDATE effects SET state = ?, error = ?, due_at = ? WHERE key = ? AND state = 'due'",
                (state, error[:300], again_at or 0.0, key),
            )

    def counts(self) -> dict[str, int]:
        with self._lock:
            found = dict(self._connection.execute("SELECT state, count(*) FROM effects GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in ("due", "delivered", "dead")}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def open_outbox(place: str) -> SqliteOutbox | Any:
    """The outbox at a file's path, or in the DynamoDB table of `dynamodb:<table>`."""
    kind, _, table = place.partition("dynamodb:")
    if not kind and table:
        from mdlc_assets.resources.outbox_dynamodb import DynamoOutbox

        return DynamoOutbox(table)
    return SqliteOutbox(Path(place))
