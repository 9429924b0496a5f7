"""Stage 2: `validated` and `quarantine` from `raw`, and the `quality_report` that lets a day pass or not."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import dagster as dg

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, column_schema, daily_asset, days_in_run, days_of
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.across_days import (
    DayFacts,
    History,
    entity_columns,
    entity_values,
    remembered_days,
)
from mdlc_assets.quality.checks import report_checks, validated_checks
from mdlc_assets.quality.report import judge_day, rows_plot, rules_table
from mdlc_assets.quality.rows import Parted, part_rows
from mdlc_assets.resources.lake import DayAbsentError, Lake, LakeTable
from mdlc_assets.sourcing.attributes import with_attributes

_THREADS = 4


def quality_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """`validated`, `quarantine`, `quality_report` and their blocking checks."""
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
        ],
        partitions_def=days_of(lifecycle),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def validated_and_quarantine(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult]:
        days = days_in_run(context)
        raw = lake.table(lifecycle.name, "raw")
        validated = lake.table(lifecycle.name, "validated")
        quarantine = lake.table(lifecycle.name, "quarantine")

        def part(day: date) -> tuple[int, int, dict[str, int]]:
            parted: Parted = part_rows(lifecycle, day, raw.read_day(day))
            known = {feed: lake.table(lifecycle.name, feed).read_day(day) for feed in attributes}
            validated.write_day(day, with_attributes(lifecycle, parted.validated, known))
            quarantine.write_day(day, parted.quarantine)
            return parted.validated.height, parted.quarantine.height, dict(parted.broken)

        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                counts = dict(zip(days, pool.map(part, days), strict=True))
        except DayAbsentError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        for day, (kept, refused, broken) in counts.items():
            context.add_asset_metadata(
                {"dagster/partition_row_count": kept},
                asset_key=asset_key(lifecycle, "validated"),
                partition_key=day.isoformat(),
            )
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": refused,
                    "share": refused / (kept + refused) if kept + refused else 0.0,
                    "rows_by_rule": broken,
                },
                asset_key=asset_key(lifecycle, "quarantine"),
                partition_key=day.isoformat(),
            )
        total = sum(kept for kept, _, _ in counts.values())
        out = sum(refused for _, refused, _ in counts.values())
        context.log.info(f"{total:,} rows validated and {out:,} in quarantine, {days[0]} to {days[-1]}")
        yield dg.MaterializeResult(asset_key=asset_key(lifecycle, "validated"))
        yield dg.MaterializeResult(asset_key=asset_key(lifecycle, "quarantine"))

    return validated_and_quarantine


def _quality_report(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    @dg.asset(
        **daily_asset(lifecycle, "quality", "quality_report", kinds={"polars", "json"}),
        deps=[asset_key(lifecycle, name) for name in ("raw", "validated", "quarantine")],
        description="What the day looks like beside the days before it, and whether it may go on: entities "
        "that jump, a volume that doubles, an hour without rows. Days are judged in order; only days that "
        "passed serve as a measure.",
        metadata={"dagster/table_name": f"{lifecycle.name}.quality_report"},
    )
    def quality_report(context: dg.AssetExecutionContext, lake: Lake) -> None:
        days = days_in_run(context)
        validated = lake.table(lifecycle.name, "validated")
        quarantine = lake.table(lifecycle.name, "quarantine")
        reports = lake.documents(lifecycle.name, "quality_report")
        history = read_history(lifecycle, lake, days[0])
        stopped = []
        for day in days:
            refused = quarantine.read_day(day, ["rule"]).height
            document = judge_day(lifecycle, day, validated.read_day(day), refused, history)
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


def read_history(lifecycle: LifecycleDeclaration, lake: Lake, first: date) -> History:
    """What the reports and validated rows of the days before `first` say, as far back as rules look."""
    reports = lake.documents(lifecycle.name, "quality_report")
    present = set(reports.days())
    days = [day for day in remembered_days(lifecycle, first) if day in present]
    history = History()
    with ThreadPoolExecutor(_THREADS) as pool:
        for day, document in zip(days, pool.map(reports.read_document, days), strict=True):
            history.days[day] = DayFacts.of_document(document)
    _read_entity_values(lifecycle, lake.table(lifecycle.name, "validated"), first, history)
    return history


def _read_entity_values(lifecycle: LifecycleDeclaration, validated: LakeTable, first: date, history: History) -> None:
    rules = lifecycle.quality.entities
    needed = {day for rule in rules for day in history.before(first, rule.look_back_days)}
    there = needed & set(validated.days()) if needed else set()
    for day in sorted(there):
        frame = validated.read_day(day, entity_columns(lifecycle))
        for rule in rules:
            history.values[rule.name, day] = entity_values(rule, frame)
