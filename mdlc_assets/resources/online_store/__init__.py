"""The online store: for each entity the recent events from which its features follow at any instant.

Embedded form: SQLite. On AWS: DynamoDB.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import dagster as dg
from pydantic import Field

from mdlc_assets.resources.online_store.dynamodb import DynamoStore
from mdlc_assets.resources.online_store.items import EventItems, Label, StoreAwayError
from mdlc_assets.resources.online_store.sqlite import SqliteStore

__all__ = ["DynamoStore", "EventItems", "Label", "OnlineStore", "SqliteStore", "StoreAwayError"]


class OnlineStore(dg.ConfigurableResource):
    """Where the store is, and how long an answer may take. Nothing connects before it is used."""

    form: Literal["embedded", "dynamodb"] = "embedded"
    path: str = Field(default="", description="The embedded form's file.")
    table: str = Field(default="mdlc-online", description="DynamoDB's table.")
    region: str = Field(default="", description="Empty: as the environment says.")
    endpoint_url: str = Field(default="", description="Another address of DynamoDB, such as moto's.")
    timeout: float = Field(default=1.0, gt=0, description="Seconds after which the store counts as away to a decision.")
    run_timeout: float = Field(default=30.0, gt=0, description="The same to a run, which nobody waits for.")

    @cached_property
    def store(self) -> SqliteStore | DynamoStore:
        """The store itself, as decisions ask it: late is as bad as never."""
        return self._store(self.timeout)

    @cached_property
    def store_of_runs(self) -> SqliteStore | DynamoStore:
        """The same store for what fills or compares it: a busy machine is no reason to give up."""
        return self._store(max(self.timeout, self.run_timeout))

    def _store(self, seconds: float) -> SqliteStore | DynamoStore:
        if self.form == "embedded":
            return SqliteStore(self.path, seconds)
        return DynamoStore(self.table, seconds, region=self.region, endpoint_url=self.endpoint_url)

    def prepare(self, **tags: str) -> None:
        """Make DynamoDB's table with these tags where it is not there; the embedded form makes its file itself."""
        if isinstance(self.store, DynamoStore):
            self.store.make_table({"application": "mdlc", **tags})
