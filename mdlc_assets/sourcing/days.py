"""All files of one day to the day's raw rows, and to its labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import ColumnType
from mdlc_assets.sourcing.cells import INSTANT, TYPES, label_type
from mdlc_assets.sourcing.files import LandingError, read_file
from mdlc_assets.sourcing.mapping import CANONICAL, Layout, find_layout, layouts, to_canonical
from mdlc_assets.sourcing.streamed_files import is_streamed, new_lines

_MARKS = {"_source_file": pl.String(), "_source_row": pl.Int64(), "_unreadable": pl.String()}
ReadBytes = Callable[[str], bytes]


@dataclass(frozen=True)
class LandedDay:
    """What a day's files held. `repeated` are files left out because an earlier one has the same bytes."""

    frame: pl.DataFrame
    files: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    size: int = 0


@dataclass
class _Whole:
    """Distinct contents of a day's files, in the order of their names."""

    contents: dict[str, bytes] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    errors: list[LandingError] = field(default_factory=list)


class LandingDayError(ValueError):
    """Every file that cannot be used, not only the first."""

    def __init__(self, errors: Iterable[LandingError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(f"- {error}" for error in self.errors))


def raw_day(lifecycle: LifecycleDeclaration, files: Iterable[str], read: ReadBytes) -> LandedDay:
    """The rows of a day's transaction files as table `raw` has them; see docs/lake_tables.md.

    Files come in the order of their names; one with the same bytes as another is read once. Raises
    `LandingDayError` with every file that cannot be used. Of what a stream delivered more than once, one row is there.
    """
    whole = distinct_files(files, read)
    types: dict[str, ColumnType] = {name: c.type for name, c in lifecycle.dataset.columns.items()}
    known = layouts(lifecycle)
    empty = pl.DataFrame(schema={**{name: TYPES[type_] for name, type_ in types.items()}, **_MARKS})
    parts, sources, errors = [empty], [], whole.errors
    delivered: set[bytes] = set()
    for name, content in whole.contents.items():
        try:
            frame = read_file(name, content)
            layout = find_layout(name, frame.columns, known)
            if frame.height == 0:
                raise LandingError(name, "(file)", "the file has columns but no rows", "send it again")
            rows = new_lines(content, delivered) if is_streamed(name) else list(range(frame.height))
            if not rows:
                whole.repeated.append(name)
                continue
            part = to_canonical(name, frame[rows], layout, types)
        except LandingError as error:
            errors.append(error)
            continue
        sources.append(layout.source)
        parts.append(
            part.select(
                *types,
                pl.lit(name).alias("_source_file"),
                (pl.Series("_source_row", rows, pl.Int64) + 1),
                "_unreadable",
            )
        )
    if errors:
        raise LandingDayError(errors)
    return LandedDay(
        pl.concat(parts),
        tuple(whole.contents),
        tuple(whole.repeated),
        tuple(sorted(set(sources))),
        sum(map(len, whole.contents.values())),
    )


def is_quiet(lifecycle: LifecycleDeclaration, landed: Sequence[date], day: date) -> bool:
    """Whether a day without a file is one on which nothing happened: where that is declared, and later days landed."""
    return lifecycle.dataset.quiet_days and bool(landed) and day < landed[-1] and day not in landed


def has_inline_labels(lifecycle: LifecycleDeclaration) -> bool:
    """Whether any declared source writes the label beside the event."""
    return any(source.labels_inline for source in lifecycle.dataset.sources.values())


def labels_day(
    lifecycle: LifecycleDeclaration,
    day: date,
    transaction_files: Iterable[str],
    read_transactions: ReadBytes,
    label_files: Iterable[str],
    read_labels: ReadBytes,
) -> LandedDay:
    """The labels of the events of `day` as table `labels` has them: id, label, `known_at`, by id.

    From the files of the labels feed, and from transaction files whose source has `labels_inline`, where
    a label is known `labels.delay` after its event. Of several labels for one id the one known last is
    kept; among those known at the same instant, the one of the last file. Raises `LandingDayError`.
    """
    identity, label = lifecycle.dataset.id, lifecycle.labels.column
    empty = pl.DataFrame(
        schema={identity: _type(lifecycle, identity), label: label_type(lifecycle.labels), "known_at": INSTANT}
    )
    parts, files, errors, sources = [empty], [], [], set()
    repeated: list[str] = []
    size = 0
    for whole, parse in (
        (distinct_files(transaction_files, read_transactions), _inline_labels),
        (distinct_files(label_files, read_labels), _fed_labels),
    ):
        errors += whole.errors
        repeated += whole.repeated
        for name, content in whole.contents.items():
            try:
                found = parse(lifecycle, day, name, read_file(name, content))
            except LandingError as error:
                errors.append(error)
                continue
            if found is not None:
                parts.append(found[1])
                sources.add(found[0])
                files.append(name)
                size += len(content)
    if errors:
        raise LandingDayError(errors)
    frame = (
        pl.concat(parts)
        .sort("known_at", maintain_order=True)
        .unique(identity, keep="last", maintain_order=True)
        .sort(identity)
    )
    return LandedDay(frame, tuple(files), tuple(repeated), tuple(sorted(sources)), size)


def _inline_labels(
    lifecycle: LifecycleDeclaration, day: date, name: str, frame: pl.DataFrame
) -> tuple[str, pl.DataFrame] | None:
    identity, time, label = lifecycle.dataset.id, lifecycle.dataset.time, lifecycle.labels.column
    layout = find_layout(name, frame.columns, layouts(lifecycle))
    if layout.label is None:
        return None
    columns = lifecycle.dataset.columns
    types: dict[str, ColumnType] = {
        identity: columns[identity].type,
        time: columns[time].type,
        label: _label_type(lifecycle),
    }
    rows = to_canonical(name, frame, layout, types)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    of_the_day = pl.col(time).is_between(start, start + timedelta(days=1), closed="left")
    rows = _as_labels(lifecycle, rows)
    _refuse_labels(lifecycle, name, layout.names[label], rows, nullable=True)
    # Rows without id, time or label have none that could be joined; quality quarantines the first two.
    rows = rows.filter(of_the_day & pl.col(identity).is_not_null() & pl.col(label).is_not_null())
    known_at = (pl.col(time) + lifecycle.labels.delay).alias("known_at")
    return layout.source, rows.select(identity, pl.col(label).cast(label_type(lifecycle.labels)), known_at)


def _fed_labels(lifecycle: LifecycleDeclaration, day: date, name: str, frame: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    identity, label = lifecycle.dataset.id, lifecycle.labels.column
    types: dict[str, ColumnType] = {
        identity: lifecycle.dataset.columns[identity].type,
        label: _label_type(lifecycle),
        "known_at": "timestamp",
    }
    layout = find_layout(name, frame.columns, label_layouts(lifecycle))
    rows = to_canonical(name, frame, layout, types)
    for ours in (identity, "known_at"):
        count = rows[ours].null_count()
        if count:
            raise LandingError(
                name,
                layout.names[ours],
                f"{count} of {rows.height} cells are empty or cannot be read as {types[ours]}",
                "correct the cells and send the file again",
            )
    rows = _as_labels(lifecycle, rows)
    _refuse_labels(lifecycle, name, layout.names[label], rows, nullable=False)
    return layout.source, rows.select(identity, pl.col(label).cast(label_type(lifecycle.labels)), "known_at")


def _label_type(lifecycle: LifecycleDeclaration) -> ColumnType:
    if lifecycle.labels.kind == "number":
        return "float"
    return "string" if lifecycle.labels.positive_values else "integer"


def _as_labels(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> pl.DataFrame:
    """Labels that stand in words as 1 and 0; nothing but blanks is no label."""
    label, positive = lifecycle.labels.column, lifecycle.labels.positive_values
    if not positive:
        return rows
    text = pl.col(label).str.strip_chars()
    return rows.with_columns(
        pl.when(text != "")
        .then(text.str.to_lowercase().is_in([value.strip().lower() for value in positive]))
        .cast(pl.Int64)
        .alias(label)
    )


def label_layouts(lifecycle: LifecycleDeclaration) -> list[Layout]:
    """The names of id, label and `known_at` in files of the labels feed: ours first, then those of each source."""
    wanted = [lifecycle.dataset.id, lifecycle.labels.column, "known_at"]
    own = Layout(CANONICAL, {name: name for name in wanted}, frozenset())
    others = [
        Layout(name, {c: source.columns.get(c, c) for c in wanted}, frozenset(), time_zone=source.time_zone)
        for name, source in lifecycle.dataset.sources.items()
    ]
    return [own, *others]


def _refuse_labels(
    lifecycle: LifecycleDeclaration, file: str, column: str, rows: pl.DataFrame, *, nullable: bool
) -> None:
    label, number = lifecycle.labels.column, lifecycle.labels.kind == "number"
    unreadable = pl.col("_unreadable").str.json_path_match(f"$.{label}").is_not_null()
    wrong = unreadable if number else pl.col(label).is_in([0, 1]).not_().fill_null(False) | unreadable
    if not nullable:
        wrong = wrong | pl.col(label).is_null()
    count = rows.select(wrong.sum()).item()
    if count:
        raise LandingError(
            file,
            column,
            f"{count} of {rows.height} labels are {'not finite numbers' if number else 'neither 0 nor 1'}",
            f"write {'numbers' if number else '1 for a positive and 0 for any other'}; leave out those that are not "
            "known yet",
        )


def distinct_files(files: Iterable[str], read: ReadBytes) -> _Whole:
    """The contents of files, those with the same bytes as an earlier one left out."""
    whole = _Whole()
    seen: dict[bytes, str] = {}
    for name in files:
        try:
            content = read(name)
        except FileNotFoundError:
            whole.errors.append(LandingError(name, "(file)", "the file went away while it was read", "put it back"))
            continue
        digest = hashlib.sha256(content).digest()
        if content and digest in seen:
            whole.repeated.append(name)
            continue
        seen[digest] = name
        whole.contents[name] = content
    return whole


def _type(lifecycle: LifecycleDeclaration, column: str) -> pl.DataType:
    return TYPES[lifecycle.dataset.columns[column].type]
