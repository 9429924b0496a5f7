"""`validated`, `quarantine` and `quality_report`."""

from datetime import timedelta

import dagster as dg
import polars as pl

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_in_run, frame_schema
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.checks import quality_checks
from mdlc_assets.quality.quarantine import split_rows
from mdlc_assets.quality.report import QualityHistory, judge_day
from mdlc_assets.resources.lake import Lake

_LONGEST_LOOK_BACK = 60
_PLOTTED_DAYS = 28


def quality_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 2 of a lifecycle."""
    name, dataset, quality = lifecycle.name, lifecycle.dataset, lifecycle.quality
    style = daily_asset(lifecycle, "quality", "validated")
    shared = {field: style.pop(field) for field in ("partitions_def", "backfill_policy")}
    style.pop("key")
    said = {
        "validated": f"{dataset.description} Only rows that keep every rule, once each, in order of time.",
        "quarantine": "Rows that broke a rule, with the rule and the reason; none is thrown away.",
    }

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(asset_key(lifecycle, table), deps=[asset_key(lifecycle, "raw")], description=text, **style)
            for table, text in said.items()
        ],
        name=f"{name}_validated_and_quarantine",
        **shared,
    )
    def validated(context: dg.AssetExecutionContext, lake: Lake):  # type: ignore[no-untyped-def]
        tables = {table: lake.table(name, table) for table in said}
        counts = dict.fromkeys(said, 0)
        last: dict[str, pl.DataFrame] = {}
        for day in days_in_run(context):
            split = split_rows(dataset, quality, day, lake.table(name, "raw").read_day(day))
            for table, rows in (("validated", split.good), ("quarantine", split.bad)):
                tables[table].write_day(day, rows)
                counts[table] += rows.height
                last[table] = rows
                context.add_asset_metadata(
                    {"dagster/partition_row_count": rows.height},
                    asset_key=asset_key(lifecycle, table),
                    partition_key=day.isoformat(),
                )
        texts = {column: about.description for column, about in dataset.columns.items()}
        for table in said:
            yield dg.MaterializeResult(
                asset_key(lifecycle, table),
                metadata={
                    "dagster/column_schema": frame_schema(last[table], texts),
                    "dagster/table_name": f"{name}.{table}",
                    "dagster/row_count": counts[table],
                },
            )

    @dg.asset(
        **daily_asset(lifecycle, "quality", "quality_report", kinds={"json"}),
        deps=[asset_key(lifecycle, "validated"), asset_key(lifecycle, "quarantine")],
        description="Figures of each day, and the rules over days: entities' values from day to day, volume, "
        "missing hours. A day is compared with healthy days only. A day that breaks a rule stops here.",
    )
    def quality_report(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        table, documents = lake.table(name, "validated"), lake.documents(name, "quality_report")
        history = QualityHistory(dataset, quality, table.read_day)
        days = days_in_run(context)
        first = days[0] - timedelta(days=_LONGEST_LOOK_BACK)
        for day in documents.days():
            if first <= day < days[0]:
                report = documents.read_document(day)
                if report["passed"]:
                    history.add_healthy(day, report["hours"])
        stopped = []
        for day in days:
            bad = lake.table(name, "quarantine").read_day(day, ["rule"]).height
            report = judge_day(day, table.read_day(day), bad, history)
            documents.write_document(day, report)
            broken = [rule["text"] for rule in report["rules"] if not rule["passed"]]
            stopped += [day] if not report["passed"] else []
            context.add_asset_metadata(
                {"rows": report["rows"], "quarantined": bad, "broken rules": "\n\n".join(broken) or "none"},
                partition_key=day.isoformat(),
            )
        return dg.MaterializeResult(
            metadata={
                "days stopped": ", ".join(map(str, stopped)) or "none",
                "volume": dg.MetadataValue.md(_volume_plot(lake, lifecycle, days[-1])),
            }
        )

    return dg.Definitions(assets=[validated, quality_report], asset_checks=quality_checks(lifecycle))


def _volume_plot(lake: Lake, lifecycle: LifecycleDeclaration, last) -> str:  # type: ignore[no-untyped-def]
    documents = lake.documents(lifecycle.name, "quality_report")
    days = [day for day in documents.days() if day <= last][-_PLOTTED_DAYS:]
    reports = [documents.read_document(day) for day in days]
    figure, axes = plots.new_figure()
    colours = [plots.BLUE if report["passed"] else plots.RED for report in reports]
    axes.bar(plots.dates(days), [report["rows"] for report in reports], color=colours)
    axes.set_ylabel("rows a day")
    axes.set_title("Rows that passed validation; days in red were stopped", fontsize=9, loc="left")
    figure.autofmt_xdate()
    return plots.as_markdown(figure)
