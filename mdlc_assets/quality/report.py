"""The quality report of a day: figures of its columns, and the verdict of every rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from mdlc_assets import plots
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.base import duration_name
from mdlc_assets.declaration.quality import Severity
from mdlc_assets.quality import usual
from mdlc_assets.quality.arrival import (
    ARRIVED_IN_TIME,
    LABELS_DUE,
    DueLabels,
    is_open_ended,
    judge_arrival,
    judge_labels,
)
from mdlc_assets.quality.entities import entity_values, judge_entities, words_of
from mdlc_assets.quality.history import DayFacts, History, Metric, RuleResult, skipped
from mdlc_assets.quality.other_datasets import OtherDataset, judge_agreement, judge_reference
from mdlc_assets.quality.repeats import REPEATED_IDS, REPEATED_ROWS, judge_repeats, marks
from mdlc_assets.quality.volume import (
    EMPTY_HOURS,
    VOLUME,
    judge_hours,
    judge_quarantined,
    judge_rows,
    judge_volume,
    rows_by_hour,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_VERDICTS: Mapping[Severity, str] = {"stop": "stops the day", "error": "error, goes on", "warn": "warns"}


@dataclass(frozen=True)
class DayRule:
    """A rule that judges a whole day, and becomes an asset check of `quality_report`."""

    name: str
    severity: Severity
    description: str
    may_stop: bool = False
    """Whether a verdict can be graver than the rule's own severity."""


@dataclass(frozen=True)
class DayData:
    """What a day is judged by: its validated rows, those in quarantine by rule, its metrics, and other datasets.

    `others` has the rows of the dataset that a rule (by its name) looks at, None where no file of it is there.
    """

    validated: pl.DataFrame
    refused: Mapping[str, int]
    metrics: Mapping[Metric, float] = field(default_factory=dict)
    others: Mapping[str, OtherDataset | None] = field(default_factory=dict)
    due: DueLabels | None = None
    backfill: bool = False


def day_rules(lifecycle: LifecycleDeclaration) -> list[DayRule]:
    """The rules of `quality_report` that the declaration asks for."""
    return list(_day_rules(lifecycle))


def _day_rules(lifecycle: LifecycleDeclaration) -> Iterator[DayRule]:
    quality = lifecycle.quality
    for rule in quality.entities:
        said = (
            f"{rule.column} of each {rule.entity} must {words_of(rule)}, except for {rule.tolerated_share:.1%} of them."
        )
        yield DayRule(rule.name, rule.severity, said)
    volume = quality.volume
    said = f"The day has {volume.min_ratio:g} to {volume.max_ratio:g} times the rows of the days before."
    yield DayRule(VOLUME, volume.severity, said)
    if volume.no_empty_hours:
        yield DayRule(EMPTY_HOURS, volume.severity, "No hour is empty that never was before.")
    for row_rule in quality.rows:
        if row_rule.severity == "warn":
            said = f"{row_rule.holds} for all rows but {row_rule.tolerated_share:.1%}: {row_rule.reason}"
            yield DayRule(row_rule.name, "warn", said)
    for column in usual.judged_columns(lifecycle):
        assert quality.usual is not None
        what = f"Metrics of {column}" if column else "Volume and quarantine"
        said = f"{what} are as on the same weekday in the {quality.usual.look_back_days} passed days before."
        may_stop = quality.usual.stop_change is not None and bool(column)
        yield DayRule(usual.check_name(column), quality.usual.severity, said, may_stop)
    if quality.repeats:
        within = f"in the {quality.repeats.look_back_days} passed days before"
        yield DayRule(REPEATED_IDS, quality.repeats.severity, f"No {lifecycle.dataset.id} was there {within}.")
        said = f"No row was there, but for its id and date, on the day itself or {within}."
        yield DayRule(REPEATED_ROWS, quality.repeats.severity, said)
    for reference in quality.references:
        said = f"Each {reference.column} exists in {reference.dataset}."
        yield DayRule(reference.name, reference.severity, said)
    for agreement in quality.agreements:
        how = "row by row" if agreement.id else "in row count and sums"
        yield DayRule(agreement.name, agreement.severity, f"{agreement.dataset} says the same, {how}.")
    if quality.labels:
        waited = f"{duration_name(lifecycle.labels.delay)} and {duration_name(quality.labels.grace)} of grace"
        yield DayRule(LABELS_DUE, quality.labels.severity, f"Labels are there {waited} after their events.")
    if is_open_ended(lifecycle):
        said = f"Files come within {duration_name(lifecycle.dataset.fresh_within)} of the day's beginning."
        yield DayRule(ARRIVED_IN_TIME, "warn", said)


def judge_day(lifecycle: LifecycleDeclaration, day: date, found: DayData, history: History) -> dict[str, Any]:
    """The document `quality_report` of a day, and the day's entry into `history`.

    Days must be judged in order: an earlier day's verdict decides whether it serves as a measure for a later one.
    """
    quality, validated = lifecycle.quality, found.validated
    quarantined = sum(found.refused.values())
    hours = rows_by_hour(validated, lifecycle.dataset.time)
    values = {rule.name: entity_values(rule, validated) for rule in quality.entities}
    results = [judge_entities(rule, day, values[rule.name], history) for rule in quality.entities]
    if lifecycle.dataset.quiet_days and validated.is_empty() and not quarantined:
        results.append(skipped(VOLUME, quality.volume.severity, f"{day} is a day without events"))
    else:
        results.append(judge_volume(quality.volume, day, validated.height, history))
    if quality.volume.no_empty_hours:
        results.append(judge_hours(quality.volume, day, hours, history))
    results += [judge_rows(rule, validated, day, history) for rule in quality.rows if rule.severity == "warn"]
    if quality.usual:
        results += usual.judge_usual(lifecycle, quality.usual, day, found.metrics, history)
    prints = marks(lifecycle, validated) if quality.repeats else None
    if quality.repeats and prints is not None:
        results += judge_repeats(quality.repeats, lifecycle, day, prints, history)
    for reference in quality.references:
        other = found.others.get(reference.name)
        results.append(judge_reference(reference, lifecycle, day, validated, other, history))
    for agreement in quality.agreements:
        other = found.others.get(agreement.name)
        results.append(judge_agreement(agreement, lifecycle, day, validated, other, history))
    if quality.labels and found.due:
        results.append(judge_labels(quality.labels, lifecycle, day, found.due, history))
    if is_open_ended(lifecycle):
        results.append(judge_arrival(lifecycle, day, found.metrics, history, backfill=found.backfill))
    results.append(judge_quarantined(quality.max_quarantined, validated.height, found.refused, day, history))
    passed = all(result.passed for result in results if result.severity == "stop")
    broken = frozenset(result.rule for result in results if not result.passed)
    history.days[day] = DayFacts(passed, validated.height, hours, quarantined, broken)
    history.values |= {(name, day): frame for name, frame in values.items()}
    if passed:
        history.metrics[day] = found.metrics
        if prints is not None:
            history.marks[day] = prints
    history.forget(day, quality.repeats.look_back_days if quality.repeats else 0)
    return {
        "day": day.isoformat(),
        "passed": passed,
        "rows": validated.height,
        "quarantined": quarantined,
        "columns": column_figures(validated),
        "hours": list(hours),
        "rules": [asdict(result) for result in results],
    }


def column_figures(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Nulls, min, max, mean (numbers and booleans only) and distinct values for each column."""
    figures: dict[str, dict[str, Any]] = {}
    wanted = []
    for name, dtype in frame.schema.items():
        column, numeric = pl.col(name), dtype.is_numeric() or dtype == pl.Boolean
        wanted += [
            column.null_count().alias(f"{name}/nulls"),
            column.min().alias(f"{name}/min"),
            column.max().alias(f"{name}/max"),
            (column.mean() if numeric else pl.lit(None)).alias(f"{name}/mean"),
            column.drop_nulls().n_unique().alias(f"{name}/distinct"),
        ]
    row = frame.select(wanted).row(0, named=True)
    for name in frame.columns:
        figures[name] = {
            figure: _plain(row[f"{name}/{figure}"]) for figure in ("nulls", "min", "max", "mean", "distinct")
        }
    return figures


def rules_table(document: dict[str, Any]) -> str:
    """The verdicts of a report as a Markdown table."""
    lines = ["| rule | verdict | in words |", "|---|---|---|"]
    for rule in document["rules"]:
        verdict = "passed" if rule["passed"] else _VERDICTS[rule["severity"]]
        lines.append(f"| {rule['rule']} | {verdict} | {rule['text']} |")
    return "\n".join(lines)


def result_of(document: dict[str, Any], rule: str) -> RuleResult | None:
    """The verdict of one rule in a report; None when the report knows no such rule."""
    for item in document["rules"]:
        if item["rule"] == rule:
            return RuleResult(**item)
    return None


def rows_plot(history: History, last: int = 60) -> Figure:
    """Rows of the last judged days, stopped ones in another colour, and the quarantined share above them."""
    days = sorted(history.days)[-last:]
    facts = [history.days[day] for day in days]
    figure, axes = plots.new_figure()
    colours = [plots.BLUE if fact.passed else plots.RED for fact in facts]
    axes.bar([day.isoformat()[5:] for day in days], [fact.rows for fact in facts], color=colours, width=0.8)
    axes.set_ylabel("rows")
    step = max(1, len(days) // 10)
    axes.set_xticks(range(0, len(days), step))
    axes.set_title("Validated rows by day (red: stopped) and share in quarantine (orange)", fontsize=9)
    share = axes.twinx()
    share.spines[["top"]].set_visible(False)
    percents = [100 * f.quarantined / max(1, f.rows + f.quarantined) for f in facts]
    share.plot(range(len(days)), percents, color=plots.ORANGE, marker=".", linewidth=1)
    share.set_ylim(0, max(1.0, *percents) * 1.1)
    share.set_ylabel("quarantined, %")
    return figure


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value
