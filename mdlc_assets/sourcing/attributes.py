"""What is known of entities from day to day, and of each event's entity at its instant.

The table of a day holds, for each entity, the version that stood when the day began, and the changes of the day. So
a day's events find theirs in this one file, however long ago the last change was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Attributes, ColumnType
from mdlc_assets.sourcing.cells import INSTANT, TYPES
from mdlc_assets.sourcing.days import LandedDay, LandingDayError, ReadBytes, distinct_files
from mdlc_assets.sourcing.files import LandingError, read_file
from mdlc_assets.sourcing.mapping import CANONICAL, Layout, find_layout, to_canonical

_DAY = timedelta(days=1)


def attribute_types(lifecycle: LifecycleDeclaration, feed: str) -> dict[str, ColumnType]:
    """The columns of an attribute table with their types: the entity, `known_at`, the attributes."""
    known = lifecycle.dataset.attributes[feed]
    entity = lifecycle.dataset.columns[known.entity].type
    return {known.entity: entity, "known_at": "timestamp", **{n: c.type for n, c in known.columns.items()}}


def attributes_day(
    lifecycle: LifecycleDeclaration,
    feed: str,
    day: date,
    files: Iterable[str],
    read: ReadBytes,
    before: pl.DataFrame | None,
) -> LandedDay:
    """The attribute table of a day from its files of changes and the table of the day before (None: there is none).

    Sorted by entity and `known_at`, one row for each of both; of several, that of the last file. A change counts
    from its `known_at` on, but never before the day of its file: what came late was not known before, whatever it
    says. Raises `LandingDayError` for files that cannot be used.
    """
    known, types = lifecycle.dataset.attributes[feed], attribute_types(lifecycle, feed)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    whole = distinct_files(files, read)
    parts, errors = [_standing(known, before, start)] if before is not None else [], whole.errors
    parts.append(pl.DataFrame(schema={name: TYPES[type_] for name, type_ in types.items()}))
    for name, content in whole.contents.items():
        try:
            changes = _read_changes(name, content, types, start + _DAY)
        except LandingError as error:
            errors.append(error)
            continue
        counts_from = pl.max_horizontal("known_at", pl.lit(start, INSTANT))
        parts.append(changes.with_columns(counts_from.alias("known_at")))
    if errors:
        raise LandingDayError(errors)
    keys = [known.entity, "known_at"]
    versions = pl.concat(parts).unique(keys, keep="last", maintain_order=True).sort(keys)
    size = sum(map(len, whole.contents.values()))
    return LandedDay(versions, tuple(whole.contents), tuple(whole.repeated), (feed,), size)


def with_attributes(
    lifecycle: LifecycleDeclaration, events: pl.DataFrame, tables: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """A day's events, in order of time, with their entities' attributes as of their instant; nulls where none is known.

    `tables` holds the day's attribute tables by the name of their feed.
    """
    for feed, known in lifecycle.dataset.attributes.items():
        versions = tables[feed].select(known.entity, "known_at", *known.columns).sort("known_at", maintain_order=True)
        events = events.join_asof(
            versions,
            left_on=lifecycle.dataset.time,
            right_on="known_at",
            by=known.entity,
            strategy="backward",
            coalesce=True,
            check_sortedness=False,
        ).select(*events.columns, *known.columns)
    return events


def _standing(known: Attributes, before: pl.DataFrame, start: datetime) -> pl.DataFrame:
    """The newest version of each entity before a day begins."""
    earlier = before.filter(pl.col("known_at") < start).sort(known.entity, "known_at")
    return earlier.unique(known.entity, keep="last", maintain_order=True)


def _read_changes(name: str, content: bytes, types: dict[str, ColumnType], end: datetime) -> pl.DataFrame:
    """The rows of a file. Raises `LandingError` for a cell that cannot be read, and for what is known only later."""
    frame = read_file(name, content)
    layout = find_layout(name, frame.columns, [Layout(CANONICAL, {column: column for column in types}, frozenset())])
    rows = to_canonical(name, frame, layout, types)
    entity = next(iter(types))
    for column in (entity, "known_at"):
        if missing := rows[column].null_count():
            raise LandingError(
                name,
                column,
                f"{missing} of {rows.height} cells are empty or cannot be read as {types[column]}",
                "correct the cells and send the file again",
            )
    for column in types:
        unreadable = rows["_unreadable"].str.json_path_match(f"$.{column}").count()
        if unreadable:
            raise LandingError(
                name,
                column,
                f"{unreadable} of {rows.height} cells cannot be read as {types[column]}",
                "correct the cells and send the file again",
            )
    if late := int((rows["known_at"] >= end).sum()):
        raise LandingError(
            name,
            "known_at",
            f"{late} of {rows.height} changes are known only after the day of the file",
            "put each change into the file of the day on which it became known",
        )
    return rows.select(*types)
