"""The online store: for each entity the recent events from which its features follow at any instant.

Embedded form: SQLite. A filling replaces everything of a lifecycle in one transaction, so readers see the old
state or the new, never half of each.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import dagster as dg
import numpy as np

_SCHEMA = """
CREATE TABLE IF NOT EXISTS filling (lifecycle TEXT PRIMARY KEY, day TEXT, declaration TEXT);
CREATE TABLE IF NOT EXISTS entity_events (
    lifecycle TEXT, family INTEGER, entity TEXT, times BLOB, amounts BLOB, kinds TEXT,
    PRIMARY KEY (lifecycle, family, entity)
) WITHOUT ROWID;
"""

Row = tuple[int, str, np.ndarray, np.ndarray, list[list[str | None]]]
"""Family, entity as text, instants (int64 microseconds), values (float64, a row for each event), kinds."""


class OnlineStore(dg.ConfigurableResource):
    """A SQLite file at `path`."""

    path: str

    def fill(self, lifecycle: str, day: str, declaration: str, rows: Iterable[Row]) -> int:
        """Replace the state of a lifecycle's entities by `rows`; gives how many there are."""
        with closing(self._connect()) as connection, connection:
            connection.execute("DELETE FROM entity_events WHERE lifecycle = ?", (lifecycle,))
            connection.executemany(
                "INSERT INTO entity_events VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (lifecycle, family, entity, times.tobytes(), values.tobytes(), json.dumps(kinds))
                    for family, entity, times, values, kinds in rows
                ),
            )
            connection.execute("INSERT OR REPLACE INTO filling VALUES (?, ?, ?)", (lifecycle, day, declaration))
            (count,) = connection.execute(
                "SELECT count(*) FROM entity_events WHERE lifecycle = ?", (lifecycle,)
            ).fetchone()
            return count

    def filled(self, lifecycle: str) -> tuple[str, str] | None:
        """The day through which the state goes and the declaration's fingerprint; None before the first filling."""
        with closing(self._connect()) as connection:
            return connection.execute(
                "SELECT day, declaration FROM filling WHERE lifecycle = ?", (lifecycle,)
            ).fetchone()

    def get(
        self, lifecycle: str, family: int, entity: str
    ) -> tuple[np.ndarray, np.ndarray, list[list[str | None]]] | None:
        """Instants, values and kinds of an entity; None for one that is not known."""
        with closing(self._connect()) as connection:
            found = connection.execute(
                "SELECT times, amounts, kinds FROM entity_events WHERE lifecycle = ? AND family = ? AND entity = ?",
                (lifecycle, family, entity),
            ).fetchone()
        if found is None:
            return None
        times = np.frombuffer(found[0], np.int64)
        return times, np.frombuffer(found[1], np.float64).reshape(len(times), -1), json.loads(found[2])

    def _connect(self) -> sqlite3.Connection:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        return connection
