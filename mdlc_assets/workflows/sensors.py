"""The sensors of a lifecycle: each only asks for what pure logic, or an asset, has decided."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.deployment.approved import taken_back
from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.rollout import served_version
from mdlc_assets.workflows.arrivals import Arrivals, work_for


def lifecycle_sensors(
    lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]
) -> list[dg.SensorDefinition]:
    """New files, a retraining that a monitor asked for, and the deployment of what was approved."""
    sensors = [_new_files(lifecycle, jobs), _retrain(lifecycle, jobs)]
    if lifecycle.deployment.real_time is not None:
        sensors.append(_deploy(lifecycle, jobs))
    return sensors


def _new_files(
    lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]
) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{lifecycle.name}_new_files",
        jobs=[jobs["batch_inference"], jobs["monitor"], jobs["rebuild"]],
        minimum_interval_seconds=30,
        description="A file landed or was replaced: runs its day, labels first since features need them, and makes "
        "the features again of later days that reach it.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def new_files(context: dg.SensorEvaluationContext, lake: Lake, landing: LandingZone):  # type: ignore[no-untyped-def]
        transactions = landing.feed(lifecycle.name, "transactions").fingerprints()
        labels = landing.feed(lifecycle.name, "labels").fingerprints()
        # Where no labels are delivered, they stand beside the events.
        landed = Arrivals(transactions, labels or transactions)
        labelled = lake.table(lifecycle.name, "labels").days()
        if context.cursor is None:
            # Switched on for the first time: what a backfill has brought in already is not news.
            raw = lake.table(lifecycle.name, "raw").days()
            done = Arrivals(_only(landed.transactions, raw), _only(landed.labels, labelled))
        else:
            seen = json.loads(context.cursor)
            done = Arrivals(_from_text(seen["transactions"]), _from_text(seen["labels"]))
        work = work_for(lifecycle, landed, done, labelled)
        cursor = json.dumps(
            {
                "transactions": _to_text({**done.transactions, **_only(transactions, work.event_days)}),
                "labels": _to_text({**done.labels, **_only(landed.labels, work.label_days)}),
            }
        )
        requests = [_request(jobs["monitor"], day, f"labels-{day}-{landed.labels[day]}") for day in work.label_days]
        requests += [
            _request(jobs["batch_inference"], day, f"events-{day}-{landed.transactions[day]}")
            for day in work.event_days
        ]
        if work.rebuild:
            first, last = work.rebuild
            changed = work.event_days[0]
            requests.append(
                dg.RunRequest(
                    run_key=f"rebuild-{first}-{last}-{changed}-{landed.transactions[changed]}",
                    job_name=jobs["rebuild"].name,
                    tags={
                        "dagster/asset_partition_range_start": first.isoformat(),
                        "dagster/asset_partition_range_end": last.isoformat(),
                        "mdlc/reason": f"the file of {changed} is new or was replaced",
                    },
                )
            )
        skipped = None if requests else "; ".join(work.waiting[:3]) or "No new file has arrived."
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=cursor)

    return new_files


def _retrain(lifecycle: LifecycleDeclaration, jobs: Mapping[str, UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    @dg.sensor(
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
    @dg.sensor(
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
        local = sagemaker.form == "local"
        serving = endpoints.status(lifecycle.name).version if local else served_version(sagemaker, lifecycle.name)
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


def _only(fingerprints: Mapping[date, str], days: Iterable[date]) -> dict[date, str]:
    return {day: fingerprints[day] for day in days if day in fingerprints}


def _to_text(fingerprints: Mapping[date, str]) -> dict[str, str]:
    return {day.isoformat(): value for day, value in sorted(fingerprints.items())}


def _from_text(fingerprints: Mapping[str, str]) -> dict[date, str]:
    return {date.fromisoformat(day): value for day, value in fingerprints.items()}
