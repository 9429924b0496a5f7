"""How far the reading of a stream is behind, shard by shard, and what could not be read today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mdlc_assets.realtime.dead_letters import DeadLetters
from mdlc_assets.resources.streams.checkpoints import Checkpoints, Entry
from mdlc_assets.resources.streams.records import Stream


@dataclass(frozen=True)
class ShardLag:
    """One shard: how long its oldest unread record has waited, by whom it is read, and what was done so far."""

    shard: str
    lag: timedelta
    reader: str
    events: int
    event_time: str


@dataclass(frozen=True)
class StreamState:
    """A stream at an instant. `dead` counts today's dead letters by kind."""

    at: datetime
    shards: tuple[ShardLag, ...]
    dead: Mapping[str, int]

    @property
    def lag(self) -> timedelta:
        """The greatest of all shards."""
        return max((shard.lag for shard in self.shards), default=timedelta(0))

    @property
    def event_time(self) -> str:
        """Of the latest event that was read, ISO; empty when there is none."""
        return max((shard.event_time for shard in self.shards), default="")

    def late(self, alarm: timedelta) -> list[str]:
        """A sentence for each shard that is further behind than that."""
        late = [shard for shard in self.shards if shard.lag > alarm]
        return [
            f"{s.shard} is {s.lag.total_seconds():,.0f} s behind, " + (f"read by {s.reader}" if s.reader else "unread")
            for s in late
        ]


def look_at_stream(
    stream: Stream, checkpoints: Checkpoints | None, letters: DeadLetters, now: datetime | None = None
) -> StreamState:
    """What the stream itself says of each shard's next record, so that a reader that died shows.

    Without checkpoints of our own (a Lambda has AWS's) only the dead letters. Raises `StreamAwayError`.
    """
    now = now or datetime.now(UTC)
    if checkpoints is None:
        return StreamState(now, (), letters.counts(now.date()))
    entries, found = checkpoints.entries(), []
    for shard in stream.shards():
        entry = entries.get(shard.name)
        if entry is not None and entry.ended:
            continue
        records = stream.read(shard.name, entry.after if entry else None, 1).records
        lag = max(now - records[0].arrived, timedelta(0)) if records else timedelta(0)
        found.append(_shard_lag(shard.name, lag, entry, now))
    # Those that were read to their end still count among the events.
    gone = [_shard_lag(e.shard, timedelta(0), e, now) for e in entries.values() if e.ended]
    return StreamState(now, (*found, *gone), letters.counts(now.date()))


def _shard_lag(name: str, lag: timedelta, entry: Entry | None, now: datetime) -> ShardLag:
    if entry is None:
        return ShardLag(name, lag, "", 0, "")
    reader = entry.owner if entry.until > now.timestamp() else ""
    return ShardLag(name, lag, reader, entry.progress.events, entry.progress.event_time)
