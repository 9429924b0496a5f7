"""Records of a stream to typed rows, by the readers that a landed file gets, and those that cannot be read.

A record is one JSON object: an event under the dataset's own names, or under those of a declared source.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import ColumnType
from mdlc_assets.resources.streams.records import Record
from mdlc_assets.sourcing.files import LandingError, frame_of_objects, read_object
from mdlc_assets.sourcing.mapping import Layout, find_layout, layouts, to_canonical
from mdlc_assets.sourcing.streamed_files import streamed_name

_AHEAD = timedelta(days=1)


@dataclass(frozen=True)
class Poison:
    """A record that is no event. `kind` is a word to count by; neither it nor `reason` holds a value of the record."""

    record: Record
    kind: str
    reason: str


@dataclass(frozen=True)
class StreamedFile:
    """Events of one day and kind: the file they land in, and their rows as table `raw` has them."""

    day: date
    name: str
    content: bytes
    raw: pl.DataFrame


class RecordReader:
    """Reads the records of a lifecycle's stream."""

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        self.lifecycle = lifecycle
        self._layouts = layouts(lifecycle)
        self._types: dict[str, ColumnType] = {name: c.type for name, c in lifecycle.dataset.columns.items()}
        self._known: dict[tuple[str, ...], Layout | str] = {}

    def read(self, records: Sequence[Record]) -> tuple[list[StreamedFile], list[Poison]]:
        """Records of one shard as files to land, and those that cannot be read. Equal ones are one event."""
        kinds: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[Record, dict[str, object]]]] = defaultdict(list)
        poison: list[Poison] = []
        seen: set[bytes] = set()
        for record in records:
            line = _line(record.data)
            if line in seen:
                continue
            seen.add(line)
            # Python's reader takes UTF-16 too, which cannot stand among lines.
            row = None if b"\x00" in line else read_object(line)
            if row is None:
                poison.append(Poison(record, "not_json", "this is not one JSON object. Mend: send one event"))
                continue
            names = tuple(sorted(row))
            layout = self._layout(names)
            if isinstance(layout, str):
                poison.append(Poison(record, "columns", layout))
                continue
            # Whether a column may be missing is judged file by file, so those that lack the same stand together.
            lacks = tuple(sorted(theirs for theirs in self._optional(layout) if row.get(theirs) is None))
            kinds[names, lacks].append((record, row))
        files: list[StreamedFile] = []
        for kind, found in kinds.items():
            layout = self._layout(kind[0])
            assert isinstance(layout, Layout)
            files += self._files(kind, layout, found, poison)
        return files, poison

    def _layout(self, names: tuple[str, ...]) -> Layout | str:
        if names not in self._known:
            # Columns are the sender's to name: what is remembered of them must have an end.
            if len(self._known) > 1_000:
                self._known.clear()
            try:
                self._known[names] = find_layout("record", names, self._layouts)
            except LandingError as error:
                self._known[names] = f"{error.field[:200]}: {error.message[:300]}. Mend: {error.mend[:300]}"
        return self._known[names]

    def _optional(self, layout: Layout) -> Iterable[str]:
        return (theirs for ours, theirs in layout.names.items() if ours in layout.optional)

    def _files(
        self,
        kind: object,
        layout: Layout,
        found: Sequence[tuple[Record, dict[str, object]]],
        poison: list[Poison],
    ) -> Iterable[StreamedFile]:
        raw = to_canonical("record", frame_of_objects([row for _, row in found]), layout, self._types)
        time, dataset = self.lifecycle.dataset.time, self.lifecycle.dataset
        places: dict[date, list[int]] = defaultdict(list)
        for place, ((record, _), day) in enumerate(zip(found, raw[time].dt.date(), strict=True)):
            latest = (record.arrived + _AHEAD).date()
            latest = min(latest, dataset.end) if dataset.end else latest
            if day is None:
                poison.append(Poison(record, "no_time", f"{time} is missing or cannot be read. Mend: correct it"))
            elif not dataset.start <= day <= latest:
                reason = f"{time} is before {dataset.start} or after {latest}. Mend: correct it"
                poison.append(Poison(record, "other_time", reason))
            else:
                places[day].append(place)
        mark = hashlib.sha256(repr(kind).encode()).hexdigest()[:6]
        for day, own in sorted(places.items()):
            records = [found[place][0] for place in own]
            name = streamed_name(day, records[0].shard, records[0].sequence, records[-1].sequence, mark)
            content = b"".join(_line(record.data) for record in records)
            marks = (pl.lit(name).alias("_source_file"), pl.Series("_source_row", range(1, len(own) + 1), pl.Int64))
            yield StreamedFile(day, name, content, raw[own].select(*self._types, *marks, "_unreadable"))


def _line(data: bytes) -> bytes:
    """A record on one line: a JSON text has line ends only between its parts."""
    return data.strip().replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
