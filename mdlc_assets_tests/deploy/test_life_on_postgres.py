"""The life cycle on one server's settings: Postgres for all state; code location, daemon and queue as processes.

Two lifecycles on the same files run beside each other, from history to monitoring. Workers and a whole code location
are killed; what is left, and the event log, are compared with a serial run of one of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import httpx
import polars as pl
import pytest
import yaml
from dagster._core.test_utils import environ

from mdlc_assets.demo.loop import Loop, open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.registry_client import open_client
from mdlc_assets.testing import sample_labels, sample_rows
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.deploy.database import PASSWORD, connection, free_port

pytestmark = pytest.mark.slow
_DEPLOY = Path(__file__).parents[2] / "deploy"
_DAYS, _SCORED, _ROWS = 7, 2, 400
_KILLED, _OTHER = "first_fraud", "second_fraud"
_PATIENCE = 600
"""Seconds for one thing to happen, on a machine that has other work to do."""
_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_DATA = ("raw", "validated", "quarantine", "daily_metrics", "feature_state", "features", "labels")
_SCORES = ("batch_predictions", "decisions", "open_loop_report", "retrain_decision", "closed_loop_report")
_AT_OWN_TIME = ("scored_at", "decided_at")


@dataclass
class _Server:
    """One server's processes, and its instance as the tests look at it."""

    home: Home
    instance: dg.DagsterInstance
    web: str
    said: Path
    tracking: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    start_runs: Callable[[], None] = lambda: None
    """Code location and daemon are the first processes; when they were killed, this starts others."""

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = {"query": query, "variables": dict(variables or {})}
        return httpx.post(f"{self.web}/graphql", json=body, trust_env=False, timeout=120).json()["data"]

    def launch(
        self, lifecycle: str, workflow: str, first: date | None = None, last: date | None = None, **config: Any
    ) -> str:
        """Ask for a run as the UI does; the daemon takes it from the queue."""
        tags = {}
        if first and last:
            tags = {"dagster/asset_partition_range_start": f"{first}", "dagster/asset_partition_range_end": f"{last}"}
        elif first:
            tags = {"dagster/partition": f"{first}"}
        params = {
            "selector": {
                "repositoryLocationName": "mdlc_assets",
                "repositoryName": "__repository__",
                "jobName": f"{lifecycle}_{workflow}",
            },
            "runConfigData": {"ops": config},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        said = self.ask(_LAUNCH, {"params": params})["launchRun"]
        assert said["__typename"] == "LaunchRunSuccess", said
        return said["run"]["runId"]

    def until(self, what: Any) -> Any:
        """Wait for something to be true, as long as all processes live."""
        end = time.monotonic() + _PATIENCE
        while not (found := what()):
            assert time.monotonic() < end, self.said.read_text()[-3000:]
            assert all(process.poll() is None for process in self.processes), self.said.read_text()[-3000:]
            time.sleep(0.2)
        return found

    def succeeded(self, *runs: str) -> None:
        def over() -> bool:
            records = self.instance.get_runs(dg.RunsFilter(run_ids=list(runs)))
            broken = [f"{run.job_name} {run.run_id}" for run in records if run.status is dg.DagsterRunStatus.FAILURE]
            assert not broken, f"{broken}: {self._errors(broken[0].split()[1])}"
            return len(records) == len(runs) and all(run.is_success for run in records)

        self.until(over)

    def _errors(self, run: str) -> str:
        logs = self.instance.all_logs(run)
        return "\n".join(str(log.dagster_event.event_specific_data)[:1500] for log in logs if _is_failure(log))


def _is_failure(log: dg.EventLogEntry) -> bool:
    return log.dagster_event is not None and log.dagster_event.is_step_failure


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home, list[date]]]:
    """A serial home and the server's, with the same files landed for both lifecycles, which are declared alike."""
    root = tmp_path_factory.mktemp("life")
    declared = yaml.safe_load((SHIPPED / "payments_fraud" / "defs.yaml").read_text().replace("delay: 7d", "delay: 2d"))
    model = declared["attributes"]["model"]
    model["hyperparameters"] |= {"n_estimators": 8, "max_depth": 3}
    model["windows"] = {"train_days": 3, "gap_days": 0, "test_days": 1}
    model["gate"]["approval"] = "person"
    for name in (_KILLED, _OTHER):
        declared["attributes"]["name"] = name
        (root / "lifecycles" / name).mkdir(parents=True)
        (root / "lifecycles" / name / "defs.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    serial, served = Home(root / "serial"), Home(root / "served")
    lifecycle = load_lifecycle(root / "lifecycles" / _KILLED / "defs.yaml").declaration
    days = [lifecycle.dataset.start + timedelta(days=i) for i in range(_DAYS + _SCORED)]
    for feed in ("transactions", "labels"):
        (serial.landing / _KILLED / feed).mkdir(parents=True)
    for day in days:
        events = sample_rows(lifecycle, day, _ROWS)
        events.write_parquet(serial.landing / _KILLED / "transactions" / f"{day}.parquet")
        labels = sample_labels(lifecycle, events, seed=day.toordinal())
        labels.write_parquet(serial.landing / _KILLED / "labels" / f"{day}.parquet")
    for name in (_KILLED, _OTHER):
        shutil.copytree(serial.landing / _KILLED, served.landing / name)
    with environ({"MDLC_LIFECYCLES": str(root / "lifecycles"), "MDLC_HOME": str(served.root)}):
        yield serial, served, days


@pytest.fixture(scope="module")
def server(homes: tuple[Home, Home, list[date]], databases: int) -> Iterator[_Server]:
    _, home, _ = homes
    settings = yaml.safe_load((_DEPLOY / "compose" / "dagster.yaml").read_text())
    settings["storage"]["postgres"]["postgres_db"]["port"] = databases
    settings["compute_logs"]["config"]["base_dir"] = str(home.root / "logs")
    settings["local_artifact_storage"]["config"]["base_dir"] = str(home.root / "storage")
    # The daemon asks a minute later, and for queued runs after 5 s; the test need not wait that long.
    settings["run_monitoring"]["poll_interval_seconds"] = 1
    settings["run_queue"]["dequeue_interval_seconds"] = 1
    settings["run_launcher"]["config"]["settle_seconds"] = 1
    folder, code, web = home.root / "server", free_port(), free_port()
    folder.mkdir(parents=True)
    tracking = _tracking(databases)
    open_client(tracking)  # its tables are made once, before runs come together
    workspace = yaml.safe_load((_DEPLOY / "workspace.yaml").read_text())
    workspace["load_from"][0]["grpc_server"]["port"] = code
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    (folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    given = {
        **{"DAGSTER_HOME": str(folder), "DB_HOST": "127.0.0.1", "DB_USER": "dagster", "DB_PASSWORD": PASSWORD},
        "MDLC_CODE_HOST": "127.0.0.1",
        **{"MDLC_LAKE": str(home.lake), "MDLC_LANDING": str(home.landing), "MDLC_PAGES": str(home.reports)},
        **{"MLFLOW_TRACKING_URI": tracking, "MDLC_ARTIFACTS": str(home.mlflow_artifacts)},
    }
    binaries, there = Path(sys.executable).parent, ["-w", str(folder / "workspace.yaml")]
    commands = [
        [str(binaries / "dagster"), "api", "grpc", "-m", "mdlc_assets.production", "-h", "127.0.0.1", "-p", f"{code}"],
        [str(binaries / "dagster-daemon"), "run", *there],
        [str(binaries / "dagster-webserver"), *there, "-h", "127.0.0.1", "-p", f"{web}"],
    ]
    with environ(given), contextlib.ExitStack() as stack, (home.root / "said").open("w") as said:
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder)))
        server = _Server(home, instance, f"http://127.0.0.1:{web}", home.root / "said", tracking)
        stack.callback(_end, server.processes)

        def start(number: int) -> None:
            server.processes.append(
                subprocess.Popen(commands[number], stdout=said, stderr=said, start_new_session=True)
            )

        def start_runs() -> None:
            start(0)
            server.until(lambda: _listens(code))
            start(1)

        server.start_runs = start_runs
        start_runs()
        start(2)
        server.until(lambda: _has_jobs(server))
        yield server


def _tracking(port: int) -> str:
    """The address of a database of its own: another test looks at what is in MLflow's."""
    import psycopg2

    with contextlib.closing(connection(port, "postgres", psycopg2)) as opened:
        opened.autocommit = True
        opened.cursor().execute("CREATE DATABASE life")
    return f"postgresql+psycopg2://dagster:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/life?sslmode=require"


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all to end, then kill what is left: the daemon may take minutes, and nothing is kept of this server."""
    for process in processes:
        os.killpg(process.pid, signal.SIGINT)
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _listens(port: int) -> bool:
    from dagster._grpc.client import DagsterGrpcClient

    with contextlib.suppress(Exception):
        return bool(DagsterGrpcClient(port=port, host="127.0.0.1").ping("x"))
    return False


def _has_jobs(server: _Server) -> bool:
    asked = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    with contextlib.suppress(httpx.HTTPError):
        if server.ask(asked)["repositoriesOrError"].get("nodes"):
            return True
        server.ask("mutation { reloadWorkspace { __typename } }")
    return False


@pytest.fixture(scope="module")
def serial(homes: tuple[Home, Home, list[date]]) -> Loop:
    """The first of both in this process, one run after the other."""
    home, served, _ = homes
    return open_loop(load_lifecycle(served.root.parent / "lifecycles" / _KILLED / "defs.yaml"), home)


def test_a_worker_is_killed_in_the_midst_of_a_history(
    homes: tuple[Home, Home, list[date]], server: _Server, serial: Loop
) -> None:
    _, home, days = homes
    first, last = days[0], days[_DAYS - 1]

    both = [server.launch(name, "labels", first, last) for name in (_KILLED, _OTHER)]
    histories = {name: server.launch(name, "history", first, last) for name in (_KILLED, _OTHER)}
    # In the midst of it: a day is written, the features are still to be done.
    worker = server.until(lambda: _worker(server.instance, histories[_KILLED]))
    server.until(lambda: list((home.lake / _KILLED / "validated").glob("date=*/part-0.parquet")))
    os.kill(worker, signal.SIGKILL)
    # The server goes on beside this process.
    ran = [serial.run("labels", first, last), serial.run("history", first, last)]
    assert all(one.success for one in ran), [one.error for one in ran]
    again = server.until(lambda: _retry(server.instance, histories[_KILLED]))
    server.succeeded(*both, histories[_OTHER], again)
    killed = server.instance.get_run_by_id(histories[_KILLED])
    assert killed is not None
    assert killed.status is dg.DagsterRunStatus.FAILURE
    assert {name.split("/")[0] for name in _written(homes[0], _KILLED)} >= set(_DATA)
    _agree(homes)


def test_code_location_and_daemon_are_killed_with_all_runs_in_the_midst_of_training(
    homes: tuple[Home, Home, list[date]], server: _Server, serial: Loop
) -> None:
    _, _, days = homes
    trained = [server.launch(name, "train", days[_DAYS - 1]) for name in (_KILLED, _OTHER)]
    workers = []
    for run in trained:
        # Held where it is, so that neither is over before both have begun.
        server.until(lambda run=run: _is(server.instance, run, dg.DagsterRunStatus.STARTED))
        workers.append(server.until(lambda run=run: _worker(server.instance, run)))
        os.kill(workers[-1], signal.SIGSTOP)
    killed, server.processes[:2] = server.processes[:2], []
    for process in killed:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    assert not [worker for worker in workers if _lives(worker)]
    server.start_runs()
    assert serial.run("train", days[_DAYS - 1]).success
    again = [server.until(lambda run=run: _retry(server.instance, run)) for run in trained]
    server.succeeded(*again)
    for run in trained:
        said = [log.message for log in server.instance.all_logs(run)]
        assert any("has no process of this run" in one and "as failed" in one for one in said), said[-3:]

    registry = Registry(tracking_uri=server.tracking, artifact_root=str(server.home.mlflow_artifacts))
    (expected,) = serial.resources["registry"].history(_KILLED)
    for name in (_KILLED, _OTHER):
        (version,) = registry.history(name)
        assert version["digest"] == expected["digest"], "the same model, once"


def test_a_worker_is_killed_between_scores_and_decisions(
    homes: tuple[Home, Home, list[date]], server: _Server, serial: Loop
) -> None:
    _, home, days = homes
    scored = days[_DAYS], days[-1]
    approval = {"version": 1, "reason": "a test", "approver": "ann@example.com", "override": True}

    def approved(name: str) -> dict[str, Any]:
        return {f"{name}__champion": {"config": approval}}

    # The queue runs one after the other of a lifecycle, in this order.
    approvals = [server.launch(name, "approve", **approved(name)) for name in (_KILLED, _OTHER)]
    batches = {name: server.launch(name, "batch_inference", *scored) for name in (_KILLED, _OTHER)}
    worker = server.until(lambda: _worker(server.instance, batches[_KILLED]))
    server.until(lambda: (home.lake / _KILLED / "batch_predictions" / f"date={scored[0]}").is_dir())
    os.kill(worker, signal.SIGKILL)
    ran = [serial.run("approve", config=approved(_KILLED)), serial.run("batch_inference", *scored)]
    again = server.until(lambda: _retry(server.instance, batches[_KILLED]))
    server.succeeded(*approvals, batches[_OTHER], again)
    # Only what was decided is judged, so the labels come after it.
    monitors = [server.launch(name, "monitor", *scored) for name in (_KILLED, _OTHER)]
    ran.append(serial.run("monitor", *scored))
    server.succeeded(*monitors)
    assert all(one.success for one in ran), [one.error for one in ran]

    assert {name.split("/")[0] for name in _written(homes[0], _KILLED)} >= set(_SCORES)
    _agree(homes)
    registry = Registry(tracking_uri=server.tracking, artifact_root=str(server.home.mlflow_artifacts))
    for name in (_KILLED, _OTHER):
        assert [(entry["action"], entry["version"]) for entry in registry.audit(name)] == [("approve", 1)], name


def test_each_partition_was_made_once_and_lifecycles_ran_beside_each_other(
    homes: tuple[Home, Home, list[date]], server: _Server, serial: Loop
) -> None:
    _, _, days = homes
    # Other tests use the same database: runs without our tag are theirs.
    records = [one for one in server.instance.get_run_records() if "mdlc/lifecycle" in one.dagster_run.tags]
    spans = [(one.dagster_run.tags["mdlc/lifecycle"], one.start_time or 0, one.end_time or 0) for one in records]
    beside = [(a, b) for a in spans for b in spans if a[0] < b[0] and a[1] < b[2] and b[1] < a[2]]
    assert beside, "runs of the two lifecycles ran beside each other"
    assert sum(one.dagster_run.status is dg.DagsterRunStatus.FAILURE for one in records) == 4, "those that were killed"
    expected = _made(serial.instance, [run.run_id for run in serial.instance.get_runs()])[_KILLED]
    assert set(expected.values()) == {1}
    scored = {f"{day}" for day in days[_DAYS:]}
    for table in ("batch_predictions", "decisions", "open_loop_report", "closed_loop_report"):
        assert {day for asset, day in expected if asset == table} == scored, table
    made = _made(server.instance, [one.dagster_run.run_id for one in records])
    for name in (_KILLED, _OTHER):
        assert made[name] == expected, (name, made[name] - expected, expected - made[name])


def _made(instance: dg.DagsterInstance, runs: Sequence[str]) -> dict[str, Counter[tuple[str, str | None]]]:
    """How often each partition of each asset was made, by lifecycle: in all runs, killed ones too, by the event log.

    What a step said that was killed in its midst does not count: it is made again as a whole.
    """
    made: dict[str, Counter[tuple[str, str | None]]] = {}
    for run in runs:
        logs = [log.get_dagster_event() for log in instance.all_logs(run) if log.is_dagster_event]
        whole = {event.step_key for event in logs if event.is_step_success}
        for event in logs:
            if event.is_step_materialization and event.asset_key and event.step_key in whole:
                lifecycle, asset = event.asset_key.path
                made.setdefault(lifecycle, Counter())[asset, event.partition] += 1
    return made


def _worker(instance: dg.DagsterInstance, run: str) -> int | None:
    for log in instance.all_logs(run, dg.DagsterEventType.ENGINE_EVENT):
        event = log.get_dagster_event()
        if "pid" in event.engine_event_data.metadata:
            return int(str(event.engine_event_data.metadata["pid"].value))
    return None


def _retry(instance: dg.DagsterInstance, run: str) -> str | None:
    found = instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run}))
    return found[0].run_id if found else None


def _is(instance: dg.DagsterInstance, run: str, status: dg.DagsterRunStatus) -> bool:
    found = instance.get_run_by_id(run)
    return found is not None and found.status is status


def _lives(process: int) -> bool:
    """Not gone, and not one that waits for its parent to notice."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def _agree(homes: tuple[Home, Home, list[date]]) -> None:
    serial, served, _ = homes
    expected = _written(serial, _KILLED)
    for name in (_KILLED, _OTHER):
        found = _written(served, name)
        assert sorted(found) == sorted(expected), name
        assert [one for one in found if found[one] != expected[one]] == [], name


def _written(home: Home, lifecycle: str) -> dict[str, str]:
    """The digest of what each file of a lifecycle's tables holds, by table and day.

    Left out: when it was scored or decided, and MLflow's own name for the run that trained.
    """
    folder = home.lake / lifecycle
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            pl.read_parquet(path).drop(_AT_OWN_TIME, strict=False).write_ipc(None).getvalue()
            if path.suffix == ".parquet"
            else path.read_bytes()
        ).hexdigest()
        for path in folder.glob("*/date=*/[!.]*")
        if path.parts[-3] != "candidate_model"
    }
