"""The sensors of a lifecycle: each only asks for what pure logic, or an asset, has decided."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.deployment.approved import taken_back
from mdlc_assets.deployment.asking import address_of
from mdlc_assets.monitoring.record import Record
from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.resources.lake import Lake, LakeTable
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.workflows.arrivals import Arrivals, judged_too_early, overtaken, work_for, work_with_used_data
from mdlc_assets.workflows.settling import settled
from mdlc_assets.workflows.ticks import lasting_sensor

_LOOKED_AT_DAYS, _OVERTAKEN_DAYS = 3, 8


def lifecycle_sensors(
    lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]
) -> list[dg.SensorDefinition]:
    """New files (or new features of the lifecycle that is used), days that quality stopped, a retraining that a monitor
    asked for, and the deployment of what was approved."""
    arriving = _new_features(lifecycle, jobs) if lifecycle.uses else _new_files(lifecycle, jobs)
    sensors = [arriving, _stopped(lifecycle, jobs), _retrain(lifecycle, jobs)]
    if lifecycle.deployment.real_time is not None:
        sensors.append(_deploy(lifecycle, jobs))
    return sensors


def _new_files(
    lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]
) -> dg.SensorDefinition:
    present: set[str] = set()

    @lasting_sensor(
        name=f"{lifecycle.name}_new_files",
        jobs=[jobs[name] for name in ("batch_inference", "monitor", "rebuild", "history") if name in jobs],
        minimum_interval_seconds=30,
        description="A file landed or was replaced: runs its day, labels first since features need them, and makes "
        "the features again of later days that reach it. A day that failed because the run of the day before was "
        "killed and came behind it is run again, and labels that came before the scores are looked at again.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def new_files(context: dg.SensorEvaluationContext, lake: Lake, landing: LandingZone):  # type: ignore[no-untyped-def]
        known = _from_text(json.loads(context.cursor)["transactions"]) if context.cursor else {}
        feed = landing.feed(lifecycle.name, "transactions")
        transactions = settled(lifecycle, feed, datetime.now(UTC), known)
        labels = landing.feed(lifecycle.name, "labels").fingerprints()
        # Where no labels are delivered, they stand beside the events.
        delivered = (labels or transactions) if lifecycle.labels.column else {}
        landed = Arrivals(transactions, delivered, _attributes(lifecycle, landing))
        labelled = lake.table(lifecycle.name, "labels").days()
        if context.cursor is None:
            # Switched on for the first time: what a backfill has brought in already is not news.
            raw = lake.table(lifecycle.name, "raw").days()
            done = Arrivals(_only(landed.transactions, raw), _only(landed.labels, labelled), _up_to(landed, raw))
        else:
            seen = json.loads(context.cursor)
            done = Arrivals(*(_from_text(seen.get(part, {})) for part in ("transactions", "labels", "attributes")))
        work = work_for(lifecycle, landed, done, labelled)
        cursor = json.dumps(
            {
                "transactions": _to_text({**done.transactions, **_only(transactions, work.event_days)}),
                "labels": _to_text({**done.labels, **_only(landed.labels, work.label_days)}),
                "attributes": _to_text({**done.attributes, **_up_to(landed, [*done.transactions, *work.event_days])}),
            }
        )
        requests = [_request(jobs["monitor"], day, f"labels-{day}-{landed.labels[day]}") for day in work.label_days]
        requests += [
            _request(jobs["batch_inference"], day, f"events-{day}-{landed.transactions[day]}")
            for day in work.event_days
        ]
        requests += _overtaken(lifecycle, lake, jobs["batch_inference"], context, done.transactions, present)
        if lifecycle.labels.column:
            requests += _judged_too_early(lifecycle, lake, jobs["monitor"], context, done.labels, present)
        mark = hashlib.sha256(cursor.encode()).hexdigest()[:16]
        if work.rebuild:
            reason = f"the file of {work.event_days[0]} is new or was replaced"
            requests.append(_range_request(jobs["rebuild"], *work.rebuild, mark, reason))
        if work.renew:
            reason = f"attributes known before {work.renew[0]} are new or were replaced"
            requests.append(_range_request(jobs["history"], *work.renew, mark, reason))
        skipped = None if requests else "; ".join(work.waiting[:3]) or "No new file has arrived."
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=cursor)

    return new_files


def _new_features(
    lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]
) -> dg.SensorDefinition:
    @lasting_sensor(
        name=f"{lifecycle.name}_new_features",
        jobs=[jobs[name] for name in ("batch_inference", "monitor") if name in jobs],
        minimum_interval_seconds=30,
        description=f"{lifecycle.uses} has made the features of a day, or its labels have come: scores the day, or "
        "asks whether the model was right.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def new_features(context: dg.SensorEvaluationContext, lake: Lake):  # type: ignore[no-untyped-def]
        validated, features, labels, predicted = (
            lake.table(*lifecycle.place(table)) for table in ("validated", "features", "labels", "batch_predictions")
        )
        events, labelled = validated.marks(), labels.marks() if lifecycle.labels.column else {}
        if context.cursor is None:
            # Switched on for the first time: what is there already is not news.
            seen = Arrivals(_only(events, features.days()), labelled)
        else:
            seen = Arrivals(*(_from_text(json.loads(context.cursor)[part]) for part in ("transactions", "labels")))
        work = work_with_used_data(
            lifecycle,
            Arrivals(events, labelled),
            seen,
            scored=predicted.days(),
            made=lambda day: features.has(day) and features.written(day) >= validated.written(day),
        )
        cursor = json.dumps(
            {
                "transactions": _to_text({**seen.transactions, **_only(events, work.event_days)}),
                "labels": _to_text({**seen.labels, **_only(labelled, work.label_days)}),
            }
        )
        requests = [
            _request(jobs["batch_inference"], day, f"features-{day}-{_digits(events[day])}") for day in work.event_days
        ]
        requests += [
            _request(jobs["monitor"], day, f"labels-{day}-{_digits(labelled[day])}") for day in work.label_days
        ]
        skipped = None if requests else "; ".join(work.waiting[:3]) or f"{lifecycle.uses} has made nothing new."
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=cursor)

    return new_features


def _stopped(lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    @lasting_sensor(
        name=f"{lifecycle.name}_stopped_days",
        job=jobs["report"],
        minimum_interval_seconds=60,
        description="Quality stopped a day, so that nothing after it ran: has its page made and its owner told.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def stopped_days(context: dg.SensorEvaluationContext, lake: Lake):  # type: ignore[no-untyped-def]
        # A day that its quarantine stopped has metrics and no report.
        reported, measured = (
            lake.documents(*lifecycle.place("quality_report")),
            lake.table(*lifecycle.place("daily_metrics")),
        )
        days = sorted({*reported.days(), *measured.days()})[-_LOOKED_AT_DAYS:]
        reports = Record(lifecycle, lake).quality(days[-1], (days[-1] - days[0]).days + 1) if days else {}
        requests = []
        for day, report in reports.items():
            if not report["passed"]:
                # The same file stopped for the same reasons is told once.
                text = json.dumps(report, sort_keys=True).encode()
                key = f"stopped-{day}-{hashlib.sha256(text).hexdigest()[:12]}"
                requests.append(dg.RunRequest(run_key=key, partition_key=day.isoformat()))
        return requests or dg.SkipReason(f"Quality stopped none of the last {_LOOKED_AT_DAYS} days.")

    return stopped_days


def _retrain(lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    @lasting_sensor(
        name=f"{lifecycle.name}_retrain_when_asked",
        job=jobs["retrain"],
        minimum_interval_seconds=60,
        description="Acts on the newest retrain_decision; the policy there holds the cool-down.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def retrain_when_asked(context: dg.SensorEvaluationContext, lake: Lake):  # type: ignore[no-untyped-def]
        decisions = lake.documents(lifecycle.name, "retrain_decision")
        days = decisions.days()
        if not days:
            return dg.SkipReason("No retrain_decision has been made yet.")
        day = days[-1]
        decision = decisions.read_document(day)
        reasons = "; ".join(decision["reasons"])
        if decision["verdict"] != "retrain":
            return dg.SkipReason(f"{day}: {decision['verdict']}. {reasons}")
        if day in lake.documents(lifecycle.name, "evaluation").days():
            return dg.SkipReason(f"A model as of {day} was trained already.")
        return dg.RunRequest(
            run_key=f"retrain-{day}",
            partition_key=day.isoformat(),
            tags={"mdlc/reason": reasons[:250]},
        )

    return retrain_when_asked


def _deploy(lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    @lasting_sensor(
        name=f"{lifecycle.name}_deploy_approved",
        job=jobs["real_time_inference"],
        minimum_interval_seconds=60,
        description="The champion is not the version that the endpoint serves: changes the endpoint over.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def deploy_approved(  # type: ignore[no-untyped-def]
        context: dg.SensorEvaluationContext, registry: Registry, endpoints: Endpoints, sagemaker: SageMaker
    ):
        champion = registry.champion(lifecycle.name)
        if champion is None:
            return dg.SkipReason("No version has been approved yet.")
        declared = lifecycle.deployment.real_time
        if sagemaker.form == "local" and not (declared and declared.multi_model):
            serving = endpoints.status(lifecycle.name).version
        else:
            serving = address_of(sagemaker, lifecycle).version
        if serving == champion.version:
            return dg.SkipReason(f"The endpoint serves the champion, version {champion.version}.")
        # A failed deployment is tried again, but not more than once an hour; another approval at once.
        # What was rolled back by an alarm waits for a person.
        if reason := taken_back(registry, lifecycle.name, champion.version):
            return dg.SkipReason(f"{reason}. Approve it again, or `mdlc rollback`.")
        approvals = sum(entry["action"] in ("approve", "rollback") for entry in registry.audit(lifecycle.name))
        hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
        return dg.RunRequest(run_key=f"deploy-{champion.version}-approval-{approvals}-{hour}")

    return deploy_approved


def _request(job: UnresolvedAssetJobDefinition, day: date, run_key: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=run_key, job_name=job.name, partition_key=day.isoformat())


def _range_request(job: UnresolvedAssetJobDefinition, first: date, last: date, mark: str, reason: str) -> dg.RunRequest:
    """One run over a range of days; `mark` tells it from another run over the same ones."""
    return dg.RunRequest(
        run_key=f"{job.name}-{first}-{last}-{mark}",
        job_name=job.name,
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
            "mdlc/reason": reason,
        },
    )


def _overtaken(
    lifecycle: LifecycleDeclaration,
    lake: Lake,
    job: UnresolvedAssetJobDefinition,
    context: dg.SensorEvaluationContext,
    asked: Iterable[date],
    present: set[str],
) -> list[dg.RunRequest]:
    """Of the last days asked for those again that failed since the day before them was not done yet."""
    recent = sorted(asked)[-_OVERTAKEN_DAYS:]
    validated, features = (lake.table(lifecycle.name, table) for table in ("validated", "features"))
    made = [day for day in recent if _there(features, day, present)]
    if len(made) == len(recent):
        return []
    written = {day: validated.written(day) for day in recent if day not in made and validated.has(day)}
    late = overtaken(recent, written, {day: features.written(day) for day in made})
    return _again(job, context, "again", late)


def _judged_too_early(
    lifecycle: LifecycleDeclaration,
    lake: Lake,
    job: UnresolvedAssetJobDefinition,
    context: dg.SensorEvaluationContext,
    asked: Iterable[date],
    present: set[str],
) -> list[dg.RunRequest]:
    """Of the last days whose labels have come those again that failed since they were not scored yet."""
    judged = lake.documents(lifecycle.name, "closed_loop_report")
    labels, scores = (lake.table(lifecycle.name, table) for table in ("labels", "batch_predictions"))
    recent = sorted(asked)[-_OVERTAKEN_DAYS:]
    left = [day for day in recent if not _there(judged, day, present) and scores.has(day)]
    written = {day: labels.written(day) for day in left if labels.has(day)}
    late = judged_too_early(left, written, {day: scores.written(day) for day in left})
    return _again(job, context, "labels-again", late)


def _again(
    job: UnresolvedAssetJobDefinition, context: dg.SensorEvaluationContext, kind: str, late: Mapping[date, float]
) -> list[dg.RunRequest]:
    """Of the days that can be done since a moment those whose last run failed, once for each such moment."""
    return [
        _request(job, day, f"{kind}-{day}-{_digits(str(since))}")
        for day, since in late.items()
        if _failed_last(context, job.name, day)
    ]


def _there(table: LakeTable, day: date, present: set[str]) -> bool:
    """Whether a table has a day. What it has had once is not asked again: on S3 each question is paid for."""
    name = table.name_of(day)
    if name not in present and table.has(day):
        present.add(name)
    return name in present


def _failed_last(context: dg.SensorEvaluationContext, job: str, day: date) -> bool:
    # Dagster opens the instance of a tick when it is first asked for, which takes longer than all the rest of it.
    runs = context.instance.get_runs(dg.RunsFilter(job_name=job, tags={"dagster/partition": day.isoformat()}), limit=1)
    return bool(runs) and runs[0].status is dg.DagsterRunStatus.FAILURE


def _attributes(lifecycle: LifecycleDeclaration, landing: LandingZone) -> dict[date, str]:
    """A fingerprint for each day with files of changes, of whichever feed."""
    feeds = [landing.feed(lifecycle.name, feed).fingerprints() for feed in lifecycle.dataset.attributes]
    days = {day for feed in feeds for day in feed}
    return {day: "-".join(feed.get(day, "none") for feed in feeds) for day in days}


def _up_to(landed: Arrivals, days: Iterable[date]) -> dict[date, str]:
    """The attributes that a run of the newest of some days, and all days before it, takes in."""
    newest = max(days, default=date.min)
    return {day: fingerprint for day, fingerprint in landed.attributes.items() if day <= newest}


def _only(fingerprints: Mapping[date, str], days: Iterable[date]) -> dict[date, str]:
    return {day: fingerprints[day] for day in days if day in fingerprints}


def _digits(mark: str) -> str:
    return hashlib.sha256(mark.encode()).hexdigest()[:16]


def _to_text(fingerprints: Mapping[date, str]) -> dict[str, str]:
    return {day.isoformat(): value for day, value in sorted(fingerprints.items())}


def _from_text(fingerprints: Mapping[str, str]) -> dict[date, str]:
    return {date.fromisoformat(day): value for day, value in fingerprints.items()}
