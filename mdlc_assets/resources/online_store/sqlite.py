"""The online store in a SQLite file: for one machine, any number of threads and processes.

Tables are clustered by their primary key, so an entity's events lie side by side and a decision reads one range for
each entity. Readers never wait for a writer (write-ahead log).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mdlc_assets.resources.online_store.items import (
    Entity,
    EventItems,
    Identity,
    Label,
    Place,
    Row,
    StoreAwayError,
    edge_of,
    key_of,
    mark_of,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS partitions (number INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    partition INTEGER, entity, key BLOB, data BLOB, mark INTEGER, PRIMARY KEY (partition, entity, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS locators (
    partition INTEGER, id, instant INTEGER, due INTEGER, places TEXT, label INTEGER, known_at INTEGER,
    PRIMARY KEY (partition, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS locators_by_instant ON locators (partition, instant);
CREATE TABLE IF NOT EXISTS versions (
    partition INTEGER, entity, known_at INTEGER, data TEXT, PRIMARY KEY (partition, entity, known_at)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, content TEXT) WITHOUT ROWID;
"""
_EVENTS_OF = "SELECT key, data, mark FROM items WHERE partition = ? AND entity = ? AND key >= ? AND key < ?"
_VERSION_AT = (
    "SELECT data FROM versions WHERE partition = ? AND entity = ? AND known_at <= ? ORDER BY known_at DESC LIMIT 1"
)
_LOCATOR = "SELECT instant, due, places, label, known_at FROM locators WHERE partition = ? AND id = ?"
_NOTE_LABEL = (
    "INSERT INTO locators (partition, id, label, known_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET label = excluded.label, known_at = excluded.known_at"
)
_UNLESS_OLDER = "WHERE locators.known_at IS NULL OR excluded.known_at >= locators.known_at"
_PARTITIONS = "SELECT number FROM partitions WHERE name = ? OR (name > ? || '#' AND name < ? || '$')"
_CACHE_KIB = 16 * 1024
_SWEPT_AT_ONCE = 10_000


class SqliteStore:
    """The store in the file at `path`. What takes longer than `timeout` seconds is given up."""

    def __init__(self, path: str | Path, timeout: float = 1.0) -> None:
        self.path, self.timeout = Path(path), timeout
        self._local = threading.local()
        self._partitions: dict[str, int] = {}

    def put(self, space: str, events: Sequence[EventItems]) -> None:
        """Take events in, all or none; those that are there already become what they are now."""
        self._put(space, events, None)

    def fill(self, space: str, events: Sequence[EventItems], labels: Mapping[Identity, Label]) -> None:
        """Take whole events in with their labels: for who fills from the lake."""
        self._put(space, events, labels)
        own = {event.id for event in events}
        others = [label for label in labels.values() if label.id not in own]
        if others:
            self.put_labels(space, others, replace=True)

    def _put(self, space: str, events: Sequence[EventItems], labels: Mapping[Identity, Label] | None) -> None:
        """Events with these labels and no others, or with those that are there."""
        locators = self._number(space)
        numbers = {name: self._number(f"{space}#{name}") for name in {name for e in events for name, _ in e.items}}
        items: list[tuple[Any, ...]] = []
        located: list[tuple[Any, ...]] = []
        with self._writing() as connection:
            # Of one event several times the last counts: what stood before is read below, ahead of all writing.
            for event in {event.id: event for event in events}.values():
                before = connection.execute(_LOCATOR, (locators, event.id)).fetchone()
                label, known_at = before[3:] if before and labels is None else (None, None)
                if labels and event.id in labels:
                    label, known_at = labels[event.id].label, labels[event.id].known_at
                if before and before[2] is not None:
                    kept = set(event.items) if before[0] == event.instant else set()
                    self._delete_items(connection, space, event.id, before, kept)
                mark, key = mark_of(label, known_at, event.due), key_of(event.instant, event.id)
                items += [(numbers[column], entity, key, data, mark) for (column, entity), data in event.items.items()]
                places = json.dumps(list(event.items))
                located.append((locators, event.id, event.instant, event.due, places, label, known_at))
            connection.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)", items)
            connection.executemany("INSERT OR REPLACE INTO locators VALUES (?, ?, ?, ?, ?, ?, ?)", located)

    def put_labels(self, space: str, labels: Sequence[Label], *, replace: bool = False) -> None:
        """Note labels, whether or not their events are there yet. Of several for one event that known last stays,
        unless the others are to be replaced."""
        locators = self._number(space)
        with self._writing() as connection:
            for label in labels:
                connection.execute(
                    _NOTE_LABEL if replace else f"{_NOTE_LABEL} {_UNLESS_OLDER}",
                    (locators, label.id, label.label, label.known_at),
                )
                instant, due, places, kept, known_at = connection.execute(_LOCATOR, (locators, label.id)).fetchone()
                for column, entity in json.loads(places or "[]"):
                    connection.execute(
                        "UPDATE items SET mark = ? WHERE partition = ? AND entity = ? AND key = ?",
                        (
                            mark_of(kept, known_at, due),
                            self._partition(f"{space}#{column}"),
                            entity,
                            key_of(instant, label.id),
                        ),
                    )

    def query(self, space: str, column: str, entity: Entity, after: int, until: int) -> list[Row]:
        """An entity's events later than `after` up to and with `until`, in order of instant and id."""
        try:
            connection = self._connection()
            number = self._partition(f"{space}#{column}")
            return connection.execute(_EVENTS_OF, (number, entity, edge_of(after + 1), edge_of(until + 1))).fetchall()
        except sqlite3.Error as error:
            raise self._away(error) from error

    def put_versions(self, space: str, feed: str, versions: Iterable[tuple[Entity, int, str]]) -> None:
        """Take in what is known of entities: entity, from when on, and the attributes as JSON."""
        number = self._number(f"{space}#{feed}")
        with self._writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?)", ((number, *version) for version in versions)
            )

    def version(self, space: str, feed: str, entity: Entity, instant: int) -> str | None:
        """What was known of an entity at an instant; None before the first version."""
        try:
            connection = self._connection()
            number = self._partition(f"{space}#{feed}")
            found = connection.execute(_VERSION_AT, (number, entity, instant)).fetchone()
        except sqlite3.Error as error:
            raise self._away(error) from error
        return found[0] if found else None

    def ids(self, space: str, first: int, last: int) -> list[Identity]:
        """The events from the instant `first` to before `last`."""
        with self._reading() as connection:
            number = self._partition(space)
            found = connection.execute(
                "SELECT id FROM locators WHERE partition = ? AND instant >= ? AND instant < ?", (number, first, last)
            )
            return [identity for (identity,) in found]

    def remove(self, space: str, ids: Iterable[Identity]) -> int:
        """Take events away, with their labels; gives how many there were."""
        self._number(space)
        with self._writing() as connection:
            return self._remove(connection, space, ids)

    def sweep(self, space: str, before: int) -> int:
        """Let go of events before an instant and of attributes that were succeeded before it; gives how many events.

        A part at a time, so that other writers get their turn.
        """
        locators, total = self._number(space), 0
        while True:
            with self._writing() as connection:
                found = connection.execute(
                    "SELECT id FROM locators WHERE partition = ? AND instant < ? LIMIT ?",
                    (locators, before, _SWEPT_AT_ONCE),
                ).fetchall()
                total += self._remove(connection, space, [identity for (identity,) in found])
            if len(found) < _SWEPT_AT_ONCE:
                break
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM locators WHERE partition = ? AND instant IS NULL AND known_at < ?", (locators, before)
            )
            connection.execute(
                f"DELETE FROM versions WHERE partition IN ({_PARTITIONS}) "  # noqa: S608 - no outside text
                "AND EXISTS (SELECT 1 FROM versions later WHERE later.partition = versions.partition AND "
                "later.entity = versions.entity AND later.known_at > versions.known_at AND later.known_at <= ?)",
                (space, space, space, before),
            )
        return total

    def clear(self, space: str) -> None:
        """Take all of a space away."""
        with self._writing() as connection:
            for table in ("items", "locators", "versions"):
                connection.execute(
                    f"DELETE FROM {table} WHERE partition IN ({_PARTITIONS})",  # noqa: S608 - one of three names
                    (space, space, space),
                )

    def newest(self, space: str) -> int | None:
        """The instant of the newest event; None when there is none."""
        with self._reading() as connection:
            number = self._partition(space)
            return connection.execute("SELECT max(instant) FROM locators WHERE partition = ?", (number,)).fetchone()[0]

    def note(self, name: str) -> dict[str, Any] | None:
        """What was noted under a name."""
        with self._reading() as connection:
            found = connection.execute("SELECT content FROM notes WHERE name = ?", (name,)).fetchone()
        return json.loads(found[0]) if found else None

    def write_note(self, name: str, content: dict[str, Any]) -> None:
        """Note something under a name, in the place of what was there."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(content)))

    def _remove(self, connection: sqlite3.Connection, space: str, ids: Iterable[Identity]) -> int:
        locators, removed = self._partition(space), 0
        for identity in ids:
            before = connection.execute(_LOCATOR, (locators, identity)).fetchone()
            if before is None:
                continue
            if before[2] is not None:
                self._delete_items(connection, space, identity, before, set())
            connection.execute("DELETE FROM locators WHERE partition = ? AND id = ?", (locators, identity))
            removed += 1
        return removed

    def _delete_items(
        self, connection: sqlite3.Connection, space: str, identity: Identity, locator: Any, kept: set[Place]
    ) -> None:
        """Takes away an event's items, but for those at places that are kept."""
        for column, entity in json.loads(locator[2]):
            if (column, entity) not in kept:
                connection.execute(
                    "DELETE FROM items WHERE partition = ? AND entity = ? AND key = ?",
                    (self._partition(f"{space}#{column}"), entity, key_of(locator[0], identity)),
                )

    def _number(self, name: str) -> int:
        with self._reading():
            return self._partition(name)

    def _partition(self, name: str) -> int:
        """The number that stands for a name. New names are taken outside of transactions, which may be undone."""
        number = self._partitions.get(name)
        if number is None:
            connection = self._connection()
            (number,) = connection.execute("SELECT max(number) FROM partitions WHERE name = ?", (name,)).fetchone()
            if number is None:
                connection.execute("INSERT OR IGNORE INTO partitions (name) VALUES (?)", (name,))
                (number,) = connection.execute("SELECT number FROM partitions WHERE name = ?", (name,)).fetchone()
            self._partitions[name] = number
        return number

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection()
        except sqlite3.Error as error:
            raise self._away(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or nothing."""
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._away(error) from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's own, and this process's: a connection must not be carried over a fork."""
        if getattr(self._local, "process", None) == os.getpid():
            return self._local.connection
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'notes'").fetchone() == (0,):
            connection.executescript(_SCHEMA)
        self._local.connection, self._local.process = connection, os.getpid()
        return connection

    def _away(self, error: sqlite3.Error) -> StoreAwayError:
        return StoreAwayError(
            f"the online store {self.path} did not answer within {self.timeout:g} s: {error}. "
            "Mend: see that the disk has room and that no other process holds a lock on the file."
        )
