"""Chooses how the features of some days are computed. Whatever the choice, the results are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.days import Days
from mdlc_assets.features.incremental import incremental_table
from mdlc_assets.features.state import state_days_needed
from mdlc_assets.features.table import days_needed, feature_table, label_days_needed
from mdlc_assets.resources.lake import DayAbsentError, Lake, LakeTable

_FEW_DAYS = 3
# A year at once keeps memory in bounds; each chunk reads the days before it again.
_CHUNK_DAYS = 366


def compute_features(
    lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date]
) -> Iterator[tuple[dict[date, pl.DataFrame], str]]:
    """The feature tables of the days, and the engine that made them, some days at a time.

    Raises `DayAbsentError` for a gap in what the windows reach, and with `engine: incremental` also for state
    that is absent (`StateMismatchError` for that of another declaration).
    """
    declared = lifecycle.features.engine
    source = Days(lifecycle, lake)
    few = len(days) <= _FEW_DAYS
    if declared == "incremental" or (declared == "auto" and few and all(map(source.can_be_incremental, days))):
        for day in days:
            source.check_edge_labels(day)
            source.load(source.edges(day), state_days_needed(lifecycle, day))
            yield {day: incremental_table(lifecycle, day, source.events, source.state)}, "incremental"
        return
    for start in range(0, len(days), _CHUNK_DAYS):
        chunk = days[start : start + _CHUNK_DAYS]
        found = _in_bulk(lifecycle, lake, chunk[0], chunk[-1])
        day_of = pl.col(lifecycle.dataset.time).dt.date()
        yield {day: found.filter(day_of == day) for day in chunk}, "bulk"


def _in_bulk(lifecycle: LifecycleDeclaration, lake: Lake, first: date, last: date) -> pl.DataFrame:
    events = _read(lake.table(lifecycle.name, "validated"), days_needed(lifecycle, first, last))
    label_days = label_days_needed(lifecycle, first, last)
    labels = _read(lake.table(lifecycle.name, "labels"), label_days) if label_days else None
    return feature_table(lifecycle, events, labels, first, last)


def _read(table: LakeTable, needed: Sequence[date]) -> pl.DataFrame:
    """The needed days; those before the very first day that is there may be absent, a gap may not."""
    present = table.days()
    wanted = [day for day in needed if present and day >= present[0]]
    if not wanted:
        raise DayAbsentError(table.folder, needed)
    return table.read(wanted)
