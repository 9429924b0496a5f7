"""`features`: the declared features of each event, point in time."""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl
import yaml

from mdlc_assets import plots
from mdlc_assets.asset_style import (
    asset_key,
    daily_asset,
    days_before,
    days_in_run,
    frame_schema,
    has_own_event,
    on_labels,
    read_once,
)
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.days import Days
from mdlc_assets.features.engines import choose_engine, compute_features
from mdlc_assets.features.online_assets import online_definitions
from mdlc_assets.features.spark_job import features_job
from mdlc_assets.features.state import StateMismatchError, fingerprint
from mdlc_assets.features.table import describe_features, sources_of
from mdlc_assets.features.verdict import incomplete, not_finite
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.spark_cluster import SparkCluster, SparkReportError, SparkServiceError
from mdlc_assets.resources.spark_session import SparkAbsentError


def features_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 3 of a lifecycle."""
    name, dataset = lifecycle.name, lifecycle.dataset
    reach = lifecycle.features.look_back_days()
    delay = lifecycle.labels.delay // timedelta(days=1)
    key = asset_key(lifecycle, "features")

    state = _state_asset(lifecycle, reach)

    @dg.asset(
        **daily_asset(lifecycle, "features", "features"),
        deps=[
            dg.AssetDep(asset_key(lifecycle, "validated"), partition_mapping=days_before(reach)),
            *on_labels(lifecycle, days_before(reach, delay)),
            dg.AssetDep(asset_key(lifecycle, "feature_state"), partition_mapping=days_before(reach + 1, 1)),
            asset_key(lifecycle, "quality_report"),
        ],
        description="The declared features of each event, as they were known at its instant. A window of width w "
        "and delay d covers (t - w - d, t - d]; all events of the same instant count.",
    )
    @read_once
    def features(context: dg.AssetExecutionContext, lake: Lake, spark_cluster: SparkCluster) -> dg.MaterializeResult:
        days = days_in_run(context)
        table = lake.table(name, "features")
        rows: dict[date, int] = {}
        shown = pl.DataFrame()
        try:
            source = Days(lifecycle, lake)
            engine = choose_engine(source, days, spark=spark_cluster.is_there())
            if engine == "spark":
                # Its tasks write the days, which never all come to this process.
                rows = spark_cluster.run(context, features_job(lifecycle, lake, days))
                shown = table.read_day(days[-1])
            else:
                for found, _ in compute_features(lifecycle, lake, days, engine, source):
                    for day, frame in found.items():
                        table.write_day(day, frame)
                        rows[day] = frame.height
                        shown = frame
        except (DayAbsentError, StateMismatchError, SparkAbsentError, SparkReportError, SparkServiceError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        for day, count in rows.items():
            context.add_asset_metadata(
                {"dagster/partition_row_count": count, "engine": engine}, partition_key=day.isoformat()
            )
        return dg.MaterializeResult(
            metadata={
                "dagster/column_schema": frame_schema(shown, describe_features(lifecycle)),
                "dagster/column_lineage": _lineage(lifecycle),
                "dagster/table_name": f"{name}.features",
                "dagster/row_count": sum(rows.values()),
                "share of zeros and nulls": dg.MetadataValue.md(_share_plot(shown, lifecycle.features.names())),
                "definition": dg.MetadataValue.md(_definition(lifecycle)),
            }
        )

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec("complete", asset=key, blocking=True, description="A row for each validated event."),
            dg.AssetCheckSpec("finite", asset=key, blocking=True, description="No feature is missing or infinite."),
        ],
        name=f"{name}_features_checks",
    )
    @read_once
    def features_checks(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        wrong: dict[str, list[str]] = {"complete": [], "finite": []}
        days = days_in_run(context)
        for day in days:
            frame = lake.table(name, "features").read_day(day)
            events = lake.table(name, "validated").read_day(day, [dataset.id]).height
            for check, text in (
                ("complete", incomplete(frame, events)),
                ("finite", not_finite(frame, lifecycle.features.names())),
            ):
                if has_own_event(not text, days):
                    yield dg.AssetCheckEvaluation(
                        asset_key=key,
                        check_name=check,
                        passed=not text,
                        description=text or "all is well",
                        metadata={},
                        partition=day.isoformat(),
                    )
                if text:
                    wrong[check].append(f"{day}: {text}")
        for check, texts in wrong.items():
            yield dg.AssetCheckResult(
                asset_key=key, check_name=check, passed=not texts, description="\n".join(texts) or "all is well"
            )

    offline = dg.Definitions(assets=[state, features], asset_checks=[features_checks])
    return dg.Definitions.merge(offline, online_definitions(lifecycle))


def _state_asset(lifecycle: LifecycleDeclaration, reach: int) -> dg.AssetsDefinition:
    @dg.asset(
        **daily_asset(lifecycle, "features", "feature_state"),
        deps=[
            dg.AssetDep(asset_key(lifecycle, "validated"), partition_mapping=days_before(reach)),
            *on_labels(lifecycle, days_before(reach)),
            dg.AssetDep(asset_key(lifecycle, "feature_state"), partition_mapping=days_before(1, 1)),
            asset_key(lifecycle, "quality_report"),
        ],
        description="Running counts and sums for each entity through the day, from which later days' features "
        "follow without looking at all events again. Carries the fingerprint of its declaration.",
    )
    @read_once
    def feature_state(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        source = Days(lifecycle, lake)
        table = source.states
        days = days_in_run(context)
        try:
            later: list[date] = []
            for day, frame in source.make_states(days):
                if day == days[-1] and not (table.has(day) and table.read_day(day).equals(frame)):
                    # On the last day alone depends whether the state of later days still follows. They go first, so
                    # that a run killed here leaves none that does not.
                    later = [present for present in table.days() if present > day]
                    for gone in later:
                        table.delete_day(gone)
                written = table.write_day(day, frame)
                if day in days:
                    context.add_asset_metadata(
                        {"dagster/partition_row_count": written.rows, "declaration": fingerprint(lifecycle)},
                        partition_key=day.isoformat(),
                    )
        except DayAbsentError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        return dg.MaterializeResult(
            metadata={
                "dagster/column_schema": frame_schema(table.read_day(days[-1])),
                "dagster/table_name": f"{lifecycle.name}.feature_state",
                "later days that no longer followed": len(later),
            }
        )

    return feature_state


def _lineage(lifecycle: LifecycleDeclaration) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            feature: [
                dg.TableColumnDep(asset_key=asset_key(lifecycle, table), column_name=column)
                for table, column in sources_of(lifecycle, feature)
            ]
            for feature in lifecycle.features.names()
        }
    )


def _definition(lifecycle: LifecycleDeclaration) -> str:
    """The features as declared, and each column in words."""
    declared = yaml.safe_dump({"features": lifecycle.features.model_dump(mode="json")}, sort_keys=False)
    said = "\n".join(f"| `{name}` | {text} |" for name, text in describe_features(lifecycle).items())
    return f"| feature | what it is |\n|---|---|\n{said}\n\n```yaml\n{declared}```\n"


def _share_plot(frame: pl.DataFrame, names: list[str]) -> str:
    figure, axes = plots.new_figure(height=0.8 + 0.2 * len(names))
    rows = max(frame.height, 1)
    nulls = [int(frame[name].is_finite().fill_null(False).not_().sum()) / rows for name in names]
    zeros = [int((frame[name] == 0).sum()) / rows for name in names]
    axes.barh(names[::-1], zeros[::-1], color=plots.BLUE, label="zero")
    axes.barh(names[::-1], nulls[::-1], left=zeros[::-1], color=plots.ORANGE, label="missing or infinite")
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of rows")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(loc="lower right", fontsize=7)
    return plots.as_markdown(figure)
