"""Rules that look at a day beside the days before it: entities that must not jump, volumes, empty hours.

Only days that passed serve as a measure. A rule looks `look_back_days` back; days that were stopped are
not counted into those, so that a fault which lasts does not become the measure by lasting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import EntityRule, Severity, VolumeRule

VOLUME, EMPTY_HOURS, QUARANTINED_SHARE = "volume", "empty_hours", "quarantined_share"
RESERVED_RULES = (VOLUME, EMPTY_HOURS, QUARANTINED_SHARE, "schema")
_FEWEST_DAYS = 3
_TOO_FEW_DAYS = f"fewer than {_FEWEST_DAYS} earlier passed days to compare with"
# Hours with fewer rows than this are now and then empty by chance: e^-10 is 1 in 22,000.
_FEWEST_ROWS_IN_HOUR = 10
_STOPPED_DAYS_REMEMBERED = 30


@dataclass(frozen=True)
class RuleResult:
    """What one rule says about one day. `observed` is the figure it judged, None where it could not."""

    rule: str
    severity: Severity
    passed: bool
    observed: float | None
    text: str


@dataclass(frozen=True)
class DayFacts:
    """What is remembered of a judged day; `rows` and `hours` are those of the validated rows."""

    passed: bool
    rows: int
    hours: Sequence[int]
    quarantined: int = 0

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> DayFacts:
        """The facts in a `quality_report` document."""
        return cls(document["passed"], document["rows"], document["hours"], document["quarantined"])


@dataclass
class History:
    """The days judged so far. `values` has, for a rule and a passed day, each entity's low and high."""

    days: dict[date, DayFacts] = field(default_factory=dict)
    values: dict[tuple[str, date], pl.DataFrame] = field(default_factory=dict)

    def before(self, day: date, look_back: int) -> list[date]:
        """The passed days that serve as a measure for `day`, sorted."""
        earliest = min(self.days, default=day)
        found: list[date] = []
        while look_back > 0 and (day := day - timedelta(days=1)) >= earliest:
            facts = self.days.get(day)
            if facts is not None and not facts.passed:
                continue
            look_back -= 1
            if facts is not None:
                found.append(day)
        return found[::-1]


def remembered_days(lifecycle: LifecycleDeclaration, first: date) -> list[date]:
    """The days before `first` whose reports a judgement of `first` may need, sorted."""
    quality = lifecycle.quality
    longest = max([quality.volume.look_back_days, *(rule.look_back_days for rule in quality.entities)])
    count = longest + _STOPPED_DAYS_REMEMBERED
    return [first - timedelta(days=i) for i in range(count, 0, -1)]


def entity_columns(lifecycle: LifecycleDeclaration) -> list[str]:
    """The columns of `validated` that the entity rules read, sorted."""
    return sorted({name for rule in lifecycle.quality.entities for name in (rule.entity, rule.column)})


def entity_values(rule: EntityRule, validated: pl.DataFrame) -> pl.DataFrame:
    """Each entity's lowest and highest value on a day: columns `entity`, `low`, `high`; nulls left out."""
    value = pl.col(rule.column)
    return (
        validated.lazy()
        .filter(value.is_not_null() & pl.col(rule.entity).is_not_null())
        .group_by(pl.col(rule.entity).alias("entity"))
        .agg(low=value.min(), high=value.max())
        .sort("entity")
        .collect()
    )


def judge_entities(rule: EntityRule, day: date, today: pl.DataFrame, history: History) -> RuleResult:
    """An entity rule on `today` (from `entity_values`) against the entities' last earlier passed day."""
    if today.is_empty():
        return _skipped(rule.name, rule.severity, f"{rule.column} has no values on {day}")
    earlier = [(d, history.values.get((rule.name, d))) for d in history.before(day, rule.look_back_days)]
    known = [
        frame.select("entity", day=pl.lit(d), was_low=pl.col("low"), was=pl.col("high"))
        for d, frame in earlier
        if frame is not None and not frame.is_empty()
    ]
    if not known:
        return _skipped(rule.name, rule.severity, f"no earlier passed day has {rule.column} to compare with")
    last = pl.concat(known).unique("entity", keep="last", maintain_order=True)
    gap = (pl.lit(day) - pl.col("day")).dt.total_days()
    broken = {
        "grows_by_day": ((pl.col("low") - pl.col("was") - gap).abs() > 1e-6)
        | ((pl.col("high") - pl.col("was") - gap).abs() > 1e-6),
        "never_falls": pl.col("low") < pl.col("was"),
        "constant": (pl.col("low") != pl.col("was")) | (pl.col("high") != pl.col("was_low")),
    }[rule.change]
    compared = today.join(last, on="entity", how="inner").with_columns(broken.alias("broken"))
    if compared.is_empty():
        return _skipped(rule.name, rule.severity, f"no {rule.entity} of {day} was seen on the days before")
    wrong = compared.filter("broken")
    share = wrong.height / compared.height
    seen = sorted(set((wrong if wrong.height else compared)["day"]))
    against = f"{seen[0]}" if len(seen) == 1 else f"{seen[0]} to {seen[-1]}"
    must = {
        "grows_by_day": "grow by one for each day",
        "never_falls": "never fall",
        "constant": "stay the same",
    }[rule.change]
    text = (
        f"{rule.column} must {must}; it does not for {share:.1%} of the {compared.height:,} values of "
        f"{rule.entity} on {day} that were seen before ({against}); tolerated {rule.tolerated_share:.1%}"
    )
    passed = share <= rule.tolerated_share
    if not passed:
        text += f". {_most_common_change(wrong, day)}. Mend: {rule.mend}"
    return RuleResult(rule.name, rule.severity, passed, share, text)


def _most_common_change(wrong: pl.DataFrame, day: date) -> str:
    if not wrong["low"].dtype.is_numeric():
        return "The values differ"
    kinds = wrong.group_by(
        change=pl.col("low") - pl.col("was"), days=(pl.lit(day) - pl.col("day")).dt.total_days()
    ).len()
    change, days, _ = kinds.sort(["len", "days", "change"], descending=[True, False, False]).row(0)
    return f"Most often the change is {change:+,} over {days} day{'s' if days > 1 else ''}"


def judge_volume(rule: VolumeRule, day: date, rows: int, history: History) -> RuleResult:
    """The day's row count against the median of the passed days before it."""
    days = history.before(day, rule.look_back_days)
    if len(days) < _FEWEST_DAYS:
        return _skipped(VOLUME, rule.severity, _TOO_FEW_DAYS)
    usual = median(history.days[d].rows for d in days)
    if not usual:
        return _skipped(VOLUME, rule.severity, "the earlier days are empty")
    ratio = rows / usual
    passed = rule.min_ratio <= ratio <= rule.max_ratio
    text = (
        f"{rows:,} rows on {day} are {ratio:.2f} times the median of the {len(days)} passed days before "
        f"({usual:,.0f}); allowed {rule.min_ratio:g} to {rule.max_ratio:g} times"
    )
    if not passed:
        cause = "some of it is missing" if ratio < 1 else "some of it came twice"
        text += (
            f". Mend: ask the owner of the data whether {cause}; if the volume is right, widen "
            f"quality.volume.{'min' if ratio < 1 else 'max'}_ratio"
        )
    return RuleResult(VOLUME, rule.severity, passed, ratio, text)


def judge_hours(rule: VolumeRule, day: date, hours: Sequence[int], history: History) -> RuleResult:
    """Hours (UTC) without a row that had rows on every passed day before, ten or more in the median."""
    days = history.before(day, rule.look_back_days)
    if len(days) < _FEWEST_DAYS:
        return _skipped(EMPTY_HOURS, rule.severity, _TOO_FEW_DAYS)
    empty = []
    for hour, count in enumerate(hours):
        before = [history.days[d].hours[hour] for d in days]
        if count == 0 and min(before) > 0 and median(before) >= _FEWEST_ROWS_IN_HOUR:
            empty.append(hour)
    if not empty:
        text = f"each hour that was busy on the {len(days)} passed days before has rows on {day}"
    else:
        named = ", ".join(f"{hour:02d}:00" for hour in empty)
        text = (
            f"no rows on {day} in the hour{'s' if len(empty) > 1 else ''} from {named} UTC, never empty on "
            f"the {len(days)} passed days before. Mend: ask the owner of the data to send the missing rows"
        )
    return RuleResult(EMPTY_HOURS, rule.severity, not empty, float(len(empty)), text)


def judge_quarantined(most: float, rows: int, quarantined: int) -> RuleResult:
    """The share of the day's rows in quarantine against the declared bound."""
    total = rows + quarantined
    share = quarantined / total if total else 0.0
    text = f"{quarantined:,} of {total:,} rows are in quarantine ({share:.2%}); allowed {most:.2%}"
    return RuleResult(QUARANTINED_SHARE, "stop", share <= most, share, text)


def _skipped(rule: str, severity: Severity, why: str) -> RuleResult:
    return RuleResult(rule, severity, True, None, f"not judged: {why}")
