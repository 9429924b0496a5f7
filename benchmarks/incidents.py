"""Are incidents found, how soon, and how often is it a false alarm? Quality checks and open loop together.

    python -m benchmarks.incidents ../shared/payments

Sixty clean days of each world are watched; then each incident of the corpus happens on its own for three days.
A day counts as told when a check of quality, of whatever severity, is broken or the open loop is in alarm. Rules
and thresholds were chosen on the first simulated world and the first half of the real days; the held-out worlds
have other seeds, days and sizes.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.incident_corpus import (
    SIZES,
    Arrived,
    Incident,
    World,
    corpus_lifecycle,
    handbook,
    simulated,
)
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.table import days_needed, feature_table
from mdlc_assets.monitoring.open_loop import Reference, healthy_days, watch
from mdlc_assets.monitoring.sketch import Sketch, sketches
from mdlc_assets.quality.arrival import DueLabels, due_day
from mdlc_assets.quality.history import DayFacts, History
from mdlc_assets.quality.metrics import as_mapping, daily_metrics, refused_by_rule
from mdlc_assets.quality.other_datasets import OtherDataset
from mdlc_assets.quality.report import DayData, judge_day
from mdlc_assets.quality.rows import part_rows

_WARM_UP, _TRAINING, CLEAN_DAYS = 40, 28, 60
_DAYS_OF_AN_INCIDENT = 3


@dataclass
class Watched:
    """A world's clean days as quality and open loop saw them."""

    world: World
    lifecycle: LifecycleDeclaration
    facts: dict[date, DayFacts] = field(default_factory=dict)
    values: dict[tuple[str, date], pl.DataFrame] = field(default_factory=dict)
    metrics: dict[date, Mapping[Any, float]] = field(default_factory=dict)
    marks: dict[date, pl.DataFrame] = field(default_factory=dict)
    validated: dict[date, pl.DataFrame] = field(default_factory=dict)
    sketched: dict[date, dict[str, Sketch]] = field(default_factory=dict)
    documents: dict[date, dict[str, Any]] = field(default_factory=dict)
    false_alarms: list[str] = field(default_factory=list)

    @property
    def live(self) -> list[date]:
        """The days that are watched, after warming up and training."""
        return list(self.world.days[_WARM_UP + _TRAINING :])


def watch_clean_days(world: World, lifecycle: LifecycleDeclaration) -> Watched:
    """Judges all days of a world in order, each as it came."""
    found = Watched(world, lifecycle)
    history = History()
    for i, day in enumerate(world.days):
        document, validated = judge(found, history, day, came(world, lifecycle, day))
        found.validated[day] = validated
        found.values |= {key: frame for key, frame in history.values.items() if key[1] == day}
        found.metrics[day] = history.metrics.get(day, {})
        if day in history.marks:
            found.marks[day] = history.marks[day]
        if i >= _WARM_UP + _TRAINING:
            found.false_alarms += told_by_quality(document, day)
    found.facts = dict(history.days)
    days = world.days[_WARM_UP:]
    found.sketched = sketch_days(found, found.validated, days[0], days[-1])
    for day in found.live:
        document = open_loop(found, day, found.sketched[day], found.documents)
        found.documents[day] = document
        if document["alarm"]:
            found.false_alarms.append(f"{day} open loop: {document['reasons'][0]}")
    return found


def came(world: World, lifecycle: LifecycleDeclaration, day: date) -> Arrived:
    """A clean day's files; before the first day another like it stands for yesterday."""
    yesterday = world.rows[max(world.days[0], day - timedelta(days=1))]
    due = due_day(lifecycle, lifecycle.quality.labels, day)  # type: ignore[arg-type]
    labels = world.labels.get(due, world.labels[world.days[0]].clear())
    return Arrived(world.rows[day], yesterday, labels)


def judge(found: Watched, history: History, day: date, arrived: Arrived) -> tuple[dict[str, Any], pl.DataFrame]:
    """The quality report of a day and its validated rows, by the platform's own functions."""
    lifecycle, world = found.lifecycle, found.world
    unreadable = pl.lit(None, pl.String) if arrived.unreadable is None else arrived.unreadable
    raw = arrived.rows.select(*lifecycle.dataset.columns).with_columns(
        _source_file=pl.lit("a"), _source_row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), _unreadable=unreadable
    )
    parted = part_rows(lifecycle, day, raw)
    refused = refused_by_rule(parted.quarantine)
    metrics = as_mapping(daily_metrics(lifecycle, parted.validated, refused, arrived.hours))
    due = due_day(lifecycle, lifecycle.quality.labels, day)  # type: ignore[arg-type]
    events = found.validated[due]["transaction_id"] if due in found.validated else None
    others = {
        "known_terminals": OtherDataset("terminals", world.terminals),
        "ledger_agrees": OtherDataset("ledger", arrived.ledger) if arrived.ledger is not None else None,
    }
    data = DayData(parted.validated, refused, metrics, others, DueLabels(due, events, arrived.labels))
    return judge_day(lifecycle, day, data, history), parted.validated


def told_by_quality(document: Mapping[str, Any], day: date) -> list[str]:
    return [f"{day} {rule['rule']}: {rule['text']}" for rule in document["rules"] if not rule["passed"]]


def sketch_days(
    found: Watched, validated: Mapping[date, pl.DataFrame], first: date, last: date
) -> dict[date, dict[str, Sketch]]:
    """What the open loop keeps of the features of some days."""
    lifecycle = found.lifecycle
    events = pl.concat([validated[day] for day in days_needed(lifecycle, first, last) if day in validated])
    labels = pl.concat([frame for day, frame in found.world.labels.items() if day <= last])
    table = feature_table(lifecycle, events, labels, first, last)
    by_day = table.group_by(pl.col("event_time").dt.date(), maintain_order=True)
    return {day: sketches(rows, lifecycle.features.names()) for (day,), rows in by_day}  # type: ignore[misc]


def open_loop(
    found: Watched, day: date, today: Mapping[str, Sketch], documents: Mapping[date, Mapping[str, Any]]
) -> dict[str, Any]:
    declared = found.lifecycle.monitoring.open_loop
    days = found.world.days
    training = {d: found.sketched[d] for d in days[_WARM_UP : _WARM_UP + _TRAINING]}
    before = {d: one for d, one in found.sketched.items() if d < day}
    recent = healthy_days(declared, day, before, documents)
    return watch(declared, day, today, Reference(training, recent), documents)


def days_to_detect(found: Watched, incident: Incident) -> tuple[int | None, str]:
    """On which of its days (0 is the first) an incident is told, and by what; None when on none of three."""
    first = incident.first
    repeats = found.lifecycle.quality.repeats
    history = History(
        {day: facts for day, facts in found.facts.items() if day < first},
        {key: frame for key, frame in found.values.items() if 0 < (first - key[1]).days <= 10},
        {day: metrics for day, metrics in found.metrics.items() if day < first},
        {d: m for d, m in found.marks.items() if repeats and 0 < (first - d).days <= repeats.look_back_days},
    )
    validated = {day: rows for day, rows in found.validated.items() if day < first}
    documents: dict[date, Mapping[str, Any]] = {d: one for d, one in found.documents.items() if d < first}
    for index in range(_DAYS_OF_AN_INCIDENT):
        day = first + timedelta(days=index)
        clean = replace(came(found.world, found.lifecycle, day), index=index, seed=incident.seed + index)
        document, validated[day] = judge(found, history, day, incident.kind.change(clean, incident.amount))
        told = told_by_quality(document, day)
        if told:
            return index, told[0]
        today = sketch_days(found, validated, day, day)[day]
        documents[day] = open_loop(found, day, today, documents)
        if documents[day]["alarm"]:
            return index, f"{day} open loop: {documents[day]['reasons'][0]}"
    return None, ""


def run_corpus(found: Watched, happenings: Sequence[Incident]) -> dict[Incident, tuple[int | None, str]]:
    return {incident: days_to_detect(found, incident) for incident in happenings}


def bars(outcomes: Mapping[Incident, tuple[int | None, str]]) -> dict[str, tuple[int, int, int, int]]:
    """For each size: incidents, told on their day, within two days, within three."""
    counted = {}
    for size in SIZES:
        days = [day for incident, (day, _) in outcomes.items() if incident.size == size]
        told = [sum(day is not None and day <= most for day in days) for most in range(_DAYS_OF_AN_INCIDENT)]
        counted[size] = (len(days), *told)
    return counted  # type: ignore[return-value]


def main(source: Path) -> None:
    lifecycle = corpus_lifecycle()
    days = _WARM_UP + _TRAINING + CLEAN_DAYS + _DAYS_OF_AN_INCIDENT
    worlds = [
        (simulated(7, days), False, 1),
        (handbook(source, days, 1), False, 2),
        (simulated(11, days), True, 3),
        (handbook(source, days, 5), True, 4),
    ]
    detail = "-v" in sys.argv
    print("| world | clean days | false alarms | size | incidents | on their day | within two days | within three |")
    print("|---|---|---|---|---|---|---|---|")
    missed: Counter[str] = Counter()
    for world, held_out, seed in worlds:
        began = time.perf_counter()
        found = watch_clean_days(world, lifecycle)
        live = found.live[:CLEAN_DAYS]
        half = live[len(live) // 2]
        first, last = (half, live[-1]) if held_out else (live[0], half)
        outcomes = run_corpus(found, world.happenings(first, last, seed, other_sizes=held_out))
        name = f"{world.name}{', held out' if held_out else ''}"
        for size, (count, *told) in bars(outcomes).items():
            rates = " | ".join(f"{number} ({number / count:.0%})" for number in told)
            print(f"| {name} | {len(found.live)} | {len(found.false_alarms)} | {size} | {count} | {rates} |")
        for text in found.false_alarms:
            print(f"  false alarm: {text}", file=sys.stderr)
        for incident, (day, by) in outcomes.items():
            if detail and incident.size != "slight":
                print(f"  {name} {incident.kind.name} {incident.size}: {day} {by[:150]}", file=sys.stderr)
            bar = {"gross": 0, "moderate": 1}.get(incident.size)
            if bar is not None and (day is None or day > bar):
                missed[f"{incident.kind.name}, {incident.size} ({incident.amount:g}), {name}: {day}"] += 1
        print(f"  {name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(f"\nOutside the bars: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
