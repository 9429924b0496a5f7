"""What a day and the days before it say, out of the lake and the landing zone, for the rules to judge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.arrival import DueLabels, due_day, is_backfill, is_open_ended
from mdlc_assets.quality.entities import entity_columns, entity_values
from mdlc_assets.quality.history import DayFacts, History, remembered_days
from mdlc_assets.quality.metrics import arrival_hours, as_mapping, refused_by_rule
from mdlc_assets.quality.other_datasets import OtherDataset
from mdlc_assets.quality.repeats import marks
from mdlc_assets.quality.report import DayData
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingFeed, LandingZone
from mdlc_assets.sourcing.files import read_file

_THREADS = 4


def arrived_hours(lifecycle: LifecycleDeclaration, feed: LandingFeed, day: date) -> float | None:
    """How long after the day began its last file came; None for a dataset whose days are all in the past."""
    arrived = feed.arrived(day) if is_open_ended(lifecycle) else None
    return arrival_hours(day, arrived) if arrived is not None else None


def day_data(
    lifecycle: LifecycleDeclaration, lake: Lake, landing: LandingZone, events: LandingFeed, day: date
) -> DayData:
    """All that the rules look at of the day itself; `events` is the feed of its own files.

    Raises `LandingError` for a file of another dataset.
    """
    quality, name = lifecycle.quality, lifecycle.name
    others: dict[str, OtherDataset | None] = {}
    for reference in quality.references:
        others[reference.name] = _newest_up_to(landing.dataset(name, reference.dataset), day)
    for agreement in quality.agreements:
        others[agreement.name] = _of_day(landing.dataset(name, agreement.dataset), day)
    return DayData(
        lake.table(name, "validated").read_day(day),
        refused_by_rule(lake.table(name, "quarantine").read_day(day, ["rule"])),
        as_mapping(lake.table(name, "daily_metrics").read_day(day)),
        others,
        _due_labels(lifecycle, lake, day),
        is_open_ended(lifecycle) and is_backfill(lifecycle, day, events.arrived),
    )


def read_history(lifecycle: LifecycleDeclaration, lake: Lake, first: date) -> History:
    """What was kept of the days before `first`, as far back as rules look."""
    quality, reports = lifecycle.quality, lake.documents(lifecycle.name, "quality_report")
    present = set(reports.days())
    days = [day for day in remembered_days(lifecycle, first) if day in present]
    history = History()
    with ThreadPoolExecutor(_THREADS) as pool:
        for day, document in zip(days, pool.map(reports.read_document, days), strict=True):
            history.days[day] = DayFacts.of_document(document)
        if quality.usual:
            _read_metrics(lifecycle, lake, history.before(first, quality.usual.look_back_days), history, pool)
    _read_rows(lifecycle, lake, first, history)
    return history


def _read_metrics(
    lifecycle: LifecycleDeclaration, lake: Lake, days: list[date], history: History, pool: ThreadPoolExecutor
) -> None:
    metrics = lake.table(lifecycle.name, "daily_metrics")
    there = sorted(set(days) & set(metrics.days()))
    for day, figures in zip(there, pool.map(metrics.read_day, there), strict=True):
        history.metrics[day] = as_mapping(figures)


def _read_rows(lifecycle: LifecycleDeclaration, lake: Lake, first: date, history: History) -> None:
    """Entities' values, of stopped days too since they are shown; marks of the passed days."""
    quality, validated = lifecycle.quality, lake.table(lifecycle.name, "validated")
    by_rule = {rule.name: set(history.shown(first, rule.look_back_days)) for rule in quality.entities}
    marked = set(history.before(first, quality.repeats.look_back_days)) if quality.repeats else set()
    needed = marked.union(*by_rule.values())
    there = needed & set(validated.days()) if needed else set()
    for day in sorted(there):
        frame = validated.read_day(day, None if day in marked else entity_columns(lifecycle))
        for rule in quality.entities:
            if day in by_rule[rule.name]:
                history.values[rule.name, day] = entity_values(rule, frame)
        if day in marked:
            history.marks[day] = marks(lifecycle, frame)


def _newest_up_to(feed: LandingFeed, day: date) -> OtherDataset | None:
    days = [d for d in feed.days() if d <= day]
    return _of_day(feed, days[-1]) if days else None


def _of_day(feed: LandingFeed, day: date) -> OtherDataset | None:
    files = feed.files(day)
    if not files:
        return None
    rows = pl.concat([read_file(name, feed.read(name)) for name in files], how="diagonal_relaxed")
    return OtherDataset(", ".join(files), rows)


def _due_labels(lifecycle: LifecycleDeclaration, lake: Lake, day: date) -> DueLabels | None:
    rule = lifecycle.quality.labels
    if rule is None:
        return None
    due = due_day(lifecycle, rule, day)
    validated, labels = lake.table(lifecycle.name, "validated"), lake.table(lifecycle.name, "labels")
    events = validated.read_day(due, [lifecycle.dataset.id]).to_series() if validated.has(due) else None
    if labels.has(due):
        return DueLabels(due, events, labels.read_day(due))
    came = [d for d in labels.days() if d < due]
    # Where labels came before, those of the due day are late; where none ever did, nobody brought them in yet.
    return DueLabels(due, events, labels.read_day(came[-1]).clear() if came else None)
