"""Records of a stream to typed rows, by the readers that a landed file gets, and those that cannot be read.

A record is one JSON object: an event under the dataset's own names, or under those of a declared source.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import orjson
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import ColumnType
from mdlc_assets.resources.streams.records import Record
from mdlc_assets.sourcing.cells import TYPES
from mdlc_assets.sourcing.files import LandingError, frame_of_objects, read_object
from mdlc_assets.sourcing.mapping import Layout, find_layout, layouts, to_canonical
from mdlc_assets.sourcing.streamed_files import streamed_name

_AHEAD = timedelta(days=1)
# Python's types that are a column's type to the last bit.
_PLAIN: dict[ColumnType, set[type]] = {
    "integer": {int, type(None)},
    "float": {float, int, type(None)},
    "boolean": {bool, type(None)},
    "string": {str, type(None)},
    "timestamp": {str, type(None)},
}
_MINUS_ZERO = re.compile(rb"-0\s*[,}]")


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
        kinds: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[Record, dict[str, object] | None]]] = (
            defaultdict(list)
        )
        poison: list[Poison] = []
        seen: set[bytes] = set()
        # Producers name columns in few orders.
        sorted_names: dict[tuple[str, ...], tuple[str, ...]] = {}
        for record in records:
            line = _line(record.data)
            if line in seen:
                continue
            seen.add(line)
            row, plain = _read_row(line)
            if row is None:
                poison.append(Poison(record, "not_json", "this is not one JSON object. Mend: send one event"))
                continue
            order = tuple(row)
            names = sorted_names.get(order)
            if names is None:
                names = sorted_names[order] = tuple(sorted(order))
            layout = self._layout(names)
            if isinstance(layout, str):
                poison.append(Poison(record, "columns", layout))
                continue
            # Whether a column may be missing is judged file by file, so those that lack the same stand together.
            lacks = tuple(sorted(theirs for theirs in self._optional(layout) if row.get(theirs) is None))
            kinds[names, lacks].append((record, row if plain else None))
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

    def _typed(self, layout: Layout, rows: Sequence[dict[str, object]]) -> pl.DataFrame | None:
        """Rows of a layout with columns of their types, which spares reading numbers out of text. None where that
        would not give the same: a value is not of its column's type, or an id is made of the text as it stood."""
        if layout.made_id is not None:
            return None
        columns = {}
        for ours, type_ in self._types.items():
            theirs = layout.names.get(ours)
            if theirs is None or theirs not in rows[0]:
                continue
            values = [row[theirs] for row in rows]
            if not set(map(type, values)) <= _PLAIN[type_]:
                return None
            try:
                # A timestamp stays text: its forms are read in one place.
                columns[theirs] = pl.Series(values, dtype=pl.String() if type_ == "timestamp" else TYPES[type_])
            except (TypeError, OverflowError):
                # More than 64 bits.
                return None
        return pl.DataFrame(columns) if columns else None

    def _files(
        self,
        kind: object,
        layout: Layout,
        found: Sequence[tuple[Record, dict[str, object] | None]],
        poison: list[Poison],
    ) -> Iterable[StreamedFile]:
        rows = [row for _, row in found if row is not None]
        frame = self._typed(layout, rows) if len(rows) == len(found) else None
        if frame is None:
            texts = [read_object(_line(record.data)) for record, _ in found]
            frame = frame_of_objects([text for text in texts if text is not None])
        raw = to_canonical("record", frame, layout, self._types)
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


def _read_row(line: bytes) -> tuple[dict[str, object] | None, bool]:
    """A record as a row, None where it is not one JSON object; and whether its numbers are numbers, not text.

    The fast reader takes less than Python's, so what it refuses is asked of that one, and what is nested is, whose
    depth they judge differently. It says 0 for -0, which as a float is another number.
    """
    # Python's reader takes UTF-16 too, which cannot stand among lines.
    if b"\x00" in line:
        return None, False
    if b"[" in line or line.count(b"{") != 1 or _MINUS_ZERO.search(line):
        return read_object(line), False
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return read_object(line), False
    return (row, True) if isinstance(row, dict) else (None, False)


def _line(data: bytes) -> bytes:
    """A record on one line: a JSON text has line ends only between its parts."""
    return data.strip().replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
