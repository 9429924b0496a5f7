"""The schedules: each morning for what the sensor for new files has not brought in; real time; the stream."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import StoreAwayError
from mdlc_assets.features.online_consistency import not_comparable
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.online_store import OnlineStore

_LOOKED_AT_DAYS = 7


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
        if lifecycle.uses and yesterday not in lake.table(*lifecycle.place("features")).days():
            owner = lifecycle.owners.features
            return dg.SkipReason(f"{lifecycle.uses} has no features of {yesterday} yet; their owner is {owner}.")
        if not lifecycle.uses and yesterday not in landing.feed(lifecycle.name, "transactions").days():
            owner = lifecycle.owners.sourcing
            return dg.SkipReason(f"No file for {yesterday} has arrived; its owner is {owner}.")
        return dg.RunRequest(run_key=f"catch-up-{yesterday}", partition_key=yesterday.isoformat())

    return catch_up


def online_daily(
    lifecycle: LifecycleDeclaration, day_job: UnresolvedAssetJobDefinition, fill_job: UnresolvedAssetJobDefinition
) -> list[dg.ScheduleDefinition]:
    """At 10:00 UTC the newest day of `features` is compared with the online store, as the stream left it; at 10:30
    the store is brought up to the lake."""

    @dg.schedule(
        name=f"{lifecycle.name}_online_day",
        job=day_job,
        cron_schedule="0 10 * * *",
        execution_timezone="UTC",
        description="Looks at the newest day that is both in the features and in the online store, and at the newest "
        "that the decision service decided about.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    def online_day(  # type: ignore[no-untyped-def]
        context: dg.ScheduleEvaluationContext,
        lake: Lake,
        online_store: OnlineStore,
        captured_decisions: CapturedDecisions,
    ):
        days, reason = lake.table(lifecycle.name, "features").days(), "there are no features yet"
        decided = captured_decisions.days(lifecycle.name)
        # A day that is not over is no partition yet.
        today = context.scheduled_execution_time.date()
        chosen = set([day for day in decided if day < today][-1:])
        try:
            for day in reversed(days[-_LOOKED_AT_DAYS:]):
                if not (reason := not_comparable(lifecycle, online_store.store, day)):
                    chosen.add(day)
                    break
        except StoreAwayError as error:
            reason = str(error)
        # Dagster takes several requests of a tick only with keys; a day is looked at again on the next one.
        keys = {day: f"online-day-{day}-as-of-{today}" for day in sorted(chosen)}
        requests = [dg.RunRequest(run_key=key, partition_key=day.isoformat()) for day, key in keys.items()]
        return requests or dg.SkipReason(f"Nothing was decided, and nothing is compared: {reason}.")

    fill = dg.ScheduleDefinition(
        name=f"{lifecycle.name}_online_fill_daily",
        job=fill_job,
        cron_schedule="30 10 * * *",
        execution_timezone="UTC",
        description="Brings the online store up to the lake, with the labels that have come.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
    return [online_day, fill]


def stream_watch(lifecycle: LifecycleDeclaration, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Four times an hour: how late the stream is read. To be woken within minutes is for the alarm on its metric."""
    return dg.ScheduleDefinition(
        name=f"{lifecycle.name}_stream_lag",
        job=job,
        cron_schedule="*/15 * * * *",
        execution_timezone="UTC",
        description="Looks how long the oldest unread record of each shard has waited, and what could not be read.",
        tags={"mdlc/lifecycle": lifecycle.name},
    )
