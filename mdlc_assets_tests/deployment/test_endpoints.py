"""Local endpoints as real processes: changeovers under load, refusals, crashes at every place."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from mdlc_assets.resources.endpoint_models import stage_model
from mdlc_assets.resources.endpoint_state import (
    EndpointRequest,
    ProcessIdentity,
    Serving,
    read_state,
    write_request,
    write_state,
)
from mdlc_assets.resources.endpoints import DeploymentRefusedError, EndpointError, Endpoints
from mdlc_assets_tests.deployment.models import FEATURES, corrupt, save_model

NAME = "payments"
ROW = {"instances": [dict.fromkeys(FEATURES, 0.5)]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    root = tmp_path_factory.mktemp("models")
    folders = {version: save_model(root / str(version), seed=version) for version in (1, 2, 3)}
    folders[4] = corrupt(save_model(root / "4"))
    return folders


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    endpoints = Endpoints(root=str(tmp_path / "endpoints"))
    yield endpoints
    endpoints.stop(NAME)


def _eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def _version_of(url: str) -> int:
    answer = httpx.post(f"{url}/invocations", json=ROW)
    answer.raise_for_status()
    return answer.json()["model_version"]


def test_changeovers_and_a_refusal_under_load_lose_no_request(endpoints: Endpoints, models: dict[int, Path]) -> None:
    url = endpoints.deploy(NAME, models[1], 1).url
    answered: list[tuple[int, int]] = []

    async def call_at(rate: float, keep_alive: bool, done: asyncio.Event) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        began, count = time.monotonic(), 0
        async with httpx.AsyncClient(limits=limits, timeout=10) as client, asyncio.TaskGroup() as calls:

            async def call() -> None:
                answer = await client.post(f"{url}/invocations", json=ROW)
                answered.append((answer.status_code, answer.json().get("model_version")))

            while not done.is_set():
                calls.create_task(call())
                count += 1
                await asyncio.sleep(max(0.0, began + count / rate - time.monotonic()))

    async def changes() -> list[int]:
        seen = []
        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(call_at(50, True, done))
            group.create_task(call_at(50, False, done))
            for version in (2, 4, 3):
                try:
                    await asyncio.to_thread(endpoints.deploy, NAME, models[version], version)
                except DeploymentRefusedError as error:
                    assert "version 4 was not deployed: the model cannot be loaded" in str(error)
                    assert "Version 2 still serves" in str(error)
                seen.append(endpoints.status(NAME).version)
            await asyncio.sleep(0.5)
            done.set()
        return seen

    assert asyncio.run(changes()) == [2, 2, 3]
    assert len(answered) > 100
    assert {status for status, _ in answered} == {200}
    assert {version for _, version in answered} == {1, 2, 3}
    assert answered[-1][1] == 3


def test_requests_and_connections_under_way_outlive_the_changeover(
    endpoints: Endpoints, models: dict[int, Path]
) -> None:
    url = endpoints.deploy(NAME, models[1], 1).url
    body = json.dumps(ROW).encode()
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address) as slow, httpx.Client() as idle:
        slow.sendall(request[:-10])
        assert idle.post(f"{url}/invocations", json=ROW).json()["model_version"] == 1
        endpoints.deploy(NAME, models[2], 2)
        # The slow caller's second half comes when the version that took the first one is on its way out.
        slow.sendall(request[-10:])
        answer = slow.makefile("rb").read()  # ends because the server closes the connection
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"model_version": 1' in answer
        last = idle.post(f"{url}/invocations", json=ROW)
        assert (last.json()["model_version"], last.headers["connection"]) == (1, "close")
        assert idle.post(f"{url}/invocations", json=ROW).json()["model_version"] == 2


def test_deploying_again_changes_nothing_and_stopping_keeps_the_address(
    endpoints: Endpoints, models: dict[int, Path]
) -> None:
    first = endpoints.deploy(NAME, models[1], 1)
    again = endpoints.deploy(NAME, models[1], 1)
    assert (first.changed, again.changed) == (True, False)
    assert (again.url, again.pid, again.version, again.previous) == (first.url, first.pid, 1, None)
    endpoints.stop(NAME)
    endpoints.stop(NAME)
    status = endpoints.status(NAME)
    assert (status.condition, status.version, status.previous, status.workers) == ("stopped", None, 1, 0)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{first.url}/ping")
    assert endpoints.deploy(NAME, models[1], 1).url == first.url


def test_a_dead_worker_is_replaced_and_a_dead_supervisor_at_the_next_deployment(
    endpoints: Endpoints, models: dict[int, Path]
) -> None:
    deployed = endpoints.deploy(NAME, models[1], 1)
    os.kill(deployed.pid, signal.SIGKILL)
    # The connection waits in the supervisor's queue until the new worker takes it.
    assert httpx.post(f"{deployed.url}/invocations", json=ROW, timeout=20).json()["model_version"] == 1
    assert _eventually(lambda: endpoints.status(NAME).condition == "serving")
    assert endpoints.status(NAME).pid != deployed.pid

    folder = Path(endpoints.root) / NAME
    orphan = read_state(folder).workers[0]
    read_state(folder).supervisor.signal(signal.SIGKILL)
    assert _eventually(lambda: endpoints.status(NAME).condition == "unsupervised")
    assert _version_of(deployed.url) == 1
    mended = endpoints.deploy(NAME, models[1], 1)
    assert (mended.url, mended.changed) == (deployed.url, True)
    assert endpoints.status(NAME).condition == "serving"
    assert _eventually(lambda: not orphan.alive())
    assert _version_of(deployed.url) == 1


def test_killed_in_the_midst_of_a_deployment_the_next_one_is_whole(
    endpoints: Endpoints, models: dict[int, Path]
) -> None:
    deployed = endpoints.deploy(NAME, models[1], 1)
    folder = Path(endpoints.root) / NAME
    before = read_state(folder)
    # The run asked for version 2 and was killed; the supervisor is killed while version 2 proves itself.
    staged = stage_model(models[2], folder / "models", 2)
    write_request(folder, EndpointRequest("killed", Serving(2, str(staged)), 30))
    before.supervisor.signal(signal.SIGHUP)
    # Somewhere between the request and the changeover, as fast or slow as the machine is.
    time.sleep(0.5)
    before.supervisor.signal(signal.SIGKILL)
    assert _version_of(deployed.url) in {1, 2}
    final = endpoints.deploy(NAME, models[3], 3)
    assert (final.url, final.version) == (deployed.url, 3)
    assert _eventually(lambda: not before.workers[0].alive())
    assert {_version_of(deployed.url) for _ in range(10)} == {3}
    state = read_state(folder)
    assert _eventually(lambda: not any(other.alive() for other in read_state(folder).others))
    assert sorted(path.name[:2] for path in (folder / "models").iterdir()) in (["1-", "3-"], ["2-", "3-"])
    assert state.serving.version == 3


def test_a_first_version_that_is_corrupt_leaves_nothing_serving(endpoints: Endpoints, models: dict[int, Path]) -> None:
    with pytest.raises(DeploymentRefusedError, match="Nothing serves"):
        endpoints.deploy(NAME, models[4], 4)
    assert endpoints.status(NAME).workers == 0


def test_a_version_that_is_not_healthy_in_time_is_refused(endpoints: Endpoints, models: dict[int, Path]) -> None:
    with pytest.raises(DeploymentRefusedError, match=r"health check within 0\.2 s"):
        endpoints.deploy(NAME, models[1], 1, health_seconds=0.2)


def test_two_workers_share_the_port(endpoints: Endpoints, models: dict[int, Path]) -> None:
    url = endpoints.deploy(NAME, models[1], 1, workers=2).url
    status = endpoints.status(NAME)
    assert (status.condition, status.workers) == ("serving", 2)
    assert _version_of(url) == 1


def test_a_process_that_got_a_used_id_is_never_ended(endpoints: Endpoints, models: dict[int, Path]) -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me.alive()
    other = replace(me, started="before")
    assert not other.alive()
    assert other.signal(signal.SIGKILL) is False
    folder = Path(endpoints.root) / NAME
    folder.mkdir(parents=True)
    state = read_state(folder)
    state.supervisor, state.workers, state.serving = other, [other], Serving(1, "gone")
    write_state(folder, state)
    assert endpoints.status(NAME).condition == "down"
    endpoints.stop(NAME)  # would end this very process if it took the id for the identity


def test_what_cannot_be_deployed_says_why(
    endpoints: Endpoints, models: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EndpointError, match="no model folder"):
        endpoints.deploy(NAME, tmp_path / "nowhere", 1)
    with pytest.raises(EndpointError, match="not the name of a lifecycle"):
        endpoints.deploy("../escape", models[1], 1)
    monkeypatch.delenv("MDLC_ENDPOINT_TOKEN", raising=False)
    exposed = Endpoints(root=endpoints.root, host="0.0.0.0")
    with pytest.raises(EndpointError, match="without a token"):
        exposed.deploy(NAME, models[1], 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(EndpointError, match="taken by another process"),
    ):
        endpoints.deploy(NAME, models[1], 1, port=taken.getsockname()[1])
    assert endpoints.status(NAME).condition in ("absent", "stopped")


def test_a_token_guards_the_endpoint(
    endpoints: Endpoints, models: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDLC_ENDPOINT_TOKEN", "s3cret")
    url = endpoints.deploy(NAME, models[1], 1).url
    assert httpx.get(f"{url}/ping").status_code == 200
    assert httpx.post(f"{url}/invocations", json=ROW).status_code == 401
    good = {"authorization": "Bearer s3cret"}
    assert httpx.post(f"{url}/invocations", json=ROW, headers=good).status_code == 200
    large = httpx.post(
        f"{url}/invocations", content=b" " * 100_000_000, headers={**good, "content-type": "application/json"}
    )
    assert large.status_code == 413
    log = (Path(endpoints.root) / NAME / "endpoint.log").read_text()
    state = json.dumps((Path(endpoints.root) / NAME / "state.json").read_text())
    assert "s3cret" not in log + state
