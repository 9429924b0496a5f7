"""Rules over days: an entity's value from one day to a later one, and a day's volume against days before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from statistics import median
from typing import Any

import polars as pl

from mdlc_assets.declaration.quality import EntityRule, Quality, VolumeRule

_FEWEST_DAYS = 3
# An hour with eight events on average is empty by chance once in e^8, about 3,000 times.
_BUSY_HOUR = 8


@dataclass(frozen=True)
class RuleResult:
    """The verdict of a rule on a day, in words that name columns, days, shares and the mend."""

    rule: str
    severity: str
    passed: bool
    observed: float | None
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For the day's document."""
        return asdict(self)


def last_values(rows: pl.DataFrame, rule: EntityRule) -> pl.DataFrame:
    """Each entity's last value of the day, of rows sorted by time."""
    kept = rows.select(rule.entity, rule.column).filter(pl.col(rule.column).is_not_null())
    return kept.group_by(rule.entity).agg(pl.col(rule.column).last())


def judge_entities(rule: EntityRule, day: date, earlier: Mapping[date, pl.DataFrame]) -> RuleResult:
    """Compare `earlier[day]` with each entity's latest value on the healthy days before it.

    `earlier` holds `last_values` of `day` and of healthy days before.
    """
    current = earlier[day]
    first = day - timedelta(days=rule.look_back_days)
    before = [
        values.with_columns(pl.lit(when).alias("_day"))
        for when, values in sorted(earlier.items())
        if first <= when < day and values.height
    ]
    if not before or current.is_empty():
        return RuleResult(rule.name, rule.severity, True, None, "nothing to compare with yet")
    known = pl.concat(before).unique(rule.entity, keep="last").rename({rule.column: "_before"})
    both = current.join(known, on=rule.entity, how="inner")
    if both.is_empty():
        return RuleResult(rule.name, rule.severity, True, None, "no entity was seen before")
    change = pl.col(rule.column) - pl.col("_before")
    passed_days = (pl.lit(day) - pl.col("_day")).dt.total_days()
    breaks, should = {
        "grows_by_day": (change != passed_days, "grow by one a day"),
        "never_falls": (change < 0, "never fall"),
        "constant": (change != 0, "stay as it is"),
    }[rule.change]
    broken = both.filter(breaks)
    share = broken.height / both.height
    if share <= rule.tolerated_share:
        return RuleResult(rule.name, rule.severity, True, share, f"{share:.2%} of {both.height} break it")
    stuck = broken.filter(change == 0).height / broken.height
    days = f"{min(broken['_day'].to_list())} to {day}"
    text = (
        f"{rule.column} should {should}, but for {share:.1%} of {both.height} {rule.entity} values it does not "
        f"from {days} ({stuck:.0%} of those did not change at all; {rule.tolerated_share:.2%} is tolerated). "
        f"Mend: {rule.mend}"
    )
    return RuleResult(rule.name, rule.severity, False, share, text)


def judge_volume(
    rule: VolumeRule, day: date, rows: int, hours: Sequence[int], earlier: Mapping[date, Sequence[int]]
) -> list[RuleResult]:
    """A day's rows and hours against `earlier`: the 24 hourly counts of healthy days before."""
    first = day - timedelta(days=rule.look_back_days)
    before = [counts for when, counts in earlier.items() if first <= when < day]
    if len(before) < _FEWEST_DAYS:
        few = f"only {len(before)} healthy days before to compare with"
        return [RuleResult(name, rule.severity, True, None, few) for name in ("volume", "hours")]
    usual = median(sum(counts) for counts in before)
    ratio = rows / usual if usual else 1.0
    good = rule.min_ratio <= ratio <= rule.max_ratio
    said = f"{rows} rows are {ratio:.2f} times the {usual:.0f} usual in {len(before)} days before"
    mend = f" ({rule.min_ratio:g} to {rule.max_ratio:g} is normal). Mend: ask for the whole file, sent once."
    found = [RuleResult("volume", rule.severity, good, ratio, said if good else said + mend)]
    empty = [
        hour
        for hour in range(24)
        if not hours[hour]
        and min(counts[hour] for counts in before) > 0
        and sum(counts[hour] for counts in before) >= _BUSY_HOUR * len(before)
    ]
    if rule.no_empty_hours and empty:
        which = ", ".join(f"{hour:02d}:00" for hour in empty)
        text = f"no events in the hours from {which} UTC, which were never empty. Mend: ask for the whole file."
        found.append(RuleResult("hours", rule.severity, False, len(empty), text))
    else:
        found.append(RuleResult("hours", rule.severity, True, 0, "no hour is missing"))
    return found


def rule_names(quality: Quality) -> dict[str, str]:
    """All rules over days with their severity."""
    names: dict[str, str] = {"volume": quality.volume.severity, "hours": quality.volume.severity}
    return names | {rule.name: rule.severity for rule in quality.entities}
