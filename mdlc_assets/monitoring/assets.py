"""`open_loop_report`, `closed_loop_report`, `retrain_decision` and `daily_report`."""

from datetime import timedelta

import dagster as dg

from mdlc_assets.asset_style import asset_key, daily_asset, days_before, days_in_run
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring import open_loop
from mdlc_assets.monitoring.checks import monitoring_checks
from mdlc_assets.monitoring.closed_loop import realised
from mdlc_assets.monitoring.record import Record
from mdlc_assets.monitoring.report import Figures, render
from mdlc_assets.monitoring.retrain_policy import Situation, decide
from mdlc_assets.resources.alerts import Alerts
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.reports import Reports

_SHOWN_DAYS = 28
_RECENT_DAYS = 3


def monitoring_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 7 of a lifecycle."""
    name, monitors = lifecycle.name, lifecycle.monitoring
    delay = lifecycle.labels.delay_days
    features = lifecycle.features.names()

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "drift_profile"),
        deps=[asset_key(lifecycle, "features"), asset_key(lifecycle, "validated")],
        description="A sketch of each input of the day, at most 512 weighted points: what later days are compared "
        "with, without reading the rows again.",
    )
    def drift_profile(context: dg.AssetExecutionContext, lake: Lake) -> None:
        record = Record(lifecycle, lake)
        table = lake.table(name, "drift_profile")
        days = days_in_run(context)
        with ThreadPoolExecutor(_THREADS) as pool:
            for day, found in zip(days, pool.map(record.sketch_inputs, days), strict=True):
                size = table.write_day(day, to_table(found)).size
                context.add_asset_metadata({"columns": len(found), "bytes": size}, partition_key=day.isoformat())

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "open_loop_report", kinds={"json"}),
        deps=[asset_key(lifecycle, upstream) for upstream in ("drift_profile", "batch_predictions", "decisions")],
        description="Inputs, scores and decisions of the day against healthy days and against those the champion "
        "learnt from: distances, alarm, and the performance to be expected. Needs no labels. Drift alone does not "
        "ask for retraining.",
    )
    def open_loop_report(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> None:
        record = Record(lifecycle, lake)
        documents = lake.documents(name, "open_loop_report")
        estimates = Estimates(lifecycle, lake, registry)
        for day in days_in_run(context):
            version = _version_on(record, day)
            before = record.documents("open_loop_report", day - timedelta(days=1), monitors.open_loop.reference_days)
            today = {**record.inputs(day), **record.outputs(day)}
            reference = record.reference(day, version, before)
            document = watch(monitors.open_loop, day, today, reference, before, outputs=OUTPUTS)
            document |= {
                "model_version": version,
                "decisions": record.decision_shares(day),
                "estimated": estimates.of_day(day, version),
            }
            documents.write_document(day, document)
            shown = {"alarm": document["alarm"], "reasons": "; ".join(document["reasons"])}
            if day == days_in_run(context)[-1]:
                recent = record.documents("open_loop_report", day, _SHOWN_DAYS)
                shown["drift"] = dg.MetadataValue.md(plots.as_markdown(distances_plot(recent, day)))
            context.add_asset_metadata(shown, partition_key=day.isoformat())

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "closed_loop_report", kinds={"json"}),
        deps=[asset_key(lifecycle, "batch_predictions"), asset_key(lifecycle, "labels")],
        description="How right the model was on the day, made when its labels have come: metrics of the day and of "
        "the last days together, calibration, beside what the gate promised.",
    )
    def closed_loop_report(context: dg.AssetExecutionContext, lake: Lake) -> None:
        record = Record(lifecycle, lake)
        for day in days_in_run(context):
            try:
                today = record.scored_and_labelled([day])
            except DayAbsentError as error:
                raise dg.Failure(description=str(error), allow_retries=False) from None
            version = int(today["model_version"].max() or 0)  # type: ignore[arg-type]
            window = [day - timedelta(days=back) for back in range(monitors.retrain.for_days)]
            recent = record.scored_and_labelled(record.days_scored_by(version, window))
            document = realised(lifecycle, today, recent, record.promised(version))
            lake.documents(name, "closed_loop_report").write_document(day, document)
            shown = {metric: value for metric, value in document["metrics"].items() if value is not None}
            context.add_asset_metadata({"model version": version, **shown}, partition_key=day.isoformat())

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "retrain_decision", kinds={"json"}),
        deps=[
            asset_key(lifecycle, "quality_report"),
            asset_key(lifecycle, "open_loop_report"),
            dg.AssetDep(asset_key(lifecycle, "closed_loop_report"), partition_mapping=days_before(delay, delay)),
        ],
        description="What the declared policy says as of the day: none, wait, retrain, or stop, with its reasons. The "
        "sensor only acts on it.",
    )
    def retrain_decision(context: dg.AssetExecutionContext, lake: Lake, alerts: Alerts) -> None:
        record = Record(lifecycle, lake)
        for day in days_in_run(context):
            version = _version_on(record, day)
            moved = lake.documents(name, "open_loop_report").read_document(day)["alarmed"]
            verdict = decide(
                monitors.retrain,
                Situation(
                    today=day,
                    champion_trained=record.trained_on(version),
                    trained=record.newest_training(day),
                    stopped_days=record.stopped_days(day, _RECENT_DAYS),
                    labelled=record.labelled_days(version, day - timedelta(days=delay)),
                    inputs_moved=moved,
                ),
            )
            lake.documents(name, "retrain_decision").write_document(day, verdict.as_dict())
            if verdict.verdict != "none":
                alerts.send(name, day, verdict.verdict, "; ".join(verdict.reasons), lifecycle.owners.training)
            context.add_asset_metadata(
                {"verdict": verdict.verdict, "reasons": "; ".join(verdict.reasons)}, partition_key=day.isoformat()
            )

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "daily_report", kinds={"html"}),
        deps=[
            asset_key(lifecycle, asset)
            for asset in ("decisions", "quality_report", "open_loop_report", "retrain_decision")
        ],
        description="One HTML page for the day: what changed, how bad it is, who is called, what to do.",
    )
    def daily_report(context: dg.AssetExecutionContext, lake: Lake, reports: Reports) -> None:
        record = Record(lifecycle, lake)
        for day in days_in_run(context):
            version = _version_on(record, day)
            closed = record.documents("closed_loop_report", day - timedelta(days=delay), _SHOWN_DAYS)
            page = render(
                lifecycle,
                Figures(
                    day=day,
                    quality=record.documents("quality_report", day, _SHOWN_DAYS),
                    open_loop=record.documents("open_loop_report", day, _SHOWN_DAYS),
                    closed_loop=closed,
                    retrain=lake.documents(name, "retrain_decision").read_document(day),
                    decisions=record.decision_shares(day, _SHOWN_DAYS),
                    model=record.model(version),
                ),
            )
            where = reports.put(name, day, page)
            context.add_asset_metadata({"page": dg.MetadataValue.path(where)}, partition_key=day.isoformat())

    return dg.Definitions(
        assets=[open_loop_report, closed_loop_report, retrain_decision, daily_report],
        asset_checks=monitoring_checks(lifecycle),
    )


def _version_on(record: Record, day) -> int:  # type: ignore[no-untyped-def]
    try:
        return record.version_on(day)
    except DayAbsentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
