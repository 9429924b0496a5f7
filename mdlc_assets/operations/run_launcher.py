"""Runs as processes of the code location, as Dagster starts them, and watched: a run whose process is gone is found.

The code location's server sees the exit of a process it started. When the server goes too, as a container does that
is killed, nobody would: the run would count as started for good, and its lifecycle would wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun, DefaultRunLauncher, Field, Int
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import ConfigurableClassData, deserialize_value


class WatchedRunLauncher(DefaultRunLauncher):
    """For a code location whose runs end with it, as in a container. Run monitoring asks; a retry follows.

    A run counts as gone when the code location has answered for `settle_seconds`. The daemon loads a code location
    again after a minute, and gives a retry up for good that it cannot start at once.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, settle_seconds: int = 90) -> None:
        super().__init__(inst_data)
        self._settle, self._answers_since = settle_seconds, time.monotonic()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The settings in dagster.yaml."""
        return {"settle_seconds": Field(Int, is_required=False, default_value=90)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """The launcher of an instance."""
        return cls(inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Asked for runs that have started."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code location still has the run's process."""
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.SUCCESS, "it is over, or was not started here")
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=10)
        except DagsterUserCodeUnreachableError:
            # It may be alive on the other side: wait until the code location can say so.
            self._answers_since = time.monotonic()
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code location does not answer", transient=True)
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if time.monotonic() - self._answers_since < self._settle:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code location is new", transient=True)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code location has no process of this run")
