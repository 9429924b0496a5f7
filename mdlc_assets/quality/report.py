"""The quality report of a day: figures of its columns, and the verdict of every rule."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from mdlc_assets import plots
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import Severity
from mdlc_assets.quality.across_days import (
    EMPTY_HOURS,
    VOLUME,
    DayFacts,
    History,
    RuleResult,
    entity_values,
    judge_entities,
    judge_hours,
    judge_quarantined,
    judge_volume,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DayRule:
    """A rule that judges a whole day, and becomes an asset check of `quality_report`."""

    name: str
    severity: Severity
    description: str


def day_rules(lifecycle: LifecycleDeclaration) -> list[DayRule]:
    """The rules of `quality_report` that the declaration asks for: entity rules, then volume."""
    words = {
        "grows_by_day": "grows by one for each day",
        "never_falls": "never falls",
        "constant": "never changes",
    }
    quality = lifecycle.quality
    rules = [
        DayRule(
            rule.name,
            rule.severity,
            f"{rule.column} of each {rule.entity} {words[rule.change]}, except for {rule.tolerated_share:.1%} of them.",
        )
        for rule in quality.entities
    ]
    volume = quality.volume
    rules.append(
        DayRule(
            VOLUME,
            volume.severity,
            f"The day has {volume.min_ratio:g} to {volume.max_ratio:g} times the rows of the days before.",
        )
    )
    if volume.no_empty_hours:
        rules.append(DayRule(EMPTY_HOURS, volume.severity, "No hour is empty that never was before."))
    return rules


def judge_day(
    lifecycle: LifecycleDeclaration,
    day: date,
    validated: pl.DataFrame,
    quarantined: int,
    history: History,
) -> dict[str, Any]:
    """The document `quality_report` of a day, and the day's entry into `history`.

    `validated` are the day's rows, `quarantined` counts those in quarantine. Days must be judged in order:
    an earlier day's verdict decides whether it serves as a measure for a later one.
    """
    quality = lifecycle.quality
    hours = rows_by_hour(validated, lifecycle.dataset.time)
    results = []
    values = {rule.name: entity_values(rule, validated) for rule in quality.entities}
    for rule in quality.entities:
        results.append(judge_entities(rule, day, values[rule.name], history))
    results.append(judge_volume(quality.volume, day, validated.height, history))
    if quality.volume.no_empty_hours:
        results.append(judge_hours(quality.volume, day, hours, history))
    results.append(judge_quarantined(quality.max_quarantined, validated.height, quarantined))
    passed = all(result.passed for result in results if result.severity == "stop")
    history.days[day] = DayFacts(passed, validated.height, hours, quarantined)
    if passed:
        history.values |= {(name, day): frame for name, frame in values.items()}
    return {
        "day": day.isoformat(),
        "passed": passed,
        "rows": validated.height,
        "quarantined": quarantined,
        "columns": column_figures(validated),
        "hours": list(hours),
        "rules": [asdict(result) for result in results],
    }


def rows_by_hour(frame: pl.DataFrame, time: str) -> list[int]:
    """Rows in each of the 24 hours of the day, UTC."""
    counts = dict(frame.select(pl.col(time).dt.hour().alias("hour")).to_series().value_counts().rows())
    return [counts.get(hour, 0) for hour in range(24)]


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
        verdict = "passed" if rule["passed"] else ("stops the day" if rule["severity"] == "stop" else "warns")
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
