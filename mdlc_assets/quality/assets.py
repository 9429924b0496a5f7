"""Stage 2: `validated`, `quarantine` and `daily_metrics` from `raw`, and the `quality_report` that lets a day pass."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import dagster as dg

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, column_schema, daily_asset, days_in_run, days_of, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.checks import report_checks, validated_checks
from mdlc_assets.quality.metrics import SCHEMA, daily_metrics, refused_by_rule
from mdlc_assets.quality.reading import arrived_hours, day_data, read_history
from mdlc_assets.quality.report import judge_day, rows_plot, rules_table
from mdlc_assets.quality.rows import part_rows
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.sourcing.attributes import with_attributes
from mdlc_assets.sourcing.files import LandingError

_THREADS = 4


def quality_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """`validated`, `quarantine`, `daily_metrics`, `quality_report` and their blocking checks."""
    return dg.Definitions(
        assets=[_validated_and_quarantine(lifecycle), _quality_report(lifecycle)],
        asset_checks=[validated_checks(lifecycle), report_checks(lifecycle)],
    )


def _validated_and_quarantine(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    columns = [(n, c.type, c.description) for n, c in lifecycle.dataset.columns.items()]
    joined = [(n, c.type, c.description) for n, c in lifecycle.dataset.validated_columns.items()]
    marks = [
        ("_source_file", "string", "The landed file, below its feed's folder."),
        ("_source_row", "integer", "The row in that file, from 1."),
        ("rule", "string", "The first rule that the row breaks."),
        ("reason", "string", "Everything that is wrong with the row, in words."),
    ]

    attributes = tuple(lifecycle.dataset.attributes)

    def spec(name: str, description: str, schema: Sequence[tuple[str, str, str]]) -> dg.AssetSpec:
        options = daily_asset(lifecycle, "quality", name)
        return dg.AssetSpec(
            key=options["key"],
            deps=[asset_key(lifecycle, table) for table in ("raw", *(attributes if name == "validated" else ()))],
            description=description,
            group_name=options["group_name"],
            owners=options["owners"],
            kinds=options["kinds"],
            tags=options["tags"],
            code_version=options["code_version"],
            partitions_def=options["partitions_def"],
            metadata={
                "dagster/table_name": f"{lifecycle.name}.{name}",
                "dagster/column_schema": column_schema(schema),
            },
        )

    @dg.multi_asset(
        name=f"{lifecycle.name}__validated_and_quarantine",
        specs=[
            spec(
                "validated",
                "The rows of the day that keep every declared rule, in time order"
                + (", with what was known of their entities at their instant." if attributes else "."),
                joined,
            ),
            spec(
                "quarantine",
                "The rows of the day that break a rule, with the reason. Nothing is thrown away: these and "
                "the validated rows together are all rows of raw.",
                [*columns, *marks],
            ),
            spec(
                "daily_metrics",
                "Figures of the day: rows, and for each column nulls, distinct values, range, quantiles, shares of "
                "categories and hours; rows refused by rule; when the files came.",
                [(name, str(dtype).lower(), "") for name, dtype in SCHEMA.items()],
            ),
        ],
        partitions_def=days_of(lifecycle),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    @read_once
    def validated_and_quarantine(
        context: dg.AssetExecutionContext, lake: Lake, landing: LandingZone
    ) -> Iterator[dg.MaterializeResult]:
        days = days_in_run(context)
        raw, validated, quarantine, metrics = (
            lake.table(lifecycle.name, name) for name in ("raw", "validated", "quarantine", "daily_metrics")
        )
        feed = landing.feed(lifecycle.name, "transactions")

        def part(day: date) -> tuple[int, int, dict[str, int], int]:
            parted = part_rows(lifecycle, day, raw.read_day(day))
            refused = refused_by_rule(parted.quarantine)
            figures = daily_metrics(lifecycle, parted.validated, refused, arrived_hours(lifecycle, feed, day))
            known = {table: lake.table(lifecycle.name, table).read_day(day) for table in attributes}
            validated.write_day(day, with_attributes(lifecycle, parted.validated, known))
            quarantine.write_day(day, parted.quarantine)
            metrics.write_day(day, figures)
            return parted.validated.height, parted.quarantine.height, dict(parted.broken), figures.height

        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                counts = dict(zip(days, pool.map(part, days), strict=True))
        except DayAbsentError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        for day, (kept, refused, broken, figures) in counts.items():
            share = refused / (kept + refused) if kept + refused else 0.0
            metadata: dict[str, dict[str, Any]] = {
                "validated": {"dagster/partition_row_count": kept},
                "quarantine": {"dagster/partition_row_count": refused, "share": share, "rows_by_rule": broken},
                "daily_metrics": {"dagster/partition_row_count": figures},
            }
            for name, said in metadata.items():
                context.add_asset_metadata(said, asset_key=asset_key(lifecycle, name), partition_key=day.isoformat())
        total = sum(kept for kept, *_ in counts.values())
        out = sum(refused for _, refused, *_ in counts.values())
        context.log.info(f"{total:,} rows validated and {out:,} in quarantine, {days[0]} to {days[-1]}")
        for name in ("validated", "quarantine", "daily_metrics"):
            yield dg.MaterializeResult(asset_key=asset_key(lifecycle, name))

    return validated_and_quarantine


def _quality_report(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    @dg.asset(
        **daily_asset(lifecycle, "quality", "quality_report", kinds={"polars", "json"}),
        deps=[asset_key(lifecycle, name) for name in ("raw", "validated", "quarantine", "daily_metrics")],
        description="What the day looks like beside the days before it and beside other datasets, and whether it may "
        "go on: entities that jump, a volume that doubles, metrics that are not usual, events that come again. Days "
        "are judged in order; only days that passed serve as a measure.",
        metadata={"dagster/table_name": f"{lifecycle.name}.quality_report"},
    )
    @read_once
    def quality_report(context: dg.AssetExecutionContext, lake: Lake, landing: LandingZone) -> None:
        days = days_in_run(context)
        reports = lake.documents(lifecycle.name, "quality_report")
        history = read_history(lifecycle, lake, days[0])
        feed = landing.feed(lifecycle.name, "transactions")
        stopped = []
        for day in days:
            try:
                found = day_data(lifecycle, lake, landing, feed, day)
            except LandingError as error:
                raise dg.Failure(str(error), allow_retries=False) from None
            document = judge_day(lifecycle, day, found, history)
            reports.write_document(day, document)
            metadata = {
                "passed": document["passed"],
                "rows": document["rows"],
                "quarantined": document["quarantined"],
                "rules": dg.MetadataValue.md(rules_table(document)),
            }
            if day == days[-1]:
                metadata["rows by day"] = dg.MetadataValue.md(plots.as_markdown(rows_plot(history)))
            context.add_asset_metadata(metadata, partition_key=day.isoformat())
            if not document["passed"]:
                stopped.append(day)
                broken = [r["text"] for r in document["rules"] if not r["passed"] and r["severity"] == "stop"]
                context.log.error(f"{day} is stopped: {'; '.join(broken)}")
        context.log.info(f"{len(days) - len(stopped)} of {len(days)} days pass, {days[0]} to {days[-1]}")

    return quality_report
