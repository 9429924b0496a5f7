"""The parts of a stream's reader put together, for the local worker and for the Lambda."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.stream import Stream as Declared
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.realtime.stream_handler import StreamHandler
from mdlc_assets.realtime.stream_worker import Pace
from mdlc_assets.resources.storage import open_storage
from mdlc_assets.resources.streams.checkpoints import Checkpoints
from mdlc_assets.resources.streams.records import Stream


@dataclass
class StreamParts:
    """What reads one lifecycle's stream."""

    lifecycle: LifecycleDeclaration
    stream: Stream
    checkpoints: Checkpoints
    handler: StreamHandler
    pace: Pace


def stream_handler(lifecycle: LifecycleDeclaration, resources: Mapping[str, Any]) -> StreamHandler:
    """What is done with a batch: with the landing zone and the online store of these resources."""
    online = OnlineFeatures(lifecycle, resources["online_store"].store)
    return StreamHandler(lifecycle, open_storage(resources["landing"].root), online)


def stream_parts(lifecycle: LifecycleDeclaration, resources: Mapping[str, Any]) -> StreamParts:
    """All of it, as declared; by default where nothing is declared."""
    declared, streams = lifecycle.stream or Declared(), resources["streams"]
    return StreamParts(
        lifecycle,
        streams.stream(lifecycle.name, declared.shards, declared.retention),
        streams.checkpoints(lifecycle.name),
        stream_handler(lifecycle, resources),
        # A read of Kinesis is paid for, and a shard answers five in a second.
        Pace(batch=declared.batch, idle=1.0 if streams.kinesis else 0.2),
    )
