"""The local reader of a stream: shards are leased, read in order, handled, and then marked as done.

Any number of workers share the shards of a stream. One that dies is missed when its leases run out, and what it had
begun is done again by another. Of a batch nothing is marked before all its effects are there, and no further one is
read meanwhile, so the stream itself is the buffer when something is slow or away.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from mdlc_assets.realtime.stream_handler import EffectsAwayError, Handled, StreamHandler
from mdlc_assets.realtime.stream_meters import StreamMeters
from mdlc_assets.resources.streams.checkpoints import Checkpoints, Lease, LeaseLostError, Progress
from mdlc_assets.resources.streams.records import Batch, Stream, StreamAwayError

_LOG = logging.getLogger("mdlc.stream")
_Given = TypeVar("_Given")


@dataclass(frozen=True)
class Pace:
    """How a worker works. Seconds, but for `batch`, the most records at once."""

    batch: int = 1_000
    lease: float = 10.0
    idle: float = 0.2
    first_pause: float = 0.1
    longest_pause: float = 5.0


@dataclass
class _Held:
    lease: Lease
    progress: Progress
    renewed: float


class StreamWorker:
    """Reads a stream until it is told to stop, or, when asked to, until nothing is left."""

    def __init__(
        self,
        stream: Stream,
        checkpoints: Checkpoints,
        handler: StreamHandler,
        pace: Pace | None = None,
        meters: StreamMeters | None = None,
        owner: str = "",
    ) -> None:
        self.stream, self.checkpoints, self.handler = stream, checkpoints, handler
        self.pace, self.meters = pace or Pace(), meters or StreamMeters()
        self.owner = owner or f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.stopping = threading.Event()
        self._held: dict[str, _Held] = {}
        self._looked = -self.pace.lease

    def stop(self) -> None:
        """Finish the batch at hand, mark it, give the shards back, and return."""
        self.stopping.set()

    def run(self, *, until_empty: bool = False) -> Handled:
        """What was done with all records that came meanwhile."""
        total = Handled()
        try:
            while not self.stopping.is_set():
                self._share()
                found = False
                for shard in list(self._held):
                    if self.stopping.is_set():
                        break
                    handled = self._turn(shard)
                    total, found = total.add(handled or Handled()), found or handled is not None
                if until_empty and not found and self._empty():
                    break
                if not found:
                    self.stopping.wait(self.pace.idle)
        finally:
            self._leave()
        return total

    def _turn(self, shard: str) -> Handled | None:
        """One batch of a shard; None when there was nothing."""
        began, held = time.monotonic(), self._held.get(shard)
        if held is None:
            return None
        try:
            batch = self._patiently(shard, "stream", lambda: self.stream.read(shard, held.lease.after, self.pace.batch))
            if batch is None:
                return None
            handled = self._patiently(shard, "effects", lambda: self.handler.handle(batch.records))
            if handled is None:
                return None
            self._mark(held, batch, handled)
        except LeaseLostError:
            # Whoever has it does the batch again, which changes nothing.
            _LOG.warning("another worker has %s", shard)
            self._held.pop(shard, None)
            return None
        self.meters.handled(shard, handled, batch.behind_ms, time.monotonic() - began)
        return handled if batch.records else None

    def _mark(self, held: _Held, batch: Batch, handled: Handled) -> None:
        shard = held.lease.shard
        events, latest = held.progress.events + handled.landed, max(held.progress.event_time, handled.event_time)
        held.progress = Progress(batch.behind_ms, events, latest)
        if batch.records or batch.ended:
            after = batch.records[-1].sequence if batch.records else None
            self._renew(held, after=after, ended=batch.ended)
            if batch.ended:
                _LOG.info("%s is read to its end", shard)
                self.checkpoints.release(held.lease)
                del self._held[shard]
                self._looked = -self.pace.lease
        elif time.monotonic() - held.renewed > self.pace.lease / 3:
            self._renew(held)

    def _renew(self, held: _Held, after: str | None = None, *, ended: bool = False) -> None:
        def write() -> Lease:
            return self.checkpoints.write(held.lease, self.pace.lease, held.progress, after=after, ended=ended)

        held.lease = _insist(write, self.pace, self._pause) or held.lease
        held.renewed = time.monotonic()

    def _patiently(self, shard: str, what: str, act: Callable[[], _Given]) -> _Given | None:
        """Try until it is done, with growing pauses, keeping all leases meanwhile; None when told to stop before."""
        pause = self.pace.first_pause
        while not self.stopping.is_set():
            try:
                return act()
            except (StreamAwayError, EffectsAwayError) as error:
                _LOG.warning("%s waits %.1f s: %s", shard, pause, error)
                self._pause(what, pause)
                pause = min(2 * pause, self.pace.longest_pause)
                self._keep_leases()
        return None

    def _pause(self, what: str, seconds: float) -> None:
        self.meters.pauses.labels(what).inc()
        self.stopping.wait(seconds)

    def _keep_leases(self) -> None:
        for shard, held in list(self._held.items()):
            if time.monotonic() - held.renewed > self.pace.lease / 3:
                try:
                    held.lease = self.checkpoints.write(held.lease, self.pace.lease, held.progress)
                    held.renewed = time.monotonic()
                except LeaseLostError:
                    del self._held[shard]
                except StreamAwayError:
                    return
        if not self._held:
            raise LeaseLostError("all")

    def _share(self) -> None:
        """Now and then: say that this worker lives, take what is free, give away what is more than its share."""
        if time.monotonic() - self._looked < self.pace.lease / 3:
            return
        try:
            self.checkpoints.greet(self.owner, self.pace.lease)
            workers = {*self.checkpoints.workers(), self.owner}
            ready = self._ready_shards()
            fair = -(-len(ready) // len(workers))
            for shard in list(self._held)[fair:]:
                self.checkpoints.release(self._held.pop(shard).lease)
            for shard in ready:
                if shard in self._held or len(self._held) >= fair:
                    continue
                lease = self.checkpoints.take(shard, self.owner, self.pace.lease)
                if lease is not None and not lease.ended:
                    before = self.checkpoints.entries()[shard].progress
                    self._held[shard] = _Held(lease, replace(before, behind_ms=0), time.monotonic())
        except StreamAwayError as error:
            _LOG.warning("shards cannot be shared out: %s", error)
            self._pause("checkpoints", self.pace.first_pause)
            return
        self._looked = time.monotonic()

    def _ready_shards(self) -> list[str]:
        """Shards not read to their end whose parents were; an event of an entity comes after its earlier ones."""
        listed, entries = {shard.name: shard for shard in self.stream.shards()}, self.checkpoints.entries()
        ended = {name for name, entry in entries.items() if entry.ended}
        return [
            name
            for name, shard in sorted(listed.items())
            if name not in ended and all(parent in ended or parent not in listed for parent in shard.parents)
        ]

    def _empty(self) -> bool:
        """Whether what this worker does not hold is held by others."""
        try:
            entries, now = self.checkpoints.entries(), time.time()
            others = {name for name, e in entries.items() if e.owner not in ("", self.owner) and e.until > now}
            return set(self._ready_shards()) <= self._held.keys() | others
        except StreamAwayError:
            return False

    def _leave(self) -> None:
        try:
            for held in self._held.values():
                self.checkpoints.release(held.lease)
            self.checkpoints.leave(self.owner)
        except (StreamAwayError, LeaseLostError):
            _LOG.warning("the shards could not be given back: they are free in %.0f s", self.pace.lease)
        self._held.clear()


def _insist(act: Callable[[], _Given], pace: Pace, pause_for: Callable[[str, float], None]) -> _Given:
    """Also while stopping: what is done should be marked. Raises StreamAwayError after ten tries."""
    pause = pace.first_pause
    for _ in range(9):
        try:
            return act()
        except StreamAwayError:
            pause_for("checkpoints", pause)
            pause = min(2 * pause, pace.longest_pause)
    return act()
