"""Features on Spark, for what one machine cannot hold: the bulk engine's own code on buckets of whole entities.

    read      a task for each day: its events with labels, cut for each entity into buckets by the entity's hash
    windows   a task for each bucket: the events of its entities of all days, in order, through `window_columns`
    finish    a task for each day: the columns beside the day's events, row-level expressions, the finished table

What Spark carries between them are pieces: numbers that say whose they are, and rows as Arrow bytes. So types
stay as the lake has them, and the JVM never takes rows apart. Days are read as every engine reads them (a lake
has a file for each), from a folder or from S3, and need no connector in Spark.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import WindowColumn
from mdlc_assets.features.days import Days
from mdlc_assets.features.families import decimals_of, empty_events
from mdlc_assets.features.table import days_needed, finished_table
from mdlc_assets.features.windows import window_columns
from mdlc_assets.resources.lake import DayAbsentError, Lake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PIECES = "plan int, owner int, part int, piece binary"
_ARROW = pa.schema([("plan", pa.int32()), ("owner", pa.int32()), ("part", pa.int32()), ("piece", pa.binary())])
# So much of the lake's Parquet to a bucket; as events in memory it is some ten times that.
_BUCKET_BYTES = 64 * 2**20
# A few buckets for each core, since some come out larger than others.
_BUCKETS_PER_CORE = 2
# Pieces that Spark hands to Python at once. Its own 10,000 are meant for rows, not for pieces of many rows.
_PIECES_AT_ONCE = 32
_NO_PIECE = -1

Batches = Iterable[pa.RecordBatch]
Piece = tuple[int, int, bytes]
"""Owner (a bucket or a day), part (a day or an entity), rows."""


class ChangedMeanwhileError(RuntimeError):
    """A day's events were replaced while its features were computed."""


@dataclass(frozen=True)
class Plan:
    """The work of one job: features of the days from `days[asked]` on, from the events of all `days`."""

    lifecycle: LifecycleDeclaration
    root: str
    days: tuple[date, ...]
    asked: int
    buckets: int

    @property
    def entities(self) -> list[str]:
        """The entities whose windows are computed, in the order of the declaration."""
        return list(dict.fromkeys(column.entity for column in self.lifecycle.features.window_columns()))

    def columns(self, entity: str) -> list[WindowColumn]:
        """The windowed columns of an entity."""
        return [column for column in self.lifecycle.features.window_columns() if column.entity == entity]

    def events(self, number: int) -> pl.DataFrame | None:
        """The events of a day with labels, in order; None before the data begin."""
        return Days(self.lifecycle, Lake(root=self.root)).events(self.days[number])


Finish = Callable[[Plan, int, pl.DataFrame], Piece]


def plan_features(lifecycle: LifecycleDeclaration, root: str, days: Sequence[date], cores: int) -> Plan:
    """Plans the features of consecutive days on so many cores. Raises `DayAbsentError` as the bulk engine does."""
    source = Days(lifecycle, Lake(root=root))
    first, last = days[0], days[-1]
    present = set(source.validated.days())
    needed = [day for day in days_needed(lifecycle, first, last) if day >= source.first]
    if absent := [day for day in needed if day not in present]:
        raise DayAbsentError(source.validated.folder, absent)
    if not needed:
        raise DayAbsentError(source.validated.folder, [first])
    source.check_labels(needed, first, last)
    size = sum(source.validated.sizes(needed).values())
    buckets = max(_BUCKETS_PER_CORE * cores, -(-size // _BUCKET_BYTES))
    # Days that are asked for but lie before the data have no events, and a table without rows all the same.
    whole = sorted({*needed, *days})
    return Plan(lifecycle, root, tuple(whole), whole.index(first), buckets)


def write_features(
    session: SparkSession, lifecycle: LifecycleDeclaration, root: str, days: Sequence[date]
) -> dict[date, int]:
    """Computes the features of consecutive days and has the tasks write them: each day wholly or not at all.

    Returns the rows of each day. Raises `DayAbsentError` for a gap in what the windows reach.
    """
    plan = plan_features(lifecycle, root, days, session.sparkContext.defaultParallelism)
    written = feature_pieces(session, [plan], write_table).collect()
    return {plan.days[row.owner]: row.part for row in sorted(written)}


def read_features(
    session: SparkSession, lifecycle: LifecycleDeclaration, root: str, days: Sequence[date]
) -> Iterator[tuple[date, pl.DataFrame]]:
    """The feature tables of consecutive days, each brought here when it is its turn, in no certain order."""
    plan = plan_features(lifecycle, root, days, session.sparkContext.defaultParallelism)
    for row in feature_pieces(session, [plan], give_table).toLocalIterator(prefetchPartitions=True):
        yield plan.days[row.owner], unpacked(row.piece)


def feature_pieces(session: SparkSession, plans: Sequence[Plan], finish: Finish) -> DataFrame:
    """A row for each plan's days asked for: what `finish` makes of the day's number and finished table.

    Nothing runs yet. One job may do several plans, since small ones cost less than a job does.
    """
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(_PIECES_AT_ONCE))
    cores = session.sparkContext.defaultParallelism
    asked = [(i, number) for i, plan in enumerate(plans) for number in range(plan.asked, len(plan.days))]
    # Each day asked for has a piece, even where no event of it has an entity.
    pieces = session.createDataFrame([(*day, _NO_PIECE, b"") for day in asked], _PIECES)
    if any(plan.entities for plan in plans):
        days = [(i, number) for i, plan in enumerate(plans) if plan.entities for number in range(len(plan.days))]
        read = session.range(0, len(days), 1, min(len(days), _BUCKETS_PER_CORE * cores))
        events = read.mapInArrow(partial(_each, plans, days), _PIECES)
        buckets = max(plan.buckets * len(plan.entities) for plan in plans)
        windows = partial(_gathered, plans, _bucket_windows)
        pieces = pieces.union(events.repartition(buckets, "plan", "owner").mapInArrow(windows, _PIECES))
    tasks = min(len(asked), max(cores, *(plan.buckets for plan in plans)))
    return pieces.repartition(tasks, "plan", "owner").mapInArrow(
        partial(_gathered, plans, partial(_finish_day, finish)), _PIECES
    )


def give_table(plan: Plan, number: int, table: pl.DataFrame) -> Piece:
    """The finished table itself."""
    return number, table.height, packed(table)


def write_table(plan: Plan, number: int, table: pl.DataFrame) -> Piece:
    """Writes the finished table into the lake; says how many rows it has."""
    Lake(root=plan.root).table(plan.lifecycle.name, "features").write_day(plan.days[number], table)
    return number, table.height, b""


def packed(table: pl.DataFrame) -> bytes:
    """A table as Arrow bytes; Spark compresses what it carries."""
    buffer = io.BytesIO()
    table.write_ipc_stream(buffer, compression="uncompressed")
    return buffer.getvalue()


def unpacked(piece: bytes) -> pl.DataFrame:
    """The inverse of `packed`."""
    return pl.read_ipc_stream(io.BytesIO(piece))


def _each(plans: Sequence[Plan], days: Sequence[tuple[int, int]], batches: Batches) -> Iterator[pa.RecordBatch]:
    """The pieces of those of the days (of the plan, by number) whose places are given."""
    for batch in batches:
        for place in batch.column(0).to_pylist():
            plan, number = days[place]
            for piece in _read_day(plans[plan], number):
                yield _batch_of(plan, piece)


def _gathered(
    plans: Sequence[Plan],
    work: Callable[[Plan, int, list[tuple[int, pl.DataFrame]]], Iterable[Piece]],
    batches: Batches,
) -> Iterator[pa.RecordBatch]:
    """Calls `work` with each owner and all its pieces, which are in one partition together."""
    owners: dict[tuple[int, int], list[tuple[int, bytes]]] = {}
    for batch in batches:
        for plan, owner, part, piece in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            owners.setdefault((plan, owner), []).append((part, piece))
    for plan, owner in sorted(owners):
        found = [(part, unpacked(piece)) for part, piece in owners.pop((plan, owner)) if part != _NO_PIECE]
        for made in work(plans[plan], owner, found):
            yield _batch_of(plan, made)


def _batch_of(plan: int, piece: Piece) -> pa.RecordBatch:
    values = zip((plan, *piece), _ARROW.types, strict=True)
    return pa.RecordBatch.from_arrays([pa.array([value], type_) for value, type_ in values], schema=_ARROW)


def _read_day(plan: Plan, number: int) -> Iterator[Piece]:
    """The events of a day that have the entity, in pieces for each entity's buckets."""
    events = plan.events(number)
    if events is None or not events.height:
        return
    place = [pl.lit(number, pl.Int32).alias("_day"), pl.int_range(events.height, dtype=pl.Int32).alias("_row")]
    for i, entity in enumerate(plan.entities):
        columns = plan.columns(entity)
        texts = [text for column in columns for text in (column.value, column.where) if text]
        named = [name for text in texts for name in pl.sql_expr(text).meta.root_names()]
        names = dict.fromkeys([plan.lifecycle.dataset.time, entity, *named])
        bucket = (pl.col(entity).hash() % plan.buckets).alias("_bucket")
        rows = events.select(*names, *place, bucket).filter(pl.col(entity).is_not_null())
        for (key,), part in rows.partition_by("_bucket", as_dict=True, include_key=False).items():
            yield i * plan.buckets + key, number, packed(part)


def _bucket_windows(plan: Plan, owner: int, pieces: list[tuple[int, pl.DataFrame]]) -> Iterator[Piece]:
    """The windowed columns of a bucket's events of the days asked for, in a piece for each of those days."""
    part = owner // plan.buckets
    entity = plan.entities[part]
    # A day's events come in the order of time and id, so no id is needed to tell which of a tie is the first.
    events = pl.concat(rows for _, rows in sorted(pieces, key=lambda piece: piece[0]))
    wanted = (events["_day"] >= plan.asked).alias("wanted")
    if not wanted.any():
        return
    found = window_columns(
        events,
        wanted,
        plan.columns(entity),
        time=plan.lifecycle.dataset.time,
        decimals=decimals_of(plan.lifecycle),
    )
    rows = pl.concat([events.select("_day", "_row").filter(wanted), found], how="horizontal")
    for (day,), of_day in rows.partition_by("_day", as_dict=True, include_key=False).items():
        yield day, part, packed(of_day)


def _finish_day(finish: Finish, plan: Plan, number: int, pieces: list[tuple[int, pl.DataFrame]]) -> list[Piece]:
    """The finished table of a day from the day's events and all pieces of its windowed columns."""
    lifecycle = plan.lifecycle
    events = plan.events(number)
    if events is None:
        events = empty_events(lifecycle)
    columns = {c.name: np.full(events.height, c.default, np.float64) for c in lifecycle.features.window_columns()}
    for part, entity in enumerate(plan.entities):
        own = [rows for of, rows in pieces if of == part]
        held = events.height - events[entity].null_count()
        if sum(rows.height for rows in own) != held:
            raise ChangedMeanwhileError(
                f"{lifecycle.name}/validated of {plan.days[number]} has {held} events with {entity}, and had "
                f"{sum(rows.height for rows in own)} when its windows were computed. Mend: run the day again."
            )
        for rows in own:
            at = rows["_row"].to_numpy()
            for column in plan.columns(entity):
                columns[column.name][at] = rows[column.name].to_numpy()
    return [finish(plan, number, finished_table(lifecycle, events, pl.DataFrame(columns)))]
