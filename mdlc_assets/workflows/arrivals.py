"""Which work follows from the files that have arrived: pure, so that it can be tested day by day."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise

from mdlc_assets.declaration import LifecycleDeclaration


@dataclass(frozen=True)
class Arrivals:
    """Fingerprints by day of what lies in the landing zone."""

    transactions: Mapping[date, str]
    labels: Mapping[date, str]
    attributes: Mapping[date, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """Days to do, oldest first. `rebuild` spans later days whose features follow from what has changed, `renew` those
    whose events get other attributes; `waiting` gives the reason when something has to wait."""

    label_days: list[date]
    event_days: list[date]
    rebuild: tuple[date, date] | None
    waiting: list[str]
    renew: tuple[date, date] | None = None


def work_for(
    lifecycle: LifecycleDeclaration,
    landed: Arrivals,
    done: Arrivals,
    labelled_days: Collection[date],
) -> Work:
    """The days whose files are new or have changed since `done`.

    A day of events waits until the labels its features need, those of `label delay` days before, are
    in the lake: `labelled_days`, or asked for now. Labels are due the delay after their day, and the
    newest day of events is today: those that lie beside younger events are left alone. A day of events whose
    attributes are new is done again.
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
        same = done.transactions.get(day) == fingerprint and done.attributes.get(day) == landed.attributes.get(day)
        if day not in inside or same:
            continue
        needed = day - delay
        if not lifecycle.labels.column or needed < first or needed in labelled_days or needed in label_days:
            event_days.append(day)
        else:
            waiting.append(f"{day} waits for the labels of {needed}")
    renew = _renewed(landed, done, inside)
    rebuild = None if renew else _reached(lifecycle, event_days, done)
    return Work(label_days, event_days, rebuild, waiting, renew)


def overtaken(
    asked: Iterable[date], validated: Mapping[date, float], features: Mapping[date, float]
) -> dict[date, float]:
    """Of the days asked for those whose run came before the features of the day before them, which theirs follow from:
    its run was killed, say, and tried again behind them. With the moment since which they can be made.

    `validated` and `features` have when a day's rows were written last, of those that are there.
    """
    return {
        day: features[before]
        for before, day in pairwise(sorted(asked))
        if day not in features and before in features and day in validated and features[before] >= validated[day]
    }


def work_with_used_data(
    lifecycle: LifecycleDeclaration,
    there: Arrivals,
    done: Arrivals,
    *,
    scored: Collection[date],
    made: Callable[[date], bool],
) -> Work:
    """The days to score and to judge, for a lifecycle that uses another's data.

    `there` has a mark of the other's validated rows and labels of each day. A day is scored once its features were
    `made` of those rows, not of a file that was replaced since; and judged when its labels have come or were
    corrected, if it is among those `scored`.
    """
    inside = set(lifecycle.days(lifecycle.dataset.start, max(there.transactions, default=date.min)))
    event_days, waiting = [], []
    for day, mark in sorted(there.transactions.items()):
        if day not in inside or done.transactions.get(day) == mark:
            continue
        if made(day):
            event_days.append(day)
        else:
            waiting.append(f"{day} waits for its features, which {lifecycle.uses} makes")
    label_days = [
        day for day, mark in sorted(there.labels.items()) if done.labels.get(day) != mark and day in set(scored)
    ]
    return Work(label_days, event_days, None, waiting)


def _renewed(landed: Arrivals, done: Arrivals, inside: Collection[date]) -> tuple[date, date] | None:
    """The days done already that come after the first one whose attributes are new: any may get another version."""
    new = [day for day, fingerprint in landed.attributes.items() if done.attributes.get(day) != fingerprint]
    later = [day for day in done.transactions if new and day > min(new) and day in inside]
    return (min(later), max(later)) if later else None


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
