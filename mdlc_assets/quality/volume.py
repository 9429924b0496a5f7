"""Rules about how many rows there are: in the day, in each hour, in quarantine, and with a rule that only warns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from statistics import median

import polars as pl

from mdlc_assets.declaration.quality import RowRule, VolumeRule
from mdlc_assets.quality.history import History, RuleResult, broken, kept, skipped

VOLUME, EMPTY_HOURS, QUARANTINED_SHARE = "volume", "empty_hours", "quarantined_share"
_FEWEST_DAYS = 3
_TOO_FEW_DAYS = f"fewer than {_FEWEST_DAYS} earlier passed days to compare with"
# Hours with fewer rows than this are now and then empty by chance: e^-10 is 1 in 22,000.
_FEWEST_ROWS_IN_HOUR = 10
_QUARANTINE_MEND = "read the reasons in quarantine, correct the files and run the day again"


def judge_volume(rule: VolumeRule, day: date, rows: int, history: History) -> RuleResult:
    """The day's row count against the median of the passed days before it."""
    days = [d for d in history.before(day, rule.look_back_days) if history.days[d].rows]
    if len(days) < _FEWEST_DAYS:
        return skipped(VOLUME, rule.severity, _TOO_FEW_DAYS)
    usual = median(history.days[d].rows for d in days)
    if not usual:
        return skipped(VOLUME, rule.severity, "the earlier days are empty")
    ratio = rows / usual
    text = (
        f"{rows:,} rows on {day} are {ratio:.2f} times the median of the {len(days)} passed days before "
        f"({usual:,.0f}); allowed {rule.min_ratio:g} to {rule.max_ratio:g} times"
    )
    if rule.min_ratio <= ratio <= rule.max_ratio:
        return kept(VOLUME, rule.severity, ratio, text)
    cause = "some of it is missing" if ratio < 1 else "some of it came twice"
    mend = (
        f"ask the owner of the data whether {cause}; if the volume is right, widen "
        f"quality.volume.{'min' if ratio < 1 else 'max'}_ratio"
    )
    return broken(VOLUME, rule.severity, ratio, text, mend, day=day, history=history)


def judge_hours(rule: VolumeRule, day: date, hours: Sequence[int], history: History) -> RuleResult:
    """Hours (UTC) without a row that had rows on every passed day before, ten or more in the median."""
    days = history.before(day, rule.look_back_days)
    if len(days) < _FEWEST_DAYS:
        return skipped(EMPTY_HOURS, rule.severity, _TOO_FEW_DAYS)
    empty, lacking = [], 0.0
    for hour, count in enumerate(hours):
        before = [history.days[d].hours[hour] for d in days]
        if count == 0 and min(before) > 0 and median(before) >= _FEWEST_ROWS_IN_HOUR:
            empty.append(hour)
            lacking += median(before)
    if not empty:
        text = f"each hour that was busy on the {len(days)} passed days before has rows on {day}"
        return kept(EMPTY_HOURS, rule.severity, 0.0, text)
    named = ", ".join(f"{hour:02d}:00" for hour in empty)
    text = (
        f"no rows on {day} in the hour{'s' if len(empty) > 1 else ''} from {named} UTC, never empty on "
        f"the {len(days)} passed days before; about {lacking:,.0f} rows are missing"
    )
    mend = "ask the owner of the data to send the missing rows"
    return broken(EMPTY_HOURS, rule.severity, float(len(empty)), text, mend, day=day, history=history)


def judge_quarantined(
    most: float, rows: int, refused: Mapping[str, int], day: date, history: History, examples: Sequence[str] = ()
) -> RuleResult:
    """The share of the day's rows in quarantine against the declared bound; `refused` counts them by rule."""
    quarantined = sum(refused.values())
    total = rows + quarantined
    share = quarantined / total if total else 0.0
    by_rule = ", ".join(f"{rule} {count:,}" for rule, count in sorted(refused.items(), key=lambda item: -item[1]))
    text = (
        f"{quarantined:,} of {total:,} rows of {day} are in quarantine ({share:.2%}"
        f"{': ' if by_rule else ''}{by_rule}); allowed {most:.2%}"
    )
    if share <= most:
        return kept(QUARANTINED_SHARE, "stop", share, text)
    return broken(QUARANTINED_SHARE, "stop", share, text, _QUARANTINE_MEND, day=day, history=history, examples=examples)


def judge_rows(rule: RowRule, validated: pl.DataFrame, day: date, history: History) -> RuleResult:
    """The share of the day's rows that break a row rule which only warns; null counts as kept."""
    if validated.is_empty():
        return skipped(rule.name, "warn", f"{day} has no rows")
    wrong = validated.select(pl.sql_expr(rule.holds).not_().fill_null(False).sum()).item()
    share = wrong / validated.height
    text = (
        f"{wrong:,} of {validated.height:,} rows ({share:.2%}) break {rule.holds}: {rule.reason.rstrip('.')}; "
        f"tolerated {rule.tolerated_share:.2%}"
    )
    if share <= rule.tolerated_share:
        return kept(rule.name, "warn", share, text)
    return broken(rule.name, "warn", share, text, rule.mend, day=day, history=history)


def rows_by_hour(frame: pl.DataFrame, time: str) -> list[int]:
    """Rows in each of the 24 hours of the day, UTC."""
    counts = dict(frame.select(pl.col(time).dt.hour().alias("hour")).to_series().value_counts().rows())
    return [counts.get(hour, 0) for hour in range(24)]
