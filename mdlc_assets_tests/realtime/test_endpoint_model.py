"""The endpoint as the service's model: the same scores, the version that answered, and the fallback when it is away."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import pytest
from botocore.stub import Stubber

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.deployment import Deployment, RealTime
from mdlc_assets.deployment.approved import endpoint_plan
from mdlc_assets.realtime.endpoint_model import endpoint_model
from mdlc_assets.realtime.service import ServiceState
from mdlc_assets.realtime.serving import Changeover
from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_scores import EndpointScores
from mdlc_assets.resources.sagemaker.faults import AnswerError
from mdlc_assets.resources.sagemaker.jobs import Pace
from mdlc_assets.resources.sagemaker.rollout import Rollout
from mdlc_assets_tests.realtime.parts import an_event, approve, caller, fit_model, new_registry, new_state, register

_NAME = "payments_fraud"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lifecycle(payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    """The shipped one, asking its endpoint; it is left alone after two failures."""
    service = {
        "model": "endpoint",
        "fallback": {"model_ms": 5000, "after_failures": 2, "rest": "60s", "decide": "review"},
    }
    deployment = Deployment.model_validate({"real_time": {}, "service": service})
    return payments_fraud.model_copy(update={"deployment": deployment})


@pytest.fixture(scope="module")
def parts(
    tmp_path_factory: pytest.TempPathFactory, lifecycle: LifecycleDeclaration
) -> Iterator[tuple[Registry, SageMaker]]:
    """An approved version behind a real local endpoint, which never saw the other versions."""
    root = tmp_path_factory.mktemp("endpoint")
    registry, sagemaker = new_registry(root), SageMaker(root=str(root / "sagemaker"))
    champion = register(registry, lifecycle, 1)
    approve(registry, lifecycle, champion)
    plan = endpoint_plan(registry, sagemaker, _NAME, RealTime(workers=1, health_seconds=120), champion)
    assert Rollout(sagemaker, Pace(0.05, 0.5), lambda text: None).run(plan).verdict == "deployed"
    yield registry, sagemaker
    Endpoints(root=str(root / "sagemaker" / "endpoints")).stop(_NAME)


def _state(lifecycle: LifecycleDeclaration, parts: tuple[Registry, SageMaker]) -> ServiceState:
    registry, sagemaker = parts
    state = new_state(lifecycle, registry)
    state.changeover = Changeover(registry, lifecycle, None, endpoint_model(sagemaker))
    assert state.changeover.look(), state.changeover.error
    state.decider.serving = lambda: state.changeover.serving
    return state


def _post(state: ServiceState, *bodies: Any) -> list[dict[str, Any]]:
    async def call() -> list[httpx.Response]:
        async with caller(state) as client:
            return await asyncio.gather(*(client.post("/decisions", json=body) for body in bodies))

    found = asyncio.run(call())
    assert {one.status_code for one in found} == {200}
    return [one.json() for one in found]


# The tests of this module follow each other: the endpoint serves, then it is stopped.


def test_it_scores_as_the_model_in_process_does(
    lifecycle: LifecycleDeclaration, parts: tuple[Registry, SageMaker], payments_fraud: LifecycleDeclaration
) -> None:
    events = [an_event(number, 20.0 * number) for number in range(1, 13)]
    here = _post(new_state(payments_fraud, parts[0]), *events)
    there = _post(_state(lifecycle, parts), *events, events[:5])
    assert [one["score"] for one in there[:12]] == [one["score"] for one in here]
    assert [one["decision"] for one in there[:12]] == [one["decision"] for one in here]
    assert {one["versions"]["model"] for one in there[:12]} == {1}
    assert [one["score"] for one in there[12]["decisions"]] == [one["score"] for one in here[:5]]
    assert not any(one["degraded"] for one in there[:12])


def test_while_the_endpoint_changes_over_answers_name_the_version_that_gave_them(
    lifecycle: LifecycleDeclaration, parts: tuple[Registry, SageMaker]
) -> None:
    registry, _ = parts
    approve(registry, lifecycle, register(registry, lifecycle, 2))
    state = _state(lifecycle, parts)
    assert state.changeover.serving.versions["model"] == 2
    (said,) = _post(state, an_event(5, 60.0))
    assert said["versions"]["model"] == 1, "the endpoint still has version 1"
    model = state.changeover.serving.model
    assert model is not None and model.ask is not None
    row = np.zeros((1, len(model.features)))
    assert model.ask(row)[0][0] == pytest.approx(fit_model(lifecycle, 1).score_array(row)[0], abs=1e-9)


def test_an_endpoint_that_is_away_or_slow_leaves_rules_alone_to_decide(
    lifecycle: LifecycleDeclaration, parts: tuple[Registry, SageMaker]
) -> None:
    state = _state(lifecycle, parts)
    Endpoints(root=str(Path(parts[1].root) / "endpoints")).stop(_NAME)
    for _ in range(2):
        (said,) = _post(state, an_event(5, 60.0))
        assert (said["score"], said["degraded"], said["cause"], said["decision"]) == (None, True, "model", "review")
    assert state.decider.model.open, "it is left alone now"
    began = time.monotonic()
    assert _post(state, an_event(6, 60.0))[0]["cause"] == "model"
    assert time.monotonic() - began < 2
    slow = _state(lifecycle, parts)
    slow.decider.service = lifecycle.deployment.service.model_copy(
        update={"fallback": lifecycle.deployment.service.fallback.model_copy(update={"model_ms": 50.0})}
    )
    model = slow.changeover.serving.model
    assert model is not None
    object.__setattr__(model, "ask", lambda rows: time.sleep(1.0))
    assert _post(slow, an_event(5, 60.0))[0]["cause"] == "model"
    assert slow.decider.model.failures == 1


def test_what_the_endpoint_may_not_say_counts_as_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client(
        "sagemaker-runtime", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    monkeypatch.setattr(SageMaker, "client", lambda self, service="sagemaker", seconds=None: client)
    source = EndpointScores(SageMaker(form="aws"), _NAME, 0.5)
    row = np.array([[1.5, 2.0]])
    asked = {"EndpointName": "payments-fraud", "ContentType": "application/json", "Accept": "application/json"}
    with Stubber(client) as stub:
        for answer in (b'{"scores": [0.5], "model_version": 3}', b'{"scores": [1.5], "model_version": 3}', b"<html>"):
            body = {"columns": ["a", "b"], "data": [[1.5, 2.0]]}
            stub.add_response(
                "invoke_endpoint", {"Body": io.BytesIO(answer)}, {**asked, "Body": json.dumps(body).encode()}
            )
        stub.add_client_error("invoke_endpoint", "ModelError", http_status_code=424)
        scores, version = source.ask(["a", "b"], row)
        assert (scores.tolist(), version) == ([0.5], 3)
        for _ in range(3):
            with pytest.raises(AnswerError, match="endpoint"):
                source.ask(["a", "b"], row)


def test_an_endpoint_must_be_declared() -> None:
    with pytest.raises(ValueError, match="none is declared"):
        Deployment.model_validate({"real_time": None, "service": {"model": "endpoint"}})
