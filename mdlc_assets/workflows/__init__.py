"""The workflow templates of every lifecycle: jobs, the schedules, the sensors that close the loop."""

import dagster as dg

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.workflows.approvals import reject_job, rollback_job
from mdlc_assets.workflows.jobs import job_name, lifecycle_jobs
from mdlc_assets.workflows.schedules import daily_catch_up, online_daily, stream_watch
from mdlc_assets.workflows.sensors import lifecycle_sensors


def workflow_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """Jobs, schedules and sensors of one lifecycle; all can be switched in the Dagster UI."""
    jobs = lifecycle_jobs(lifecycle)
    by_person = [
        reject_job(lifecycle, job_name(lifecycle, "reject")),
        rollback_job(lifecycle, job_name(lifecycle, "rollback")),
    ]
    return dg.Definitions(
        jobs=[*jobs.values(), *by_person],
        schedules=[
            daily_catch_up(lifecycle, jobs["batch_inference"]),
            *([] if lifecycle.uses else online_daily(lifecycle, jobs["online_day"], jobs["online_fill"])),
            *([stream_watch(lifecycle, jobs["stream_lag"])] if "stream_lag" in jobs else []),
        ],
        sensors=lifecycle_sensors(lifecycle, jobs),
    )
