"""A small real stream on disk: events, the parts that read it, and what must be there afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.home import Home
from mdlc_assets.realtime.stream_handler import StreamHandler
from mdlc_assets.realtime.stream_worker import Pace, StreamWorker
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.online_store import SqliteStore
from mdlc_assets.resources.storage import FolderStorage
from mdlc_assets.resources.streams.checkpoints import LocalCheckpoints
from mdlc_assets.resources.streams.embedded import EmbeddedStream
from mdlc_assets.sourcing.days import raw_day

DAY = date(2018, 6, 1)
QUICK = Pace(batch=20, lease=1.0, idle=0.01, first_pause=0.01, longest_pause=0.1)


def event(number: int, **more: Any) -> dict[str, Any]:
    """An event of the day, each a second after the one before."""
    at = datetime(2018, 6, 1, 8, tzinfo=UTC) + timedelta(seconds=number)
    own = {"transaction_id": number, "event_time": at.isoformat(), "customer_id": number % 7, "terminal_id": number % 5}
    return own | {"amount": number % 97 + 0.25, "account_age_days": number % 400} | more


def entry(content: Any) -> tuple[str, bytes]:
    """A record under its customer, as a producer puts it."""
    if isinstance(content, bytes):
        return "poison", content
    return str(content.get("customer_id", "none")), json.dumps(content).encode()


class Place:
    """Where one test's stream, landing zone and store lie; each call opens them anew, as a process does."""

    def __init__(self, root: Path, lifecycle: LifecycleDeclaration, shards: int = 1) -> None:
        self.home, self.lifecycle, self.shards = Home(root), lifecycle, shards

    def stream(self) -> EmbeddedStream:
        return EmbeddedStream(self.home.streams / f"{self.lifecycle.name}.db", shards=self.shards)

    def checkpoints(self) -> LocalCheckpoints:
        return LocalCheckpoints(self.home.streams / "checkpoints.db", self.lifecycle.name)

    def online(self) -> OnlineFeatures:
        return OnlineFeatures(self.lifecycle, SqliteStore(self.home.root / "online" / "store.db", 10.0))

    def handler(self, online: Any = None) -> StreamHandler:
        return StreamHandler(self.lifecycle, FolderStorage(self.home.landing), online or self.online())

    def worker(self, online: Any = None, pace: Pace = QUICK, owner: str = "") -> StreamWorker:
        return StreamWorker(self.stream(), self.checkpoints(), self.handler(online), pace, owner=owner)

    def raw(self, day: date = DAY) -> pl.DataFrame:
        """The day as table `raw` would have it."""
        feed = LandingZone(root=str(self.home.landing)).feed(self.lifecycle.name, "transactions")
        return raw_day(self.lifecycle, feed.files(day), feed.read).frame

    def learnt(self) -> list[Any]:
        """The ids in the online store, sorted."""
        online = self.online()
        return sorted(online.store.ids(online.space, 0, 2**62))


def ids_of(frame: pl.DataFrame) -> list[Any]:
    """The transactions of a frame, sorted, each as often as it is there."""
    return sorted(frame["transaction_id"].to_list())


def entries(contents: Sequence[Any]) -> list[tuple[str, bytes]]:
    """Records of contents."""
    return [entry(content) for content in contents]
