"""The local endpoint: real processes, changeovers under load, versions that do not come up."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.endpoints import DeploymentError, Endpoints
from mdlc_assets.training.algorithms import FittedModel, fit

_NAME = "payments_fraud"
_FEATURES = ["a", "b"]


@pytest.fixture(scope="module")
def models(payments_fraud: LifecycleDeclaration) -> list[FittedModel]:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    rows = rows.with_columns(y=(pl.col("a") > 0).cast(pl.Int8))
    small = [{"n_estimators": trees} for trees in (2, 5)]
    return [
        fit(payments_fraud.model.model_copy(update={"hyperparameters": given}), rows, _FEATURES, "y") for given in small
    ]


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    found = Endpoints(root=str(tmp_path_factory.mktemp("endpoints")))
    yield found
    found.stop(_NAME)


@pytest.fixture(scope="module")
def url(endpoints: Endpoints, models: list[FittedModel]) -> str:
    return endpoints.deploy(_NAME, 1, models[0].files()).url


def test_it_answers_as_the_model_does(url: str, models: list[FittedModel]) -> None:
    rows = pl.DataFrame({"b": [0.1, -2.0], "a": [1.5, 0.0]})
    assert httpx.get(f"{url}/ping").json() == {"version": 1}
    answer = httpx.post(f"{url}/invocations", json={"instances": rows.to_dicts()}, headers={"x-request-id": "r1"})
    assert answer.json() == {"predictions": models[0].score(rows).tolist(), "version": 1}
    assert answer.headers["x-request-id"] == "r1"
    csv = httpx.post(f"{url}/invocations", content=rows.write_csv(), headers={"content-type": "text/csv"})
    assert csv.json() == answer.json()


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        ("{", "application/json", 400, "not JSON"),
        ("[1]", "application/json", 400, "instances"),
        ('{"instances": []}', "application/json", 400, "no rows"),
        ('{"instances": [{"a": 1}]}', "application/json", 400, "features missing: ['b']"),
        ('{"instances": [{"a": 1, "b": 2, "c": 3}]}', "application/json", 400, "not known: ['c']"),
        ('{"instances": [{"a": "x", "b": 2}]}', "application/json", 400, "a is not a number"),
        ('{"instances": [{"a": NaN, "b": 2}]}', "application/json", 400, "a is missing or infinite"),
        ('{"instances": [{"a": 1e999, "b": 2}]}', "application/json", 400, "a is missing or infinite"),
        ("a,b\n1,x\n", "text/csv", 400, "CSV"),
        ("a=1", "text/plain", 415, "application/json or text/csv"),
        (" " * 7_000_000, "application/json", 413, "larger than"),
        ("[" * 100_000, "application/json", 400, "not JSON"),
        ('{"instances": [{"a": ' + "9" * 5_000 + ', "b": 2}]}', "application/json", 400, ""),
    ],
)
def test_bad_requests_get_reasons(url: str, content: str, kind: str, status: int, said: str) -> None:
    answer = httpx.post(f"{url}/invocations", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.slow
def test_changeovers_lose_no_request(endpoints: Endpoints, url: str, models: list[FittedModel]) -> None:
    """Two changeovers and one version that cannot come up, under constant load on four connections."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def call() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                try:
                    answer = client.post(f"{url}/invocations", json={"instances": [{"a": 1.0, "b": 0.0}]})
                    outcomes[f"{answer.status_code} version {answer.json()['version']}"] += 1
                except httpx.HTTPError as error:
                    outcomes[f"failed: {error!r}"] += 1
                time.sleep(0.01)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        assert endpoints.deploy(_NAME, 2, models[1].files()).url == url
        with pytest.raises(DeploymentError, match=r"version 3 .* did not come up.*Version 2 serves"):
            endpoints.deploy(_NAME, 3, {**models[1].files(), "model.ubj": b"no model"})
        assert endpoints.deploy(_NAME, 4, models[0].files()).version == 4
    finally:
        time.sleep(0.3)
        stop.set()
        for caller in callers:
            caller.join()
    assert set(outcomes) == {"200 version 1", "200 version 2", "200 version 4"}, outcomes
    status = endpoints.status(_NAME)
    assert status is not None
    assert (status.version, status.url) == (4, url)


def test_a_worker_that_dies_is_replaced(endpoints: Endpoints, url: str) -> None:
    folder = Path(endpoints.root) / _NAME
    serving = json.loads((folder / "wanted.json").read_text())["folder"]
    for loaded in Path(serving).glob("loaded-*"):
        pid = int(loaded.name.removeprefix("loaded-"))
        os.kill(pid, signal.SIGKILL)
    assert httpx.get(f"{url}/ping", timeout=20).status_code == 200


def test_others_cannot_reach_it_without_a_token(
    tmp_path: Path, models: list[FittedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = Endpoints(root=str(tmp_path), host="0.0.0.0")
    with pytest.raises(DeploymentError, match="MDLC_ENDPOINT_TOKEN"):
        open_to_all.deploy(_NAME, 1, models[0].files())
    monkeypatch.setenv("MDLC_ENDPOINT_TOKEN", "secret-token")
    guarded = Endpoints(root=str(tmp_path))
    try:
        url = guarded.deploy(_NAME, 1, models[0].files()).url
        body = {"instances": [{"a": 1.0, "b": 0.0}]}
        assert httpx.post(f"{url}/invocations", json=body).status_code == 401
        bearer = {"authorization": "Bearer secret-token"}
        assert httpx.post(f"{url}/invocations", json=body, headers=bearer).status_code == 200
    finally:
        guarded.stop(_NAME)
    assert guarded.status(_NAME) is None
