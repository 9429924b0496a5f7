"""`features`: the declared features of each event, point in time."""

import math
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_before, days_in_run, frame_schema
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.table import (
    days_needed,
    describe_features,
    feature_table,
    label_days_needed,
    sources_of,
)
from mdlc_assets.resources.lake import DayAbsentError, Lake, LakeTable

_CHUNK_DAYS = 366


def features_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 3 of a lifecycle."""
    name, dataset = lifecycle.name, lifecycle.dataset
    reach = math.ceil(lifecycle.features.look_back() / timedelta(days=1))
    delay = lifecycle.labels.delay // timedelta(days=1)
    key = asset_key(lifecycle, "features")

    @dg.asset(
        **daily_asset(lifecycle, "features", "features"),
        deps=[
            dg.AssetDep(asset_key(lifecycle, "validated"), partition_mapping=days_before(reach)),
            dg.AssetDep(asset_key(lifecycle, "labels"), partition_mapping=days_before(reach, delay)),
            asset_key(lifecycle, "quality_report"),
        ],
        description="The declared features of each event, as they were known at its instant. A window of width w "
        "and delay d covers (t - w - d, t - d]; all events of the same instant count.",
    )
    def features(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        days = days_in_run(context)
        table = lake.table(name, "features")
        validated, labels = lake.table(name, "validated"), lake.table(name, "labels")
        rows, shares = 0, None
        for start in range(0, len(days), _CHUNK_DAYS):
            first, last = days[start], days[start : start + _CHUNK_DAYS][-1]
            events = _read(validated, days_needed(lifecycle, first, last))
            label_days = label_days_needed(lifecycle, first, last)
            known = None if not label_days else _read(labels, label_days)
            found = feature_table(lifecycle, events, known, first, last)
            for day in days[start : start + _CHUNK_DAYS]:
                frame = found.filter(pl.col(dataset.time).dt.date() == day)
                table.write_day(day, frame)
                rows += frame.height
                context.add_asset_metadata({"dagster/partition_row_count": frame.height}, partition_key=day.isoformat())
            shares = found
        assert shares is not None
        return dg.MaterializeResult(
            metadata={
                "dagster/column_schema": frame_schema(shares, describe_features(lifecycle)),
                "dagster/column_lineage": _lineage(lifecycle),
                "dagster/table_name": f"{name}.features",
                "dagster/row_count": rows,
                "share of zeros": dg.MetadataValue.md(_zero_plot(shares, lifecycle.features.names())),
            }
        )

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec("complete", asset=key, blocking=True, description="A row for each validated event."),
            dg.AssetCheckSpec("finite", asset=key, blocking=True, description="No feature is missing or infinite."),
        ],
        name=f"{name}_features_checks",
    )
    def features_checks(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        wrong: dict[str, list[str]] = {"complete": [], "finite": []}
        for day in days_in_run(context):
            frame = lake.table(name, "features").read_day(day)
            events = lake.table(name, "validated").read_day(day, [dataset.id]).height
            bad = [
                feature
                for feature in lifecycle.features.names()
                if not frame[feature].is_finite().fill_null(False).all()
            ]
            for check, text in (
                ("complete", "" if frame.height == events else f"{frame.height} rows for {events} events"),
                ("finite", f"missing or infinite values in {', '.join(bad)}" if bad else ""),
            ):
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

    return dg.Definitions(assets=[features], asset_checks=[features_checks])


def _read(table: LakeTable, needed: list[date]) -> pl.DataFrame:
    """The needed days; those before the very first day that is there may be absent, a gap may not."""
    present = table.days()
    wanted = [day for day in needed if present and day >= present[0]]
    if not wanted:
        raise dg.Failure(description=str(DayAbsentError(table.folder, needed)), allow_retries=False)
    try:
        return table.read(wanted)
    except DayAbsentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None


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


def _zero_plot(frame: pl.DataFrame, names: list[str]) -> str:
    figure, axes = plots.new_figure(height=0.6 + 0.2 * len(names))
    shares = [float(np.mean(frame[name].to_numpy() == 0)) for name in names]
    axes.barh(names[::-1], shares[::-1], color=plots.BLUE)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of zeros")
    axes.tick_params(axis="y", labelsize=7)
    return plots.as_markdown(figure)
