"""`drift_profile`, `open_loop_report`, `closed_loop_report`, `retrain_decision` and `daily_report`."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import dagster as dg

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_before, days_in_run, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.checks import monitoring_checks
from mdlc_assets.monitoring.closed_loop import realised, with_slices
from mdlc_assets.monitoring.expectation import Expectation
from mdlc_assets.monitoring.figures import distances_plot, realised_plot
from mdlc_assets.monitoring.front_page import front_page
from mdlc_assets.monitoring.online_assets import online_monitoring_definitions
from mdlc_assets.monitoring.online_record import CLOSED, OPEN, OnlineRecord
from mdlc_assets.monitoring.open_loop import watch
from mdlc_assets.monitoring.problems import Figures, not_judged, problems_of, to_tell, without_earlier_verdicts
from mdlc_assets.monitoring.record import OUTPUTS, Record
from mdlc_assets.monitoring.report import Surroundings, render, summary
from mdlc_assets.monitoring.retrain_policy import Situation, decide
from mdlc_assets.monitoring.score_drift import score_drift
from mdlc_assets.monitoring.sketch import to_table
from mdlc_assets.resources.alerts import Alerts
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.reports import Reports
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.resources.sagemaker.score_drift import publish_score_drift

_SHOWN_DAYS = 28
_RECENT_DAYS = 3
_THREADS = 4


def monitoring_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Stage 7 of a lifecycle."""
    name, monitors = lifecycle.name, lifecycle.monitoring
    delay, labelled = lifecycle.labels.delay_days, bool(lifecycle.labels.column)
    known = [dg.AssetDep(asset_key(lifecycle, "closed_loop_report"), partition_mapping=days_before(delay, delay))]
    real_time = lifecycle.deployment.real_time
    drift_is_watched = real_time is not None and real_time.alarms.score_drift is not None

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "drift_profile"),
        deps=[asset_key(lifecycle, "features"), asset_key(lifecycle, "validated")],
        description="A sketch of each input of the day, at most 512 weighted points: what later days are compared "
        "with, without reading the rows again.",
    )
    @read_once
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
    @read_once
    def open_loop_report(
        context: dg.AssetExecutionContext, lake: Lake, registry: Registry, sagemaker: SageMaker
    ) -> None:
        record = Record(lifecycle, lake)
        documents = lake.documents(name, "open_loop_report")
        expectation = Expectation(record, registry)
        for day in days_in_run(context):
            version = _version_on(record, day)
            before = record.documents("open_loop_report", day - timedelta(days=1), monitors.open_loop.reference_days)
            today = {**record.inputs(day), **record.outputs(day)}
            reference = record.reference(day, version, before)
            document = watch(monitors.open_loop, day, today, reference, before, outputs=OUTPUTS)
            document |= {
                "model_version": version,
                "decisions": record.decision_shares(day),
                "estimated": expectation.of_day(day, version),
            }
            documents.write_document(day, document)
            shown: dict[str, Any] = {"alarm": document["alarm"], "reasons": "; ".join(document["reasons"])}
            if day == days_in_run(context)[-1]:
                recent = record.documents("open_loop_report", day, _SHOWN_DAYS, having="since")
                shown["drift"] = dg.MetadataValue.md(plots.as_markdown(distances_plot(recent, day)))
                if drift_is_watched:
                    scores_before = record.scores_of_the_version_before(version, before)
                    drift = score_drift(today["score"], scores_before) if scores_before else None
                    shown |= _tell_alarm(context, sagemaker, name, drift)
            context.add_asset_metadata(shown, partition_key=day.isoformat())

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "closed_loop_report", kinds={"json"}),
        deps=[asset_key(lifecycle, upstream) for upstream in ("batch_predictions", "labels")],
        description="How right the model was on the day, made when its labels have come: metrics of the day and of "
        "the last days together with intervals, calibration, declared slices, beside what the gate promised; and how "
        "late the labels were.",
    )
    @read_once
    def closed_loop_report(context: dg.AssetExecutionContext, lake: Lake) -> None:
        record = Record(lifecycle, lake)
        slices = monitors.closed_loop.slices
        for day in days_in_run(context):
            version = _version_on(record, day)

            def scored_days(count: int, day: date = day, version: int = version) -> list[date]:
                window = [day - timedelta(days=back) for back in range(count)]
                return record.unseen(version, record.days_scored_by(version, window))

            try:
                days = scored_days(monitors.closed_loop.calibration_days)
                longer = record.scored_and_labelled(sorted({*days, day}))
                when = longer[lifecycle.dataset.time].dt.date()
                recent_days = scored_days(monitors.retrain.for_days)
                recent = longer.filter(when.is_in(recent_days))
                if slices:
                    features = record.features(recent_days, lifecycle.features.names())
                    recent = with_slices(lifecycle, recent, features)
            except DayAbsentError as error:
                raise dg.Failure(description=str(error), allow_retries=False) from None
            document = realised(
                lifecycle,
                longer.filter(when == day),
                recent,
                longer.filter(when.is_in(days)),
                record.promised(version),
                record.predicted(day),
                learnt=record.has_learnt(version, day),
            )
            lake.documents(name, "closed_loop_report").write_document(day, document)
            shown: dict[str, Any] = {"model version": version}
            shown |= {metric: value for metric, value in document["metrics"].items() if value is not None}
            if day == days_in_run(context)[-1]:
                known = record.documents("closed_loop_report", day, _SHOWN_DAYS, having="lateness")
                shown["realised"] = dg.MetadataValue.md(plots.as_markdown(realised_plot(lifecycle, known, {})))
            context.add_asset_metadata(shown, partition_key=day.isoformat())

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "retrain_decision", kinds={"json"}),
        deps=[
            asset_key(lifecycle, "quality_report"),
            asset_key(lifecycle, "open_loop_report"),
            *(known if labelled else []),
            *_online_days(lifecycle),
        ],
        description="What the declared policy says as of the day: none, wait, retrain, recalibrate or stop, with its "
        "reasons. The sensor only acts on it.",
    )
    @read_once
    def retrain_decision(context: dg.AssetExecutionContext, lake: Lake) -> None:
        record = Record(lifecycle, lake)
        for day in days_in_run(context):
            version = _version_on(record, day)
            yesterday = record.before("retrain_decision", day)
            was_open = bool(yesterday and yesterday.get("open") and yesterday.get("model_version") == version)
            of_online = bool(yesterday and yesterday.get("online"))
            online = OnlineRecord(record).days_of(version, day, was_open=was_open and of_online)
            verdict = decide(
                monitors,
                Situation(
                    today=day,
                    champion_trained=record.model(version)["trained"],
                    trainings=record.trainings(day),
                    stopped_days=record.stopped_days(day, _RECENT_DAYS),
                    labelled=record.labelled_days(version, day - timedelta(days=delay)),
                    estimated=record.estimated_days(version, day),
                    asked=record.asked(day),
                    was_open=was_open and not of_online,
                    label_delay_days=delay,
                    without_labels=not labelled,
                    online=online if monitors.online.retrain else None,
                ),
            )
            document = {**verdict.as_dict(), "model_version": version}
            lake.documents(name, "retrain_decision").write_document(day, document)
            context.add_asset_metadata(
                {"verdict": verdict.verdict, "reasons": "; ".join(verdict.reasons)}, partition_key=day.isoformat()
            )

    @dg.asset(
        **daily_asset(lifecycle, "monitoring", "daily_report", kinds={"html"}),
        deps=[
            asset_key(lifecycle, asset)
            for asset in ("decisions", "quality_report", "open_loop_report", "retrain_decision")
        ],
        description="One HTML page for the day: what changed, since when, how bad it is, who is called, what to do; "
        "and the front page over all lifecycles. Problems that are new, worse or over are told to their owners.",
    )
    @read_once
    def daily_report(context: dg.AssetExecutionContext, lake: Lake, reports: Reports, alerts: Alerts) -> None:
        record = Record(lifecycle, lake)
        for day in days_in_run(context):
            found = Figures(
                day=day,
                quality=record.quality(day, _SHOWN_DAYS),
                open_loop=record.documents("open_loop_report", day, _SHOWN_DAYS, having="since"),
                closed_loop=record.documents("closed_loop_report", day, _SHOWN_DAYS, having="lateness"),
                retrain=record.documents("retrain_decision", day, _SHOWN_DAYS),
                model=record.model_on(day),
                sketches=record.sketches_to_show(day),
                run_id=context.run_id,
                online_open=record.documents(OPEN, day, _SHOWN_DAYS),
                online_closed=record.documents(CLOSED, day, _SHOWN_DAYS),
            )
            found = without_earlier_verdicts(found)
            problems = problems_of(lifecycle, found)
            around = Surroundings(reports.dagster_url, reports.mlflow_url, reports.pages(name))
            page = render(lifecycle, found, problems, around)
            where = reports.put(name, day, page, summary(lifecycle, found, problems))
            reports.put_front(front_page(reports.summaries()))
            told = alerts.tell(name, day, *to_tell(lifecycle, problems, not_judged(found)))
            unsent = alerts.unsent(name)
            for text in unsent:
                context.log.warning("an alert was not sent, and is tried again with the next day: %s", text)
            context.add_asset_metadata(
                {
                    "open": dg.MetadataValue.url(reports.link(f"{name}/{day}.html")),
                    "page": dg.MetadataValue.path(where),
                    "problems": len(problems),
                    "told": told,
                    **({"not sent": unsent} if unsent else {}),
                },
                partition_key=day.isoformat(),
            )

    closed_loop = [closed_loop_report] if labelled else []
    own_inputs = [] if lifecycle.uses else [drift_profile]
    batch = dg.Definitions(
        assets=[*own_inputs, open_loop_report, *closed_loop, retrain_decision, daily_report],
        asset_checks=monitoring_checks(lifecycle),
    )
    if lifecycle.uses:
        return batch
    return dg.Definitions.merge(batch, online_monitoring_definitions(lifecycle))


def _online_days(lifecycle: LifecycleDeclaration) -> list[dg.AssetDep]:
    """Online reports that the policy acts on: yesterday's, since today's are made after the batch path has run."""
    if not lifecycle.monitoring.online.retrain:
        return []
    delay = lifecycle.labels.delay_days
    found = [dg.AssetDep(asset_key(lifecycle, OPEN), partition_mapping=days_before(1, 1))]
    if lifecycle.labels.column:
        found.append(dg.AssetDep(asset_key(lifecycle, CLOSED), partition_mapping=days_before(delay, delay)))
    return found


def _version_on(record: Record, day: date) -> int:
    try:
        return record.version_on(day)
    except DayAbsentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None


def _tell_alarm(
    context: dg.AssetExecutionContext, sagemaker: SageMaker, lifecycle: str, drift: float | None
) -> dict[str, Any]:
    """Send the scores' drift to where alarms of rollouts look; a monitor goes on where that is not to be had."""
    if drift is None:
        return {}
    try:
        publish_score_drift(sagemaker, lifecycle, drift)
    except ServiceError as error:
        context.log.warning("the drift of the scores was not published: %s", error)
    return {"score_drift": drift}
