"""What is remembered of earlier days, and how the verdict of a rule is put into words.

Only days that passed serve as a measure. A rule looks `look_back_days` back; days that were stopped are
not counted into those, so that a fault which lasts does not become the measure by lasting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import Severity

STOPPED_DAYS_REMEMBERED = 30
NOT_JUDGED = "not judged"
_LONGEST_LOOK_BACK = 60  # of an entity rule

Metric = tuple[str, str, str]
"""Column (empty for the day as a whole), metric, category (empty where there is none)."""


@dataclass(frozen=True)
class RuleResult:
    """What one rule says about one day. `observed` is the figure it judged, None where it could not.

    A broken rule also says since which day it is broken without a day between that kept it, and shows values.
    """

    rule: str
    severity: Severity
    passed: bool
    observed: float | None
    text: str
    since: str | None = None
    examples: Sequence[str] = ()


@dataclass(frozen=True)
class DayFacts:
    """What is remembered of a judged day; `rows` and `hours` are those of the validated rows."""

    passed: bool
    rows: int
    hours: Sequence[int]
    quarantined: int = 0
    broken: frozenset[str] = frozenset()

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> DayFacts:
        """The facts in a `quality_report` document."""
        broken = frozenset(rule["rule"] for rule in document["rules"] if not rule["passed"])
        return cls(document["passed"], document["rows"], document["hours"], document["quarantined"], broken)


@dataclass
class History:
    """The days judged so far.

    `values` has, for an entity rule and a day, each entity's low and high; `metrics` each day's figures;
    `marks` the prints of a day's ids and rows.
    """

    days: dict[date, DayFacts] = field(default_factory=dict)
    values: dict[tuple[str, date], pl.DataFrame] = field(default_factory=dict)
    metrics: dict[date, Mapping[Metric, float]] = field(default_factory=dict)
    marks: dict[date, pl.DataFrame] = field(default_factory=dict)

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

    def forget(self, day: date, marks_of: int) -> None:
        """Lets go of rows that no day after `day` can need, so that a long range takes little more memory than a short.

        `marks_of` is how many passed days' marks are still needed.
        """
        oldest = day - timedelta(days=_LONGEST_LOOK_BACK + STOPPED_DAYS_REMEMBERED)
        self.values = {key: frame for key, frame in self.values.items() if key[1] > oldest}
        needed = set(self.before(day + timedelta(days=1), marks_of))
        self.marks = {when: frame for when, frame in self.marks.items() if when in needed}

    def shown(self, day: date, look_back: int) -> list[date]:
        """The days before `day` whose values may be shown: those that serve as a measure, and stopped ones since."""
        measure = self.before(day, look_back)
        if not measure:
            return []
        first = max(measure[0], day - timedelta(days=STOPPED_DAYS_REMEMBERED))
        return sorted(d for d in self.days if first <= d < day)

    def broken_since(self, rule: str, day: date) -> list[date]:
        """The judged days on end, up to `day` itself, on which the rule is broken; no further back than remembered."""
        first = day - timedelta(days=STOPPED_DAYS_REMEMBERED)
        found = [day]
        for earlier in sorted((d for d in self.days if first <= d < day), reverse=True):
            if rule not in self.days[earlier].broken:
                break
            found.append(earlier)
        return found[::-1]


def remembered_days(lifecycle: LifecycleDeclaration, first: date) -> list[date]:
    """The days before `first` whose reports a judgement of `first` may need, sorted."""
    quality = lifecycle.quality
    spans = [quality.volume.look_back_days, *(rule.look_back_days for rule in quality.entities)]
    spans += [rule.look_back_days for rule in (quality.usual, quality.repeats) if rule is not None]
    count = max(spans) + STOPPED_DAYS_REMEMBERED
    return [first - timedelta(days=i) for i in range(count, 0, -1)]


def skipped(rule: str, severity: Severity, why: str) -> RuleResult:
    """The rule cannot judge the day."""
    return RuleResult(rule, severity, True, None, f"{NOT_JUDGED}: {why}")


def kept(rule: str, severity: Severity, observed: float, what: str) -> RuleResult:
    """The day keeps the rule."""
    return RuleResult(rule, severity, True, observed, what)


def broken(
    rule: str,
    severity: Severity,
    observed: float,
    what: str,
    mend: str,
    *,
    day: date,
    history: History,
    examples: Sequence[str] = (),
) -> RuleResult:
    """The day breaks the rule: what, since when, for instance, and the mend."""
    days = history.broken_since(rule, day)
    since = f"Since {days[0]}, {len(days)} days" if len(days) > 1 else f"Since {day}"
    shown = f" For instance {'; '.join(examples)}." if examples else ""
    text = f"{what}. {since}.{shown} Mend: {mend.rstrip('.')}."
    return RuleResult(rule, severity, False, observed, text, days[0].isoformat(), list(examples))
