"""Which work follows from the files that have arrived: pure, so that it can be tested day by day."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from mdlc_assets.declaration import LifecycleDeclaration


@dataclass(frozen=True)
class Arrivals:
    """Fingerprints by day of what lies in the landing zone."""

    transactions: Mapping[date, str]
    labels: Mapping[date, str]


@dataclass(frozen=True)
class Work:
    """Days to do, oldest first. `rebuild` spans later days whose features follow from what has changed;
    `waiting` gives the reason when something has to wait."""

    label_days: list[date]
    event_days: list[date]
    rebuild: tuple[date, date] | None
    waiting: list[str]


def work_for(
    lifecycle: LifecycleDeclaration,
    landed: Arrivals,
    done: Arrivals,
    labelled_days: Collection[date],
) -> Work:
    """The days whose files are new or have changed since `done`.

    A day of events waits until the labels its features need, those of `label delay` days before, are
    in the lake: `labelled_days`, or asked for now. Labels are due the delay after their day, and the
    newest day of events is today: those that lie beside younger events are left alone.
    """
    delay = timedelta(days=lifecycle.labels.delay_days)
    inside = set(lifecycle.days(lifecycle.dataset.start, max(landed.transactions, default=date.min)))
    newest = max(landed.transactions, default=date.min)
    label_days = [
        day
        for day, fingerprint in sorted(landed.labels.items())
        if day in inside and done.labels.get(day) != fingerprint and day + delay <= newest
    ]
    first = min(landed.transactions, default=newest)
    event_days, waiting = [], []
    for day, fingerprint in sorted(landed.transactions.items()):
        if day not in inside or done.transactions.get(day) == fingerprint:
            continue
        needed = day - delay
        if needed < first or needed in labelled_days or needed in label_days:
            event_days.append(day)
        else:
            waiting.append(f"{day} waits for the labels of {needed}")
    return Work(label_days, event_days, _reached(lifecycle, event_days, done), waiting)


def _reached(lifecycle: LifecycleDeclaration, event_days: Collection[date], done: Arrivals) -> tuple[date, date] | None:
    """The first and the last day done already whose windows reach back to one of the days."""
    reach = lifecycle.features.look_back_days()
    later = {
        after
        for day in event_days
        for after in done.transactions
        if 0 < (after - day).days <= reach and after not in event_days
    }
    return (min(later), max(later)) if later else None
