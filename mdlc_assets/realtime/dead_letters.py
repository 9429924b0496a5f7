"""Where records go that are no events, with the reason, until somebody mends them.

    <landing>/<lifecycle>/dead_letter/date=2018-04-01/<shard>-<first>-<last>.jsonl

One line each: shard, sequence number, when it arrived (the day of the folder), key, kind, reason, and the record
itself: as `text` where it is UTF-8, or else as `base64`. Files are whole or absent; one written again replaces itself.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson

from mdlc_assets.resources.storage import Storage
from mdlc_assets.resources.streams.records import Record, Stream
from mdlc_assets.sourcing.stream_records import Poison, RecordReader

_FOLDER = "dead_letter"


@dataclass(frozen=True)
class Letter:
    """A record that was put aside."""

    record: Record
    kind: str
    reason: str


@dataclass(frozen=True)
class Redriven:
    """How many records went back into the stream, and how many still cannot be read."""

    sent: int
    left: int


class DeadLetters:
    """The dead letters of one lifecycle, in the landing zone."""

    def __init__(self, storage: Storage, lifecycle: str) -> None:
        self.storage, self.folder = storage, f"{lifecycle}/{_FOLDER}"

    def put(self, poison: Sequence[Poison]) -> None:
        """Keep records of one batch of one shard."""
        by_day: dict[date, list[Poison]] = defaultdict(list)
        for one in sorted(poison, key=lambda one: int(one.record.sequence)):
            by_day[one.record.arrived.date()].append(one)
        for day, of_day in by_day.items():
            first, last = of_day[0].record, of_day[-1].record
            name = f"{first.shard}-{first.sequence.zfill(20)}-{last.sequence.zfill(20)}.jsonl"
            self._write(f"{self.folder}/date={day}/{name}", [Letter(o.record, o.kind, o.reason) for o in of_day])

    def days(self) -> list[date]:
        """The days of which there are any, sorted."""
        return sorted({date.fromisoformat(name.split("/date=")[1][:10]) for name in self._names()})

    def of_day(self, day: date) -> list[Letter]:
        """Those that arrived on a day, each once though it was delivered more often."""
        found = {}
        for name in self._names(day):
            for letter in self._read(name):
                found[letter.record.shard, int(letter.record.sequence)] = letter
        return [found[key] for key in sorted(found)]

    def counts(self, day: date) -> dict[str, int]:
        """How many of each kind arrived on a day."""
        return dict(sorted(Counter(letter.kind for letter in self.of_day(day)).items()))

    def redrive(self, reader: RecordReader, stream: Stream, day: date) -> Redriven:
        """Put those of a day back into the stream that can be read by now, since they or the declaration were mended.

        Killed in between, it sends some again the next time, which makes no difference downstream.
        """
        sent = left = 0
        seen: set[bytes] = set()
        for name in self._names(day):
            letters = self._read(name)
            good = [letter for letter in letters if _is_good(reader, letter.record)]
            fresh = {letter.record.data: letter.record for letter in good if letter.record.data not in seen}
            stream.put([(record.key, record.data) for record in fresh.values()])
            seen |= fresh.keys()
            rest = [letter for letter in letters if letter not in good]
            if not rest:
                self.storage.delete(name)
            elif good:
                self._write(name, rest)
            sent, left = sent + len(fresh), left + len(rest)
        return Redriven(sent, left)

    def _names(self, day: date | None = None) -> list[str]:
        folder = f"{self.folder}/date={day}" if day else self.folder
        return [name for name in self.storage.names(folder) if "/date=" in name and name.endswith(".jsonl")]

    def _read(self, name: str) -> list[Letter]:
        return [_letter(orjson.loads(line)) for line in self.storage.read(name).splitlines() if line.strip()]

    def _write(self, name: str, letters: Iterable[Letter]) -> None:
        lines = (orjson.dumps(_content(letter), option=orjson.OPT_APPEND_NEWLINE) for letter in letters)
        self.storage.write(name, b"".join(lines))


def _is_good(reader: RecordReader, record: Record) -> bool:
    try:
        return not reader.read([record])[1]
    except Exception:
        return False


def _content(letter: Letter) -> dict[str, Any]:
    record = letter.record
    try:
        said = {"text": record.data.decode()}
    except UnicodeDecodeError:
        said = {"base64": base64.b64encode(record.data).decode()}
    return {
        "shard": record.shard,
        "sequence": record.sequence,
        "arrived": record.arrived,
        "key": record.key,
        "kind": letter.kind,
        "reason": letter.reason,
        **said,
    }


def _letter(content: dict[str, Any]) -> Letter:
    data = content["text"].encode() if "text" in content else base64.b64decode(content["base64"])
    arrived = datetime.fromisoformat(content["arrived"])
    record = Record(content["shard"], content["sequence"], content["key"], data, arrived)
    return Letter(record, content["kind"], content["reason"])
