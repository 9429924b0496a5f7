"""Drives a lifecycle in this process as Dagster's daemon would: ticks its sensors, runs what they ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import build_definitions, embedded_resources
from mdlc_assets.home import Home, alone
from mdlc_assets.lifecycle import ModelLifecycle
from mdlc_assets.workflows.jobs import job_name

_SENSORS = ("new_files", "new_features", "stopped_days", "retrain_when_asked", "deploy_approved")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Ran:
    """A run that took place. `stopped_by` are the blocking checks that failed, `error` what went wrong."""

    workflow: str
    partition: str
    success: bool
    run_id: str
    stopped_by: list[tuple[str, str]]
    error: str


@dataclass
class Loop:
    """The jobs and sensors of one lifecycle on one Dagster instance."""

    lifecycle: LifecycleDeclaration
    definitions: dg.Definitions
    resources: Mapping[str, Any]
    instance: dg.DagsterInstance
    _cursors: dict[str, str | None] = field(default_factory=dict)
    _run_keys: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        self._repository = self.definitions.get_repository_def()

    def run(
        self,
        workflow: str,
        first: date | None = None,
        last: date | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Ran:
        """Run a workflow for no partition, a day, or a range of days in one run.

        `config` is op configuration by op name, as in Dagster's launchpad.
        """
        job = self._repository.get_job(job_name(self.lifecycle, workflow))
        tags, partition = {}, None
        if first and last and last != first:
            tags = {
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            }
        elif first:
            partition = first.isoformat()
        result = job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags=tags,
            run_config={**_QUIET, "ops": dict(config or {})},
            raise_on_error=False,
        )
        return _report(workflow, partition or (f"{first}...{last}" if first else ""), result)

    def tick(self) -> list[Ran]:
        """Tick each sensor once, in order, and run what it asks for."""
        ran = []
        for name in _SENSORS:
            full = f"{self.lifecycle.name}_{name}"
            if not self._repository.has_sensor_def(full):
                continue
            sensor = self._repository.get_sensor_def(full)
            with dg.build_sensor_context(
                instance=self.instance,
                cursor=self._cursors.get(full),
                repository_def=self._repository,
                resources=dict(self.resources),
            ) as context:
                tick = sensor.evaluate_tick(context)
            self._cursors[full] = tick.cursor
            for request in tick.run_requests or []:
                if request.run_key and request.run_key in self._run_keys:
                    continue
                self._run_keys.add(request.run_key or "")
                workflow = (request.job_name or sensor.job_name or "").removeprefix(f"{self.lifecycle.name}_")
                first = request.partition_key or request.tags.get("dagster/asset_partition_range_start")
                last = request.tags.get("dagster/asset_partition_range_end")
                days = [date.fromisoformat(day) if day else None for day in (first, last)]
                ran.append(self.run(workflow, days[0], days[1]))
        return ran


def open_loop(lifecycle: ModelLifecycle, home: Home) -> Loop:
    """The loop of a lifecycle on the local state that `mdlc dev` shows."""
    home.prepare()
    return Loop(
        lifecycle.declaration,
        build_definitions([lifecycle], home=home),
        embedded_resources(home),
        open_instance(home),
    )


def open_instance(home: Home) -> dg.DagsterInstance:
    """Dagster's state below a home that is prepared."""
    with alone(home.dagster / "tables"):
        instance = dg.DagsterInstance.from_config(str(home.dagster))
        # The log of events makes its tables when it is first asked.
        instance.event_log_storage.get_maximum_record_id()
    return instance


def _report(workflow: str, partition: str, result: dg.ExecuteInProcessResult) -> Ran:
    stopped = [
        (evaluation.check_name, evaluation.description or "")
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
    ]
    errors = []
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            told = failure.user_failure_data.description if failure.user_failure_data else None
            cause = failure.error.cause or failure.error if failure.error else None
            errors.append(f"{event.step_key}: {told or (cause.message.strip() if cause else 'failed')}")
    return Ran(workflow, partition, result.success, result.run_id, stopped, "\n".join(errors))
