"""Chooses how the features of some days are computed. Whatever the choice, the results are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.days import Days
from mdlc_assets.features.families import event_days_needed, state_days_needed
from mdlc_assets.features.incremental import incremental_table
from mdlc_assets.features.table import days_needed, feature_table
from mdlc_assets.resources.lake import DayAbsentError, Lake

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
            source.check_labels(event_days_needed(lifecycle, day), day, day)
            source.load(event_days_needed(lifecycle, day), state_days_needed(lifecycle, day))
            yield {day: incremental_table(lifecycle, day, source.events, source.state)}, "incremental"
        return
    for start in range(0, len(days), _CHUNK_DAYS):
        chunk = days[start : start + _CHUNK_DAYS]
        found = _in_bulk(lifecycle, Days(lifecycle, lake), chunk[0], chunk[-1])
        starts = found[lifecycle.dataset.time].dt.date().search_sorted(pl.Series(chunk))
        ends = [*starts[1:], found.height]
        yield {day: found[start:end] for day, start, end in zip(chunk, starts, ends, strict=True)}, "bulk"


def _in_bulk(lifecycle: LifecycleDeclaration, source: Days, first: date, last: date) -> pl.DataFrame:
    """Of the days needed those before the very first day that is there may be absent, a gap may not."""
    needed = [day for day in days_needed(lifecycle, first, last) if day >= source.first]
    if not needed:
        raise DayAbsentError(source.validated.folder, [first])
    source.check_labels(needed, first, last)
    source.load(needed, [])
    events = pl.concat(found for day in needed if (found := source.events(day)) is not None)
    return feature_table(lifecycle, events, None, first, last)
