"""`online_decisions`: what the decision service answered, in the lake, beside what the batch path gives."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_in_run, frame_schema, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.integration.online_decisions import agreement, merge, read_captured
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.lake import Lake

_SHOWN_DAYS = 28
_DEGRADED_SHARE = 0.05


def online_decisions_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """The online half of stage 8."""
    return dg.Definitions(assets=[_online_decisions(lifecycle)], asset_checks=[_checks(lifecycle)])


def _online_decisions(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    name = lifecycle.name

    @dg.asset(
        **daily_asset(lifecycle, "integration", "online_decisions"),
        deps=[asset_key(lifecycle, "batch_predictions")],
        description="What the decision service answered about the day's events: inputs, features, score, decision, "
        "versions. Brought in from its capture; what the lake has already stays.",
    )
    @read_once
    def online_decisions(
        context: dg.AssetExecutionContext, lake: Lake, captured_decisions: CapturedDecisions
    ) -> dg.MaterializeResult:
        table, rows, unreadable, total = lake.table(name, "online_decisions"), pl.DataFrame(), 0, 0
        for day in days_in_run(context):
            found, broken = read_captured(lifecycle, captured_decisions.lines(name, day))
            before = table.read_day(day) if table.has(day) else None
            if found.height:
                # In one piece: a reader sees the day as it was, or as it is now.
                before = merge(before, found)
                table.write_day(day, before)
            unreadable += broken
            rows = before if before is not None else rows
            count = before.height if before is not None else 0
            total += count
            context.add_asset_metadata(
                {"dagster/partition_row_count": count, "unreadable lines": broken}, partition_key=day.isoformat()
            )
        return dg.MaterializeResult(
            metadata={
                **({"dagster/column_schema": frame_schema(rows)} if rows.width else {}),
                "dagster/table_name": f"{name}.online_decisions",
                "dagster/row_count": total,
                "unreadable lines": unreadable,
                "decisions by day": dg.MetadataValue.md(_days_plot(lake, lifecycle)),
            }
        )

    return online_decisions


def _checks(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    name, key = lifecycle.name, asset_key(lifecycle, "online_decisions")
    specs = {
        "not_degraded": f"At most {_DEGRADED_SHARE:.0%} of the day's decisions had to do without store or model.",
        "as_in_batch": "Online, an event has the score that the batch path gives it with the same version.",
    }

    @dg.multi_asset_check(
        specs=[dg.AssetCheckSpec(check, asset=key, description=text) for check, text in specs.items()],
        name=f"{name}_online_decisions_checks",
    )
    @read_once
    def online_decisions_checks(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        wrong: dict[str, list[str]] = {check: [] for check in specs}
        for day in days_in_run(context):
            for check, (text, said) in _judge(lifecycle, lake, day).items():
                wrong[check] += [f"{day}: {text}"] if text else []
                yield dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=check,
                    passed=not text,
                    description=text or "all is well",
                    metadata=said,
                    partition=day.isoformat(),
                    severity=dg.AssetCheckSeverity.WARN,
                )
        for check, texts in wrong.items():
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=check,
                passed=not texts,
                severity=dg.AssetCheckSeverity.WARN,
                description="\n".join(texts) or "all is well",
            )

    return online_decisions_checks


def _judge(lifecycle: LifecycleDeclaration, lake: Lake, day: date) -> dict[str, tuple[str, dict[str, Any]]]:
    """For each check what is wrong with a day, and its figures. A day without decisions is none to judge."""
    table, batch = lake.table(lifecycle.name, "online_decisions"), lake.table(lifecycle.name, "batch_predictions")
    if not table.has(day):
        return {check: ("", {"decisions": 0}) for check in ("not_degraded", "as_in_batch")}
    rows = table.read_day(day)
    causes = dict(rows.filter(pl.col("degraded") != "")["degraded"].value_counts().iter_rows())
    share = sum(causes.values()) / rows.height
    named = ", ".join(f"{cause} {count}" for cause, count in sorted(causes.items()))
    degraded = f"{share:.1%} of {rows.height} decisions were degraded: {named}" if share > _DEGRADED_SHARE else ""
    found = agreement(lifecycle, rows, batch.read_day(day) if batch.has(day) else None)
    differ = (
        f"{found.different} of {found.compared} scores differ, by up to {found.greatest:.3g}; see online_consistency"
        if found.different
        else ""
    )
    figures = {"decisions": rows.height, "share degraded": share, "causes": causes}
    return {"not_degraded": (degraded, figures), "as_in_batch": (differ, asdict(found))}


def _days_plot(lake: Lake, lifecycle: LifecycleDeclaration) -> str:
    """Decisions by day, one bar on the other, and the share that was degraded."""
    table = lake.table(lifecycle.name, "online_decisions")
    days = table.days()[-_SHOWN_DAYS:]
    frames = [table.read_day(day, ["decision", "degraded"]) for day in days]
    figure, axes = plots.new_figure()
    colours, below = (plots.GREEN, plots.ORANGE, plots.RED, plots.BLUE, plots.GREY), [0.0] * len(days)
    for number, decision in enumerate(lifecycle.decisions.actions):
        counts = [float((frame["decision"] == decision).sum()) for frame in frames]
        colour = colours[number % len(colours)]
        axes.bar(plots.dates(days), counts, bottom=below, color=colour, alpha=0.7, label=decision)
        below = [low + count for low, count in zip(below, counts, strict=True)]
    degraded = [float((frame["degraded"] != "").sum()) for frame in frames]
    axes.plot(plots.dates(days), degraded, ".", color="black", label="degraded")
    axes.set_ylabel("decisions")
    axes.legend(fontsize=7)
    plots.by_day(axes)
    return plots.as_markdown(figure)
