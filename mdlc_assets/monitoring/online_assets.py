"""`online_open_loop_report` and `online_closed_loop_report`: the decision service's traffic, monitored."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_in_run, on_labels, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.checks import online_checks
from mdlc_assets.monitoring.expectation import Expectation
from mdlc_assets.monitoring.figures import distances_plot
from mdlc_assets.monitoring.online_record import CLOSED, OPEN, OnlineRecord
from mdlc_assets.monitoring.record import Record
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry

_SHOWN_DAYS = 28


def online_monitoring_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """The online half of stage 7."""
    closed = [_closed_loop(lifecycle)] if lifecycle.labels.column else []
    return dg.Definitions(assets=[_open_loop(lifecycle), *closed], asset_checks=online_checks(lifecycle))


def _open_loop(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    name = lifecycle.name

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", OPEN, kinds={"json"}),
        # The reference is the batch path's, of days gone by.
        deps=[asset_key(lifecycle, "online_decisions")],
        description="Features that the decision service was given, its scores and its decisions of the day, against "
        "the healthy days of the batch path: distances, alarm, expected performance. A day that is not over, and one "
        "about which nothing was decided, has none.",
    )
    @read_once
    def online_open_loop_report(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> None:
        record = Record(lifecycle, lake)
        online, expectation = OnlineRecord(record), Expectation(record, registry)
        for day in days_in_run(context):
            document = online.open_loop(day) if _is_over(day) else None
            if document is None:
                context.add_asset_metadata({"reasons": "nothing to judge yet"}, partition_key=day.isoformat())
                continue
            version = document["model_version"]
            document["estimated"] = expectation.of_scores(day, version, online.scores(day, version))
            lake.documents(name, OPEN).write_document(day, document)
            shown: dict[str, Any] = {"alarm": document["alarm"], "reasons": "; ".join(document["reasons"])}
            shown |= {"events": document["events"], "judged": document["judged"], "model version": version}
            if day == days_in_run(context)[-1]:
                recent = record.documents(OPEN, day, _SHOWN_DAYS, having="since")
                shown["drift"] = dg.MetadataValue.md(plots.as_markdown(distances_plot(recent, day)))
            context.add_asset_metadata(shown, partition_key=day.isoformat())

    return online_open_loop_report


def _closed_loop(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    @dg.asset(
        **daily_asset(lifecycle, "monitoring", CLOSED, kinds={"json"}),
        deps=[asset_key(lifecycle, "online_decisions"), *on_labels(lifecycle)],
        description="How right the decision service was on the day, made when its labels have come: metrics, "
        "calibration and slices of what it answered itself, beside what the gate promised.",
    )
    @read_once
    def online_closed_loop_report(context: dg.AssetExecutionContext, lake: Lake) -> None:
        online = OnlineRecord(Record(lifecycle, lake))
        for day in days_in_run(context):
            document = online.closed_loop(day)
            if document is None:
                shown: dict[str, Any] = {"reasons": "no labels, or nothing was decided online"}
            else:
                lake.documents(lifecycle.name, CLOSED).write_document(day, document)
                shown = {metric: value for metric, value in document["metrics"].items() if value is not None}
                shown["model version"] = document["model_version"]
            context.add_asset_metadata(shown, partition_key=day.isoformat())

    return online_closed_loop_report


def _is_over(day: date) -> bool:
    """Half a day has other hours than a whole one, and would look like drift."""
    return day < datetime.now(UTC).date()
