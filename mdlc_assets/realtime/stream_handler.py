"""What is done with a batch of records, by the local worker and by the Lambda alike: it lands, and is learnt.

    records -> read -> dead letters | landed files (all that was read) -> online store (what keeps the row rules)

Each effect replaces itself when the batch comes again, whole or cut otherwise. So who calls this marks a batch as
done only afterwards, and may hand it over as often as it likes.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import StoreAwayError
from mdlc_assets.features.state import StateMismatchError
from mdlc_assets.quality.rows import part_rows
from mdlc_assets.realtime.dead_letters import DeadLetters
from mdlc_assets.resources.storage import Storage
from mdlc_assets.resources.streams.records import Record
from mdlc_assets.sourcing.stream_records import Poison, RecordReader, StreamedFile

_LOG = logging.getLogger("mdlc.stream")
# Damaged cells can make Polars panic, which is not an `Exception`.
_FAULTS = (Exception, pl.exceptions.PanicException)


class EffectsAwayError(RuntimeError):
    """The landing zone or the online store does not take a batch now; nothing is lost when it is handed over again."""


class Learner(Protocol):
    """The online features (features/online.py)."""

    def learn(self, events: pl.DataFrame) -> None:
        """Take events in, any number of times."""
        ...


@dataclass
class Handled:
    """What became of a batch: events landed, those learnt, records put aside by kind, the latest event time (ISO)."""

    landed: int = 0
    learnt: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    event_time: str = ""

    def add(self, other: Handled) -> Handled:
        """Both together."""
        return Handled(
            self.landed + other.landed,
            self.learnt + other.learnt,
            self.dead + other.dead,
            max(self.event_time, other.event_time),
        )


class StreamHandler:
    """Handles the records of one lifecycle. `landing` is the landing zone's storage."""

    def __init__(self, lifecycle: LifecycleDeclaration, landing: Storage, online: Learner) -> None:
        self.lifecycle, self.landing, self.online = lifecycle, landing, online
        self.reader = RecordReader(lifecycle)
        self.dead_letters = DeadLetters(landing, lifecycle.name)

    def handle(self, records: Sequence[Record]) -> Handled:
        """All effects of records of one shard, which follow one another. Raises `EffectsAwayError`."""
        if not records:
            return Handled()
        try:
            files, poison = self.reader.read(records)
            events = self._judged(files)
            self._land(files, poison)
            self._learn(events)
        except EffectsAwayError:
            raise
        except _FAULTS as error:
            return self._halved(records, error)
        times = [file.raw[self.lifecycle.dataset.time].max() for file in files]
        return Handled(
            sum(file.raw.height for file in files),
            sum(frame.height for frame in events),
            Counter(one.kind for one in poison),
            max((time.isoformat() for time in times), default=""),  # type: ignore[union-attr]
        )

    def _judged(self, files: Sequence[StreamedFile]) -> list[pl.DataFrame]:
        """The rows that keep the rules, by day."""
        by_day: dict[date, list[pl.DataFrame]] = defaultdict(list)
        for file in files:
            by_day[file.day].append(file.raw)
        return [part_rows(self.lifecycle, day, pl.concat(raw)).validated for day, raw in sorted(by_day.items())]

    def _land(self, files: Sequence[StreamedFile], poison: Sequence[Poison]) -> None:
        try:
            for file in files:
                self.landing.write(f"{self.lifecycle.name}/transactions/{file.name}", file.content)
            self.dead_letters.put(poison)
        except Exception as error:
            # Whatever a storage raises, it is not the records' fault.
            raise EffectsAwayError(f"the landing zone does not take the batch: {type(error).__name__}") from error

    def _learn(self, events: Sequence[pl.DataFrame]) -> None:
        try:
            for frame in events:
                self.online.learn(frame)
        except (StoreAwayError, StateMismatchError) as error:
            raise EffectsAwayError(str(error)) from error

    def _halved(self, records: Sequence[Record], error: BaseException) -> Handled:
        """A batch that fails is tried by halves, until the one record is found that does it."""
        if len(records) > 1:
            half = len(records) // 2
            return self.handle(records[:half]).add(self.handle(records[half:]))
        record, kind = records[0], type(error).__name__
        # The error's text may quote the record: its type must do.
        _LOG.error("record %s of %s failed: %s", record.sequence, record.shard, kind)
        reason = f"handling it failed with {kind}. Mend: correct the record, or report it"
        self._land([], [Poison(record, "failed", reason)])
        return Handled(dead=Counter({"failed": 1}))
