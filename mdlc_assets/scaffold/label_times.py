"""When labels come: how long after their events, all along or once a week."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

import polars as pl

from mdlc_assets.scaffold.look import Look, Seen
from mdlc_assets.sourcing.cells import read_cells

_CAME = re.compile(r"(known|label|labell?ed|confirmed|settled|resolved|reviewed|inspected)_(at|on|date|time)$")
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_FEWEST_WEEKS = 3
_FEW = 0.05
# What is written on a Monday morning is known within the eighth day of the oldest event that it is about.
_KNOWN_WEEKLY = timedelta(days=8)


@dataclass(frozen=True)
class LabelTimes:
    """`delay` is enough for every label. `column`, if any, says in the data when each came; its name is ours.

    `one_weekday`: only events of one weekday ever have a label, such as those of the day of an inspection.
    """

    delay: timedelta
    weekly: bool = False
    one_weekday: bool = False
    column: str = ""


def label_times(look: Look, times: pl.Series, label: Seen, zone: str) -> LabelTimes:
    """As far as the data tell. `times` are the instants of the rows."""
    labels = _blank_is_null(look.rows[label.source])
    local = times.dt.convert_time_zone(zone)
    one_weekday = _on_one_weekday(local, labels)
    for seen in look.columns.values():
        came = _came(look, seen, times, labels, zone)
        if came is not None:
            longest = (came - times).max()
            assert isinstance(longest, timedelta)
            days = sorted(set(came.drop_nulls().dt.convert_time_zone(zone).dt.date()))
            return LabelTimes(_in_days(longest), _is_weekly(days), one_weekday, seen.name)
    if one_weekday:  # That the newest have none says nothing.
        return LabelTimes(_DAY, weekly=True, one_weekday=True)
    delay = label_delay(times, labels)
    if labels.null_count() and _ends_with_a_week(local, labels):
        return LabelTimes(max(delay, _KNOWN_WEEKLY), weekly=True)
    return LabelTimes(delay)


def label_delay(times: pl.Series, labels: pl.Series) -> timedelta:
    """How long labels take, from the newest events having none yet; a day when all have one.

    Instants and labels of the same rows. Rounded up to days.
    """
    labels = _blank_is_null(labels)
    known = times.filter(labels.is_not_null())
    if known.is_empty() or labels.null_count() == 0:
        return _DAY
    newest, labelled = times.max(), known.max()
    assert isinstance(newest, datetime) and isinstance(labelled, datetime)
    return _in_days(newest - labelled)


def _blank_is_null(labels: pl.Series) -> pl.Series:
    if labels.dtype != pl.String:
        return labels
    return pl.select(pl.when(labels.str.strip_chars() != "").then(labels)).to_series()


def _in_days(span: timedelta) -> timedelta:
    return timedelta(days=max(1, math.ceil(span / _DAY)))


def _came(look: Look, seen: Seen, times: pl.Series, labels: pl.Series, zone: str) -> pl.Series | None:
    """The instants of a column that says when labels came: called so, or empty where they are."""
    if seen.type != "timestamp" or seen.source == times.name:
        return None
    values, _ = read_cells(look.rows[seen.source], "timestamp", zone)
    same_gaps = labels.null_count() > 0 and (values.is_null() == labels.is_null()).all()
    if not (_CAME.search(seen.name) or same_gaps) or values.null_count() == len(values):
        return None
    return values if (values >= times).fill_null(True).all() else None


def _is_weekly(days: list[date]) -> bool:
    """Days that lie a week apart, give or take a holiday."""
    gaps = [later - day for day, later in pairwise(days)]
    near = [gap for gap in gaps if abs(gap % _WEEK - _WEEK) <= _DAY or gap % _WEEK <= _DAY]
    return len(days) >= _FEWEST_WEEKS and len(near) == len(gaps) and min(gaps) > timedelta(days=4)


def _on_one_weekday(local: pl.Series, labels: pl.Series) -> bool:
    labelled = local.filter(labels.is_not_null())
    if labelled.dt.weekday().n_unique() != 1 or local.dt.weekday().n_unique() == 1:
        return False
    return labelled.dt.date().n_unique() >= _FEWEST_WEEKS


def _ends_with_a_week(local: pl.Series, labels: pl.Series) -> bool:
    """Whether all events up to a Sunday have a label, and none after it does."""
    labelled = local.filter(labels.is_not_null())
    last = labelled.max()
    if not isinstance(last, datetime) or last.isoweekday() != 7:
        return False
    following = local.filter((local > last).fill_null(False)).min()
    before = labels.filter((local <= last).fill_null(False))
    # Those of the Sunday itself are all there.
    whole = isinstance(following, datetime) and following.date() > last.date()
    return whole and before.null_count() <= _FEW * len(before)
