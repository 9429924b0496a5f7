"""`decisions`: what follows from each score."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_in_run, frame_schema, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.integration.effects import act_on, deliver_all
from mdlc_assets.integration.online_assets import online_decisions_definitions
from mdlc_assets.integration.rules import RuleError, RuleSet, side_by_side
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.outboxes import Outboxes

_USUAL_DAYS = 14
_FEWEST_DAYS = 5
_JUMP = 3.0
_LEAST_SHARE = 0.01


def integration_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 8 of a lifecycle."""
    name, dataset = lifecycle.name, lifecycle.dataset
    key = asset_key(lifecycle, "decisions")
    said = "; ".join(f"{rule.decide} when {rule.when}" for rule in lifecycle.decisions.rules)

    @dg.asset(
        **daily_asset(lifecycle, "integration", "decisions"),
        deps=[asset_key(lifecycle, table) for table in ("batch_predictions", "features", "validated")],
        description=f"A decision for each event of the day, by the first rule that holds, and the action it "
        f"leads to, set in motion once. Rules: {said}; otherwise {lifecycle.decisions.otherwise}.",
    )
    @read_once
    def decisions(context: dg.AssetExecutionContext, lake: Lake, outboxes: Outboxes) -> dg.MaterializeResult:
        outbox = outboxes.open(name) if lifecycle.decisions.acts() else None
        acts = {"new": 0, "too old": 0}
        rules = RuleSet(lifecycle.decisions)
        version = lifecycle.fingerprint("decisions")
        rows = pl.DataFrame()
        total = 0
        for day in days_in_run(context):
            try:
                scores, features, events = (
                    lake.table(*lifecycle.place(table)).read_day(day)
                    for table in ("batch_predictions", "features", "validated")
                )
                decided = rules.decide_all(side_by_side(scores, features, events, on=dataset.id))
            except (DayAbsentError, RuleError) as error:
                raise dg.Failure(description=f"{day}: {error}", allow_retries=False) from None
            rows = pl.concat(
                [scores.select(dataset.id, dataset.time, "score"), decided], how="horizontal"
            ).with_columns(scores["model_version"], pl.lit(version).alias("rules_version"))
            lake.table(name, "decisions").write_day(day, rows)
            total += rows.height
            if outbox is not None:
                new, old = act_on(lifecycle, outbox, rows, context.run_id, datetime.now(UTC))
                acts = {"new": acts["new"] + new, "too old": acts["too old"] + old}
            counts = dict(rows["decision"].value_counts().iter_rows())
            context.add_asset_metadata(
                {"dagster/partition_row_count": rows.height, **counts}, partition_key=day.isoformat()
            )
        effects = {}
        if outbox is not None:
            deliver_all(outbox)
            effects = {
                "decisions set in motion": acts["new"],
                "decisions too old to be": acts["too old"],
                **{f"effects {state}": count for state, count in outbox.counts().items()},
            }
        return dg.MaterializeResult(
            metadata={
                **effects,
                "dagster/column_schema": frame_schema(rows),
                "dagster/table_name": f"{name}.decisions",
                "dagster/row_count": total,
                "rules version": version,
                "decisions by day": dg.MetadataValue.md(_rates_plot(lake, lifecycle)),
            }
        )

    @dg.multi_asset_check(
        specs=[dg.AssetCheckSpec("rates", asset=key, description="No decision is suddenly three times as frequent.")],
        name=f"{name}_decisions_checks",
    )
    @read_once
    def rates(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        table = lake.table(name, "decisions")
        jumps = []
        for day in days_in_run(context):
            before = [d for d in table.days() if day - timedelta(days=_USUAL_DAYS) <= d < day]
            now = _shares(table.read_day(day, ["decision"]))
            text = ""
            if len(before) >= _FEWEST_DAYS:
                usual = _shares(table.read(before, ["decision"]))
                text = "; ".join(
                    f"{decision} {share:.1%}, usually {usual.get(decision, 0):.1%}"
                    for decision, share in sorted(now.items())
                    if share > max(_LEAST_SHARE, _JUMP * usual.get(decision, 0))
                )
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name="rates",
                passed=not text,
                description=text or "as usual",
                metadata={},
                partition=day.isoformat(),
                severity=dg.AssetCheckSeverity.WARN,
            )
            jumps += [f"{day}: {text}"] if text else []
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="rates",
            passed=not jumps,
            severity=dg.AssetCheckSeverity.WARN,
            description="\n".join(jumps) or "as usual",
        )

    offline = dg.Definitions(assets=[decisions], asset_checks=[rates])
    if lifecycle.uses:
        return offline
    return dg.Definitions.merge(offline, online_decisions_definitions(lifecycle))


def _shares(rows: pl.DataFrame) -> dict[str, float]:
    return {decision: count / rows.height for decision, count in rows["decision"].value_counts().iter_rows()}


def _rates_plot(lake: Lake, lifecycle: LifecycleDeclaration) -> str:
    table = lake.table(lifecycle.name, "decisions")
    days = table.days()[-28:]
    shares = [_shares(table.read_day(day, ["decision"])) for day in days]
    figure, axes = plots.new_figure()
    colours = (plots.RED, plots.ORANGE, plots.BLUE, plots.GREEN)
    others = [decision for decision in lifecycle.decisions.actions if decision != lifecycle.decisions.otherwise]
    for colour, decision in zip(colours, others, strict=False):
        axes.plot(
            plots.dates(days), [share.get(decision, 0) for share in shares], marker=".", color=colour, label=decision
        )
    axes.set_ylabel("share of events")
    axes.legend(fontsize=8)
    plots.by_day(axes)
    return plots.as_markdown(figure)
