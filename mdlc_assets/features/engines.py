"""Chooses how the features of some days are computed. Whatever the choice, the results are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Literal

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.days import Days
from mdlc_assets.features.families import event_days_needed, state_days_needed
from mdlc_assets.features.incremental import incremental_table
from mdlc_assets.features.spark import read_features
from mdlc_assets.features.table import days_needed, feature_table
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.spark_session import spark_is_installed, spark_session

Engine = Literal["bulk", "incremental", "spark"]

_FEW_DAYS = 3
# A year at once keeps memory in bounds; each chunk reads the days before it again.
_CHUNK_DAYS = 366


def choose_engine(source: Days, days: Sequence[date], *, spark: bool) -> Engine:
    """The declared engine; for `auto` that which suits the days. `spark` says whether Spark can be had.

    Reads what the incremental engine then uses. Raises `DayAbsentError` for a gap in what the windows reach.
    """
    lifecycle, features = source.lifecycle, source.lifecycle.features
    if features.engine != "auto":
        return features.engine
    if len(days) <= _FEW_DAYS and all(map(source.can_be_incremental, days)):
        return "incremental"
    # What bulk would have in memory at once.
    reached = days_needed(lifecycle, days[0], days[:_CHUNK_DAYS][-1]) if spark else []
    return "spark" if sum(source.validated.sizes(reached).values()) > features.spark_above else "bulk"


def compute_features(
    lifecycle: LifecycleDeclaration,
    lake: Lake,
    days: Sequence[date],
    engine: Engine | None = None,
    source: Days | None = None,
) -> Iterator[tuple[dict[date, pl.DataFrame], Engine]]:
    """The feature tables of the days, and the engine that made them, some days at a time; Spark runs on this machine.

    `engine` and `source` are those of `choose_engine`, where that has been asked already.
    Raises `DayAbsentError` for a gap in what the windows reach; with `engine: incremental` also for state that is
    absent, and `StateMismatchError` for that of another declaration; with `engine: spark` `SparkAbsentError`.
    """
    source = source or Days(lifecycle, lake)
    engine = engine or choose_engine(source, days, spark=spark_is_installed())
    if engine == "incremental":
        for day in days:
            source.check_labels(event_days_needed(lifecycle, day), day, day)
            source.load(event_days_needed(lifecycle, day), state_days_needed(lifecycle, day))
            yield {day: incremental_table(lifecycle, day, source.events, source.state)}, engine
        return
    if engine == "spark":
        with spark_session() as session:
            for day, table in read_features(session, lifecycle, lake.root, days):
                yield {day: table}, engine
        return
    for start in range(0, len(days), _CHUNK_DAYS):
        chunk = days[start : start + _CHUNK_DAYS]
        found = _in_bulk(lifecycle, Days(lifecycle, lake), chunk[0], chunk[-1])
        starts = found[lifecycle.dataset.time].dt.date().search_sorted(pl.Series(chunk))
        ends = [*starts[1:], found.height]
        yield {day: found[start:end] for day, start, end in zip(chunk, starts, ends, strict=True)}, engine


def _in_bulk(lifecycle: LifecycleDeclaration, source: Days, first: date, last: date) -> pl.DataFrame:
    """Of the days needed those before the very first day that is there may be absent, a gap may not."""
    needed = [day for day in days_needed(lifecycle, first, last) if day >= source.first]
    if not needed:
        raise DayAbsentError(source.validated.folder, [first])
    source.check_labels(needed, first, last)
    source.load(needed, [])
    events = pl.concat(found for day in needed if (found := source.events(day)) is not None)
    return feature_table(lifecycle, events, None, first, last)
