"""Endpoints whose image's own server answers: serverless, multi-model, a team's container. Real processes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from botocore.exceptions import ClientError

from mdlc_assets.declaration.deployment import MultiModel, RealTime, RolloutAlarms, Serverless
from mdlc_assets.resources.endpoint_state import read_state
from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served
from mdlc_assets.resources.sagemaker.jobs import Pace
from mdlc_assets.resources.sagemaker.multi_model import MultiModelPlan, roll_out_model, targets
from mdlc_assets.resources.sagemaker.rollout import Rollout, ask_endpoint
from mdlc_assets_tests.deployment.models import FEATURES, fit_model

NAME, SHARED = "card_fraud", "shared-models"
QUICK = Pace(0.05, 0.2, 5.0)
ROW = {"columns": list(FEATURES), "data": [[0.5] * len(FEATURES)]}
# Adds what its model file says to the first value of each line; sleeps where a line asks for it.
TEAMS = """
import http.server, os, pathlib, time
shift = float((pathlib.Path(os.environ["MDLC_ML_ROOT"]) / "model" / "shift").read_text())
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body=b"", status=200):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer()
    def do_POST(self):
        lines = self.rfile.read(int(self.headers["content-length"])).decode().split()
        if lines == ["fail"]:
            return self.answer(b"no", 500)
        if lines[0] == "wait":
            gate = pathlib.Path(lines[1])
            (gate / str(time.monotonic_ns())).touch()
            while not (gate / "open").exists():
                time.sleep(0.02)
            lines = ["0"]
        self.answer("".join(f"{float(line) + shift}\\n" for line in lines).encode())
    def log_message(self, *rest): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def local(tmp_path: Path) -> Iterator[SageMaker]:
    sagemaker = SageMaker(root=str(tmp_path), commands={"team/shift:1": [sys.executable, "-c", TEAMS]})
    yield sagemaker
    for name in (NAME, SHARED.replace("-", "_")):
        Endpoints(root=str(tmp_path / "endpoints")).stop(name)
    assert eventually(lambda: not _containers(tmp_path))


def _plan(sagemaker: SageMaker, declared: RealTime, version: int, shift: float) -> EndpointPlan:
    storage = sagemaker.storage("models")
    storage.write(f"{version}.tar.gz", packed({"shift": str(shift).encode()}))
    served = Served(version, storage.location(f"{version}.tar.gz"), f"{version}", "team/shift:1")
    return EndpointPlan(NAME, declared, served, sagemaker.own_image(), sagemaker.role_arn())


def _ask(sagemaker: SageMaker, body: bytes) -> str:
    client = sagemaker.client("sagemaker-runtime")
    answer = client.invoke_endpoint(EndpointName="card-fraud", ContentType="text/csv", Body=body)
    return answer["Body"].read().decode()


def _report(sagemaker: SageMaker) -> dict[str, Any]:
    url = Endpoints(root=str(Path(sagemaker.root) / "endpoints")).status(NAME).url
    return httpx.get(f"{url}/metrics", headers={"accept": "application/json"}).json()


def test_a_teams_container_serves_changes_over_and_is_taken_back(local: SageMaker) -> None:
    canary = RealTime(
        strategy="canary",
        share=0.5,
        bake=timedelta(seconds=4),
        alarms=RolloutAlarms(error_rate=0.1, period=timedelta(seconds=1)),
        health_seconds=120,
    )
    assert Rollout(local, QUICK).run(_plan(local, canary, 1, 1.0)).verdict == "deployed"
    assert _ask(local, b"1\n2\n") == "2.0\n3.0\n"
    with pytest.raises(ClientError, match=r"Received server error \(500\) from the model: no"):
        _ask(local, b"fail")
    large = b" " * 100_000_000
    with pytest.raises(ClientError, match="Body: the length is 100000000, which is above 6291456"):
        _ask(local, large)
    url = Endpoints(root=str(Path(local.root) / "endpoints")).status(NAME).url
    refused = httpx.post(f"{url}/invocations", content=large, headers={"content-type": "text/csv"})
    assert (refused.status_code, refused.json()["error"].partition(";")[0]) == (
        413,
        "the body is larger than 6,291,456 bytes",
    )
    assert _ask(local, b"1") == "2.0\n"
    done = threading.Event()
    answers: set[str] = set()

    def call() -> None:
        while not done.is_set():
            answers.add(_ask(local, b"1"))

    caller = threading.Thread(target=call)
    caller.start()
    assert Rollout(local, QUICK).run(_plan(local, canary, 2, 2.0)).verdict == "deployed"
    done.set()
    caller.join()
    assert answers <= {"2.0\n", "3.0\n"}
    assert _ask(local, b"1") == "3.0\n"
    # One that does not start is refused, and version 2 goes on.
    broken = Rollout(local, QUICK).run(
        _plan(local, canary, 3, float("nan")).__class__(
            NAME,
            canary,
            Served(3, local.storage("models").location("2.tar.gz"), "3", "team/absent:1"),
            local.own_image(),
            local.role_arn(),
        )
    )
    assert broken.verdict == "refused"
    assert "nothing on this machine stands in for the image team/absent:1" in broken.why
    assert _ask(local, b"1") == "3.0\n"


def test_a_container_that_is_killed_is_replaced(local: SageMaker) -> None:
    Rollout(local, QUICK).run(_plan(local, RealTime(health_seconds=120), 1, 1.0))
    os.kill(_report(local)["container"], 9)
    assert eventually(lambda: _answers(local))


def _answers(sagemaker: SageMaker) -> bool:
    try:
        return _ask(sagemaker, b"1") == "2.0\n"
    except (ClientError, httpx.HTTPError):
        return False


def test_serverless_runs_while_it_is_called_and_throttles_beyond_its_limit(local: SageMaker, tmp_path: Path) -> None:
    serverless = Serverless(max_concurrency=2, idle=timedelta(seconds=1))
    plan = _plan(local, RealTime(serverless=serverless, health_seconds=120), 1, 1.0)
    assert Rollout(local, QUICK).run(plan).verdict == "deployed"
    assert eventually(lambda: _report(local)["container"] is None)
    assert not _containers(tmp_path)
    # The first call starts it.
    assert _ask(local, b"1") == "2.0\n"
    gate = tmp_path / "gate"
    gate.mkdir()
    waiting = [threading.Thread(target=_ask, args=(local, f"wait {gate}".encode())) for _ in range(2)]
    for caller in waiting:
        caller.start()
    assert eventually(lambda: len(list(gate.iterdir())) == 2)
    with pytest.raises(ClientError) as refused:
        _ask(local, b"1")
    assert refused.value.response["Error"]["Code"] == "ThrottlingException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    (gate / "open").touch()
    for caller in waiting:
        caller.join()
    assert _ask(local, b"1") == "2.0\n"
    assert eventually(lambda: _report(local)["container"] is None)


def _shared(sagemaker: SageMaker, lifecycle: str, version: int, most_loaded: int = 2) -> MultiModelPlan:
    files = {**fit_model(version).files(), "mdlc_version": str(version).encode()}
    declared = RealTime(multi_model=MultiModel(endpoint=SHARED, most_loaded=most_loaded), health_seconds=120)
    prefix = f"{sagemaker.bucket_address()}/multi-model/{SHARED}"
    served = Served(version, "", f"digest{version}")
    plan = MultiModelPlan(lifecycle, declared, served, sagemaker.own_image(), sagemaker.role_arn(), prefix=prefix)
    sagemaker.storage(f"multi-model/{SHARED}").write(plan.target, packed(files))
    return plan


def test_many_models_share_an_endpoint_and_are_loaded_when_they_are_asked_for(local: SageMaker) -> None:
    rollout = Rollout(local, QUICK)
    rows = pl.DataFrame([ROW["data"][0]], schema=list(FEATURES), orient="row")

    def probe(target: str) -> None:
        ask_endpoint(local, SHARED, ROW, target)

    plans = {}
    for number, lifecycle in enumerate(("cards", "loans", "refunds"), 1):
        plans[lifecycle] = plan = _shared(local, lifecycle, number)
        outcome = roll_out_model(local, plan, rollout, probe)
        assert (outcome.verdict, outcome.config) == ("deployed", plan.target)
    assert targets(local, SHARED) == {name: plan.target for name, plan in plans.items()}
    for number, plan in enumerate([*plans.values(), *plans.values()], 0):
        version = number % 3 + 1
        answer = ask_endpoint(local, SHARED, ROW, plan.target)
        np.testing.assert_array_equal(answer["scores"], fit_model(version).score(rows))
        assert answer["model_version"] == version
    # There is room for two: the one that was not asked for the longest has gone.
    url = Endpoints(root=str(Path(local.root) / "endpoints")).status(SHARED.replace("-", "_")).url
    report = httpx.get(f"{url}/metrics").json()
    assert report["models"] == [plans["loans"].target, plans["refunds"].target]

    # A new version is one archive more; the one before stays until the next.
    second = _shared(local, "cards", 4)
    assert roll_out_model(local, second, rollout, probe).before == plans["cards"].target
    assert targets(local, SHARED)["cards"] == second.target
    assert roll_out_model(local, second, rollout, probe).verdict == "unchanged"
    assert ask_endpoint(local, SHARED, ROW, plans["cards"].target)["model_version"] == 1

    # One that cannot be read is refused and taken away; what was asked before still is.
    spoilt = _shared(local, "cards", 5)
    storage = local.storage(f"multi-model/{SHARED}")
    storage.write(spoilt.target, packed({"model.json": b"{}"}))
    refused = roll_out_model(local, spoilt, rollout, probe)
    assert (refused.verdict, refused.config) == ("refused", second.target)
    assert "cannot be loaded" in refused.why
    assert not storage.has(spoilt.target)
    runtime = local.client("sagemaker-runtime")
    for target in ("cards/v9-nobody-approved.tar.gz", "../../endpoints"):
        with pytest.raises(ClientError, match="there is no model"):
            runtime.invoke_endpoint(EndpointName=SHARED, TargetModel=target, Body=json.dumps(ROW).encode())
    with pytest.raises(ClientError, match="must be told which model"):
        runtime.invoke_endpoint(EndpointName=SHARED, Body=json.dumps(ROW).encode())


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def _containers(root: Path) -> list[str]:
    """Containers that run for an endpoint below `root`: children of its workers."""
    workers = {
        one.pid
        for folder in (root / "endpoints").glob("*")
        for one in [*read_state(folder).workers, *read_state(folder).others]
    }
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in workers:
                found.append(path.name)
        except OSError:
            continue
    return found
