"""The online store: for each entity the recent events from which its features follow at any instant.

Embedded form: SQLite. On AWS: DynamoDB.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import dagster as dg
from pydantic import Field

from mdlc_assets.resources.online_store.items import EventItems, Label, StoreAwayError
from mdlc_assets.resources.online_store.sqlite import SqliteStore

__all__ = ["EventItems", "Label", "OnlineStore", "SqliteStore", "StoreAwayError"]


class OnlineStore(dg.ConfigurableResource):
    """Where the store is, and how long an answer may take."""

    form: Literal["embedded", "dynamodb"] = "embedded"
    path: str = Field(default="", description="The embedded form's file.")
    timeout: float = Field(default=1.0, gt=0, description="Seconds after which a store counts as away.")

    @cached_property
    def store(self) -> SqliteStore:
        """The store itself. Nothing connects before it is used."""
        return SqliteStore(self.path, self.timeout)
