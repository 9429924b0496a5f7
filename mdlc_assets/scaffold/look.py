"""Looks at data that nobody has declared yet: types, the time, an id, labels, entities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mdlc_assets.declaration.dataset import ColumnType
from mdlc_assets.sourcing.cells import read_cells
from mdlc_assets.sourcing.declared import RESERVED
from mdlc_assets.sourcing.files import LandingError, read_file

_ENDINGS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".ndjson")
_TYPES: tuple[ColumnType, ...] = ("integer", "float", "timestamp", "boolean")
_DAY_FIRST = re.compile(r"^\s*\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
_WITH_COMMA = re.compile(r"^[+-]?\d+(\.\d{3})*,\d+$")
_ZONED = r":\d{2}(\.\d+)?\s*(Z|z|[+-]\d{2}(:?\d{2})?)$"
_ID = re.compile(r"(^|_)(id|ids|key|uuid|guid|ref|reference|number|no|nr|index)$")
_ENTITY = re.compile(
    r"(^|_)(id|key|code|customer|client|user|account|card|device|machine|sensor|store|shop|merchant|terminal|product"
    r"|sku|vehicle|patient|driver|station|tailnum|host|ip|airport|carrier)($|_)"
)
_LABEL = re.compile(
    r"(^|_)(label|target|class|outcome|y|fraud|churn|churned|default|cancelled|canceled|failure|failed)$"
)
_TIME = re.compile(r"(^|_)(time|timestamp|datetime|date|day|ts|when|at)($|_)")
_YES = ("1", "true", "yes", "y", "t", "positive", "bad", "fraud", "failed", "churned")
_FEWEST_ENTITIES = 10
_FEWEST_IN_A_ROW = 30
_NEARLY = 0.9
_FEWEST_EVENTS_OF_ONE = 2.0


class DataError(ValueError):
    """Data that cannot be started from: what was looked at, what is wrong, and the mend."""

    def __init__(self, what: str, message: str, mend: str) -> None:
        super().__init__(f"{what}: {message}. Mend: {mend}.")


@dataclass(frozen=True)
class Seen:
    """One column as it was found. `name` is ours, `source` stands in the files."""

    name: str
    source: str
    type: ColumnType
    nulls: int
    distinct: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """What the data seem to be; whoever asked may know better."""

    rows: pl.DataFrame = field(repr=False)
    """As they stand in the files, under the files' names."""
    columns: Mapping[str, Seen]
    times: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    entities: tuple[str, ...]

    def column(self, name: str, option: str) -> Seen:
        """The column of this name, ours or the files'. Raises `DataError`."""
        for seen in self.columns.values():
            if name in (seen.name, seen.source):
                return seen
        known = ", ".join(seen.source for seen in self.columns.values())
        raise DataError(f"{option} {name}", "the data have no such column", f"use one of {known}")


def data_files(path: Path) -> list[Path]:
    """The file, or the data files of the folder, sorted. Raises `DataError`."""
    if not path.exists():
        raise DataError(str(path), "there is no such file or folder", "check the path")
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.name.lower().endswith(_ENDINGS))
    if not found:
        raise DataError(str(path), "the folder has no data files", f"put files there that end in {', '.join(_ENDINGS)}")
    return found


def read_rows(path: Path) -> pl.DataFrame:
    """All rows of a file or folder as they stand there. Raises `DataError`."""
    frames = []
    for file in data_files(path):
        try:
            frames.append(read_file(str(file), file.read_bytes()))
        except LandingError as error:
            place = str(file) if error.field == "(file)" else f"{file}: {error.field}"
            raise DataError(place, error.message, error.mend) from None
    try:
        rows = pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(str(path), f"its files do not go together ({reason})", "give files of one kind") from None
    if rows.is_empty():
        raise DataError(str(path), "there are columns but no rows", "give data with rows")
    return rows


def look_at(rows: pl.DataFrame) -> Look:
    """Types of all columns, and which of them could be the time, the id, the label or an entity."""
    names = _our_names(rows.columns)
    columns = {names[source]: _seen(names[source], rows[source]) for source in rows.columns}
    times = sorted(
        (seen for seen in columns.values() if seen.type == "timestamp"),
        key=lambda seen: (seen.nulls, not _TIME.search(seen.name), -seen.distinct),
    )
    height = rows.height
    ids = [
        seen
        for seen in columns.values()
        if seen.type in ("string", "integer")
        and seen.distinct == height
        and not seen.nulls
        and (_ID.search(seen.name) or seen.type == "string" or _runs_on(rows[seen.source]))
    ]
    ids.sort(key=lambda seen: (not _ID.search(seen.name), seen.type != "string"))
    two = [seen for seen in columns.values() if seen.distinct == 2 and seen.type != "timestamp"]
    zero_one = [seen for seen in two if set(seen.examples) == {"0", "1"}]
    labels = sorted(
        two,
        key=lambda seen: (not _LABEL.search(seen.name), seen not in zero_one, not seen.name.startswith("is_")),
    )
    entities = [seen for seen in columns.values() if _is_entity(seen, height)]
    entities.sort(key=lambda seen: (not _ENTITY.search(seen.name), -seen.distinct))
    return Look(
        rows,
        columns,
        tuple(seen.name for seen in times),
        tuple(seen.name for seen in ids),
        tuple(seen.name for seen in labels),
        tuple(seen.name for seen in entities),
    )


def day_first(look: Look) -> str | None:
    """A column of dates such as 31/12/2024, which nobody can read for certain; None without one."""
    for seen in look.columns.values():
        if seen.type == "string" and seen.examples and all(_DAY_FIRST.match(text) for text in seen.examples):
            return seen.source
    return None


def decimal_comma(look: Look) -> str | None:
    """A column of numbers such as 12,50, which is text to whoever reads it by the point; None without one."""
    for seen in look.columns.values():
        examples = [text for text in seen.examples if text.strip()]
        if seen.type == "string" and examples and all(_WITH_COMMA.match(text) for text in examples):
            present = look.rows[seen.source].drop_nulls().str.strip_chars()
            if present.filter(present != "").str.contains(_WITH_COMMA.pattern).all():
                return seen.source
    return None


def with_zone(cells: pl.Series) -> tuple[int, int]:
    """How many instants written as text say their zone, and how many do not."""
    if cells.dtype != pl.String:
        return 0, 0
    present = cells.drop_nulls().str.strip_chars()
    present = present.filter(present != "")
    said = int(present.str.contains(_ZONED).sum())
    return said, len(present) - said


def repeated_values(cells: pl.Series) -> tuple[int, int]:
    """How many values of a column stand there already in an earlier row, and the first row that repeats one, from 1."""
    again = ~cells.is_first_distinct() & cells.is_not_null()
    return int(again.sum()), int(again.arg_true()[0]) + 1 if again.any() else 0


def nearly_the_id(look: Look) -> Seen | None:
    """A column called like an id in which a few values stand twice; None without one, or where there is an id."""
    for seen in () if look.ids else look.columns.values():
        called_so = seen.type in ("string", "integer") and _ID.search(seen.name) and not seen.nulls
        if called_so and _NEARLY * look.rows.height <= seen.distinct < look.rows.height:
            return seen
    return None


def has_zone(cells: pl.Series) -> bool:
    """Whether instants say their zone themselves."""
    if isinstance(cells.dtype, pl.Datetime):
        return cells.dtype.time_zone is not None
    if cells.dtype != pl.String:
        return False
    return bool(cells.drop_nulls().head(1_000).str.contains(_ZONED).all())


def positive_values(seen: Seen) -> tuple[str, ...]:
    """Which of a label's two values means 1; nothing when they are 0 and 1 already. Raises `DataError`."""
    if set(seen.examples) <= {"0", "1"}:
        return ()
    if seen.distinct <= 2:
        for value in seen.examples:
            if value.strip().lower() in _YES:
                return (value,)
    values = ", ".join(seen.examples)
    raise DataError(
        f"--label {seen.source}",
        f"it is not said which of its values ({values}) counts as 1",
        f"add --positive VALUE, for instance --positive {seen.examples[0]!r}; several may be given; or --number for "
        "a quantity",
    )


def _seen(name: str, cells: pl.Series) -> Seen:
    present = cells.drop_nulls()
    if present.dtype == pl.String:
        present = present.filter(present.str.strip_chars() != "")
    type_ = _type_of(cells, present)
    values, _ = read_cells(cells, type_)
    found = values.drop_nulls()
    # Of yes and no, what stands there: whoever names one of them means the cell, and not true.
    worded = type_ == "boolean" and present.dtype == pl.String
    shown = present.str.strip_chars().str.to_lowercase() if worded else found.cast(pl.String)
    examples = shown.value_counts(sort=True).head(6)
    texts = sorted(examples.to_series(0).to_list())
    return Seen(name, cells.name, type_, values.null_count(), found.n_unique(), tuple(texts))


def _type_of(cells: pl.Series, present: pl.Series) -> ColumnType:
    if cells.dtype.is_nested() or cells.dtype in (pl.Binary, pl.Object, pl.Time, pl.Duration):
        raise DataError(
            f"column {cells.name}", f"values of type {cells.dtype} have no place in a table", "leave it out"
        )
    if present.dtype == pl.Boolean:
        return "boolean"
    if present.is_empty() or isinstance(present.dtype, pl.Categorical | pl.Enum):
        return "string"
    for type_ in _TYPES:
        if present.dtype.is_numeric() and type_ == "timestamp":
            continue
        if not read_cells(present, type_)[1].any():
            if type_ == "integer" and _leading_zeros(present):
                return "string"
            return type_
    return "string"


def _leading_zeros(present: pl.Series) -> bool:
    """007 is a name, not a number."""
    return present.dtype == pl.String and bool(present.str.contains(r"^\s*0\d").any())


def _runs_on(values: pl.Series) -> bool:
    """Whether whole numbers that are all different leave few gaps: they count rows, and measure nothing."""
    numbers = values.cast(pl.Int64, strict=False)
    lowest, highest = numbers.min(), numbers.max()
    if len(values) < _FEWEST_IN_A_ROW or not isinstance(lowest, int) or not isinstance(highest, int):
        return False
    return highest - lowest < 2 * len(values)


def _is_entity(seen: Seen, height: int) -> bool:
    if seen.type not in ("string", "integer") or seen.distinct < _FEWEST_ENTITIES:
        return False
    if (height - seen.nulls) / seen.distinct < _FEWEST_EVENTS_OF_ONE:
        return False
    return bool(_ENTITY.search(seen.name)) or (seen.type == "string" and seen.distinct > _FEWEST_ENTITIES)


def _our_names(sources: Sequence[str]) -> dict[str, str]:
    """Lower-case names with underscores, each once and none of the lake's own, for any names in files."""
    ours: dict[str, str] = {}
    for source in sources:
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", source.strip())
        name = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_") or "column"
        name = f"c_{name}" if name[0].isdigit() else name
        while name in ours.values() or name in RESERVED:
            name += "_"
        ours[source] = name
    return ours
