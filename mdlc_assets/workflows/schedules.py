"""The daily schedule: asks in the morning for what the sensor for new files has not brought in."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingZone


def daily_catch_up(lifecycle: LifecycleDeclaration, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Each morning at 09:00 UTC: run yesterday unless it was done already."""

    @dg.schedule(
        name=f"{lifecycle.name}_daily_catch_up",
        job=job,
        cron_schedule="0 9 * * *",
        execution_timezone="UTC",
        description="Runs yesterday if its file is there and nobody has run it; says so if it is not there.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def catch_up(context: dg.ScheduleEvaluationContext, lake: Lake, landing: LandingZone):  # type: ignore[no-untyped-def]
        yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
        end = lifecycle.dataset.end
        if end and yesterday > end:
            return dg.SkipReason(f"The dataset {lifecycle.name} ended on {end}.")
        if yesterday in lake.table(lifecycle.name, "decisions").days():
            return dg.SkipReason(f"{yesterday} was done already.")
        if yesterday not in landing.feed(lifecycle.name, "transactions").days():
            owner = lifecycle.owners.sourcing
            return dg.SkipReason(f"No file for {yesterday} has arrived; its owner is {owner}.")
        return dg.RunRequest(run_key=f"catch-up-{yesterday}", partition_key=yesterday.isoformat())

    return catch_up
