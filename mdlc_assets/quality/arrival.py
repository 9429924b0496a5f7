"""Rules about what comes when: the day's file within its time, and the labels of the days that are due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.base import duration_name
from mdlc_assets.declaration.quality import LabelsRule
from mdlc_assets.quality.history import History, Metric, RuleResult, broken, kept, skipped
from mdlc_assets.quality.metrics import ARRIVED

ARRIVED_IN_TIME, LABELS_DUE = "arrived_in_time", "labels_due"
_DAY = timedelta(days=1)
# Beyond what is expected: a feed that is ill for a week is a history that is brought in by then.
_LONG_AGO = timedelta(days=7)
_TOGETHER = timedelta(hours=6)


@dataclass(frozen=True)
class DueLabels:
    """The ids of the validated events of the due day, and its labels; None where no label ever came."""

    day: date
    events: pl.Series | None
    labels: pl.DataFrame | None


def is_open_ended(lifecycle: LifecycleDeclaration) -> bool:
    """Whether days still come, so that it can be said when they should."""
    return lifecycle.dataset.end is None


def is_backfill(lifecycle: LifecycleDeclaration, day: date, came: Callable[[date], float | None]) -> bool:
    """Whether the day's files came together with those of days long past: a history brought in, no feed that is late.

    `came` says when the last file of a day came, in seconds since 1970; None without files.
    """
    own = came(day)
    if own is None:
        return False
    instant = datetime.fromtimestamp(own, UTC)
    # The newest day whose file, had it come now, would have been long overdue.
    oldest = (instant - lifecycle.dataset.fresh_within - _LONG_AGO).date()
    beside = (day - _DAY, day + _DAY) if day <= oldest else (oldest,)
    others = [came(other) for other in beside]
    return any(other is not None and abs(other - own) <= _TOGETHER.total_seconds() for other in others)


def judge_arrival(
    lifecycle: LifecycleDeclaration,
    day: date,
    today: Mapping[Metric, float],
    history: History,
    *,
    backfill: bool = False,
) -> RuleResult:
    """How long after the day began its last file came, against `dataset.fresh_within`. It warns only.

    Nobody waited for the days of a backfill, so none of them is late.
    """
    hours = today.get(("", ARRIVED, ""))
    if hours is None:
        return skipped(ARRIVED_IN_TIME, "warn", f"it is not known when the files of {day} came")
    within = lifecycle.dataset.fresh_within
    if backfill and hours > within / timedelta(hours=1):
        why = f"it is of a backfill, whose files came together, those of {day} {hours:,.0f} hours after the day began"
        return skipped(ARRIVED_IN_TIME, "warn", why)
    text = (
        f"the last file of {day} came {hours:,.0f} hours after the day began; expected within {duration_name(within)}"
    )
    if hours <= within / timedelta(hours=1):
        return kept(ARRIVED_IN_TIME, "warn", hours, text)
    mend = "ask the owner of the data why it was late; if it always comes then, widen dataset.fresh_within"
    return broken(ARRIVED_IN_TIME, "warn", hours, text, mend, day=day, history=history)


def due_day(lifecycle: LifecycleDeclaration, rule: LabelsRule, day: date) -> date:
    """The last day of events all of whose labels should be known by the end of `day`."""
    return day - timedelta(days=-(-(lifecycle.labels.delay + rule.grace) // _DAY))


def judge_labels(
    rule: LabelsRule, lifecycle: LifecycleDeclaration, day: date, due: DueLabels, history: History
) -> RuleResult:
    """The share of the due day's events without a label that was known by the end of `day`."""
    if due.events is None or due.events.is_empty():
        return skipped(LABELS_DUE, rule.severity, f"{due.day}, whose labels are due, has no validated rows")
    if due.labels is None:
        return skipped(LABELS_DUE, rule.severity, "no labels were brought in yet")
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + _DAY
    known = due.labels.filter(pl.col("known_at") < end)[lifecycle.dataset.id]
    late = int((~due.events.is_in(known.implode())).sum())
    share = late / len(due.events)
    text = (
        f"{late:,} of {len(due.events):,} events of {due.day} ({share:.2%}) have no label by the end of {day}, "
        f"{duration_name(lifecycle.labels.delay)} and {duration_name(rule.grace)} of grace later; "
        f"tolerated {rule.tolerated_share:.2%}"
    )
    if share <= rule.tolerated_share:
        return kept(LABELS_DUE, rule.severity, share, text)
    return broken(LABELS_DUE, rule.severity, share, text, rule.mend, day=day, history=history)
