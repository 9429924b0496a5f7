"""When a run counts as gone: not while its code location is away, nor before the daemon can start a retry."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import serialize_value

from mdlc_assets.operations.run_launcher import WatchedRunLauncher


class _CodeLocation:
    """Answers as a code location's server does, or not at all."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.away = False

    def can_cancel_execution(self, request: CanCancelExecutionRequest, timeout: int) -> str:
        if self.away:
            raise DagsterUserCodeUnreachableError("gRPC Error code: UNAVAILABLE")
        return serialize_value(CanCancelExecutionResult(can_cancel=request.run_id in self.runs))


def test_a_run_is_gone_when_its_code_location_has_answered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, code = [1000.0], _CodeLocation()
    monkeypatch.setattr("mdlc_assets.operations.run_launcher.time.monotonic", lambda: now[0])
    launcher = WatchedRunLauncher(settle_seconds=90)
    monkeypatch.setattr(launcher, "_get_grpc_client_for_termination", lambda run_id: code)

    def status(after: float) -> WorkerStatus:
        now[0] += after
        return launcher.check_run_worker_health(run).status

    run = dg.DagsterRun(job_name="x")
    code.runs = {run.run_id}
    assert status(100) is WorkerStatus.RUNNING
    code.away = True
    assert status(1) is WorkerStatus.RUNNING, "it may be alive where nobody can ask"
    code.away, code.runs = False, set()
    assert status(89) is WorkerStatus.RUNNING, "the daemon has not loaded the code location again"
    assert status(2) is WorkerStatus.NOT_FOUND
    monkeypatch.setattr(launcher, "_get_grpc_client_for_termination", lambda run_id: None)
    assert status(0) is WorkerStatus.SUCCESS


def test_it_is_asked_and_can_be_set() -> None:
    with dg.instance_for_test(
        overrides={
            "run_launcher": {
                "module": "mdlc_assets.operations.run_launcher",
                "class": "WatchedRunLauncher",
                "config": {"settle_seconds": 5},
            }
        }
    ) as instance:
        assert instance.run_launcher.supports_check_run_worker_health
        assert isinstance(instance.run_launcher, WatchedRunLauncher)
        assert instance.run_launcher._settle == 5
