"""Dagster's events on one machine: those of many days go to SQLite together instead of one by one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dagster import EventLogEntry, Field, StringSource
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

_LARGEST_BATCH = "1000"


class BatchedEventLog(SqliteEventLogStorage):
    """Dagster's own SQLite log, whose batches are one transaction in each of the files that they touch.

    A run over a range says for each day and asset that it is planned and that it is there. Dagster's log opens,
    commits and closes two files for each of these events, and waits for the disk each time: nine tenths of what a
    year of small days took. The same rows are written, by the same code.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._mine = threading.local()
        self._tables: set[str] = set()
        # Dagster gathers events for a log only where this is set; whoever has set it otherwise keeps that.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _LARGEST_BATCH)
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """The settings in dagster.yaml."""
        return {"base_dir": Field(StringSource, description="The folder of the files, one for each run and an index.")}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> BatchedEventLog:
        """Made by Dagster from the settings."""
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """All of the events, or none where one of them cannot be stored: Dagster then stores them singly."""
        with self._db_lock, contextlib.ExitStack() as opened:
            batch = self._mine.batch = _Batch(opened)
            try:
                for event in events:
                    self.store_event(event)
                for event, event_id in batch.newest.values():
                    super()._store_asset_event(batch.files[INDEX_SHARD_NAME], event, event_id)
            finally:
                self._mine.batch = None

    def has_table(self, table_name: str) -> bool:
        """Whether the index has it. A table stays, so that one that was there is not looked for again."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @contextlib.contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        batch: _Batch | None = getattr(self._mine, "batch", None)
        if batch is None:
            with super()._connect(shard) as connection:
                yield connection
            return
        if shard not in batch.files:
            batch.files[shard] = batch.opened.enter_context(self._begun(shard))
        yield batch.files[shard]

    @contextlib.contextmanager
    def _begun(self, shard: str) -> Iterator[Connection]:
        """A transaction in one file, as Dagster opens it; the lock is held already."""
        waiting = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
        engine = create_engine(self.conn_string_for_shard(shard), poolclass=NullPool, connect_args=waiting)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        with engine.begin() as connection:
            yield connection

    def _store_asset_event(self, conn: Connection, event: EventLogEntry, event_id: int) -> None:
        batch: _Batch | None = getattr(self._mine, "batch", None)
        if batch is None or event.dagster_event is None:
            super()._store_asset_event(conn, event, event_id)
        else:
            # The asset's own row says what happened last: each event of a batch would overwrite the one before.
            batch.newest[event.dagster_event.asset_key, event.dagster_event.event_type_value] = event, event_id


class _Batch:
    """The files that a batch has opened, and the newest event of each asset and kind."""

    def __init__(self, opened: contextlib.ExitStack) -> None:
        self.opened = opened
        self.files: dict[str, Connection] = {}
        self.newest: dict[Any, tuple[EventLogEntry, int]] = {}
