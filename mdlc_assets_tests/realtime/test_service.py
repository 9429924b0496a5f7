"""The decision service: what it answers, what it refuses, what it does without."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.realtime.request_log import RequestLog
from mdlc_assets.realtime.service import ServiceState
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.realtime.parts import (
    MemoryFeatures,
    PlainFeatures,
    an_event,
    approve,
    caller,
    new_registry,
    new_state,
    register,
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, payments_fraud: LifecycleDeclaration) -> Registry:
    registry = new_registry(tmp_path_factory.mktemp("registry"))
    approve(registry, payments_fraud, register(registry, payments_fraud, 1))
    return registry


@pytest.fixture
def state(payments_fraud: LifecycleDeclaration, registry: Registry) -> ServiceState:
    return new_state(payments_fraud, registry)


def ask(state: ServiceState, content: Any, **settings: Any) -> httpx.Response:
    """One POST /decisions."""

    async def call() -> httpx.Response:
        async with caller(state, **settings) as client:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            return await client.post("/decisions", content=body)

    return asyncio.run(call())


def test_an_event_gives_score_decision_reasons_and_versions(state: ServiceState) -> None:
    harmless, dear = ask(state, an_event(1, 1.0)).json(), ask(state, an_event(2, 400.0)).json()
    assert harmless["decision"] == "allow"
    assert harmless["reasons"] == []
    assert dear["score"] > 0.9
    assert (dear["decision"], dear["rule"], dear["degraded"]) == ("block", "certain_fraud", False)
    assert dear["reasons"][0]["feature"] == "amount"
    assert dear["reasons"][0]["value"] == 400.0
    assert dear["versions"]["model"] == 1
    assert dear["versions"]["rules"] == state.lifecycle.fingerprint("decisions")
    assert ask(state, an_event(2, 400.0)).json()["decision_id"] == dear["decision_id"]


def test_the_score_is_that_of_the_batch_path(payments_fraud: LifecycleDeclaration, registry: Registry) -> None:
    state = new_state(payments_fraud, registry, MemoryFeatures(payments_fraud))
    model = state.changeover.serving.model
    found = ask(state, [an_event(n, 10.0 * n) for n in range(1, 20)]).json()["decisions"]
    for n, one in enumerate(found, start=1):
        vector = state.decider.source.features_of(state.reader.read(an_event(n, 10.0 * n)))
        assert one["score"] == model.score(np.array([vector]))[0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": "much"}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.234}, "amount"),
        ({"amount": None}, "amount"),
        ({"customer_id": 1.5}, "customer_id"),
        ({"transaction_id": 2**70}, "transaction_id"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": 5}, "event_time"),
        ({"colour": "red"}, "colour"),
        ({"amount": [1]}, "amount"),
        ({"amount": {"$gt": 0}}, "amount"),
    ],
)
def test_a_wrong_event_is_named_with_its_mend(state: ServiceState, change: dict[str, Any], field: str) -> None:
    found = ask(state, an_event(1, **change) if "amount" not in change else {**an_event(1), **change})
    assert found.status_code == 422
    assert found.json()["field"] == field
    assert found.json()["mend"]


def test_an_event_in_words_is_read_as_a_file_is(state: ServiceState) -> None:
    plain, words = an_event(3), {k: str(v) for k, v in an_event(3).items()}
    assert state.reader.read(plain) == state.reader.read(words)
    assert state.reader.read(plain) == state.reader.judge(plain)


def test_one_wrong_event_of_a_batch_is_named(state: ServiceState) -> None:
    found = ask(state, [an_event(1), {**an_event(2), "amount": "x"}])
    assert found.status_code == 422
    assert found.json()["error"].startswith("event 1: amount")
    assert ask(state, []).status_code == 400
    assert ask(state, b"{").status_code == 400


def test_requests_that_come_together_are_scored_together(state: ServiceState) -> None:
    model = state.changeover.serving.model
    calls: list[int] = []

    def counted(rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        return scored(rows)

    scored, together = model.score, 8
    object.__setattr__(model, "score", counted)

    async def call() -> list[httpx.Response]:
        async with caller(state) as client:
            return await asyncio.gather(
                *(client.post("/decisions", json=an_event(n, 50.0 * n)) for n in range(1, together + 1))
            )

    found = asyncio.run(call())
    object.__setattr__(model, "score", scored)
    assert sum(calls) == together
    assert len(calls) < together
    alone = [ask(state, an_event(n, 50.0 * n)).json()["score"] for n in range(1, together + 1)]
    assert [one.json()["score"] for one in found] == alone


def test_without_store_the_rules_that_need_nothing_decide(
    payments_fraud: LifecycleDeclaration, registry: Registry
) -> None:
    source = PlainFeatures(payments_fraud)
    state = new_state(payments_fraud, registry, source)
    source.away = True
    limit = payments_fraud.deployment.service.fallback.after_failures
    found = [ask(state, an_event(n)).json() for n in range(limit + 1)]
    assert {(one["decision"], one["cause"], one["degraded"]) for one in found} == {("allow", "store", True)}
    assert state.decider.store.open
    source.away = False
    assert ask(state, an_event(1)).json()["cause"] == "store"  # it is left alone for a while
    state.decider.store.clock = lambda: float("inf")
    assert ask(state, an_event(1)).json()["degraded"] is False
    assert not state.decider.store.open


def test_a_slow_store_costs_its_limit_and_then_nothing(
    payments_fraud: LifecycleDeclaration, registry: Registry
) -> None:
    held = threading.Event()

    class Slow(PlainFeatures):
        asked = 0

        def features_of(self, event: Any) -> np.ndarray:
            self.asked += 1
            held.wait(30)
            return super().features_of(event)

    source = Slow(payments_fraud)
    state = new_state(payments_fraud, registry, source, at_hand=False)
    found = [ask(state, an_event(n)).json()["cause"] for n in range(12)]
    held.set()
    assert found == ["store"] * 12
    assert source.asked == payments_fraud.deployment.service.fallback.after_failures


def test_before_the_first_approval_rules_alone_decide(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    state = new_state(payments_fraud, new_registry(tmp_path))
    found = ask(state, an_event(1, 400.0)).json()
    assert (found["decision"], found["cause"], found["score"]) == ("allow", "model", None)
    assert "no champion" in state.changeover.error


def test_the_token_is_asked_for(state: ServiceState) -> None:
    async def call(token: str) -> int:
        async with caller(state, token="secret") as client:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            return (await client.post("/decisions", json=an_event(), headers=headers)).status_code

    assert [asyncio.run(call(token)) for token in ("", "wrong", "secret")] == [401, 401, 200]


def test_the_log_names_no_values(state: ServiceState) -> None:
    said = io.BytesIO()
    state.log = RequestLog(said)
    ask(state, an_event(1, 7654.32))
    ask(state, {**an_event(1), "amount": "7654.32x"})
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [line["status"] for line in lines] == [200, 422]
    assert lines[0]["decision"] == "block"
    assert "7654" not in said.getvalue().decode()


def test_pages_for_people_and_programs(state: ServiceState) -> None:
    async def call() -> list[httpx.Response]:
        async with caller(state) as client:
            await client.post("/decisions", json=an_event())
            return [await client.get(p) for p in ("/health", "/ready", "/metrics", "/openapi.json", "/docs")]

    health, ready, metrics, api, page = asyncio.run(call())
    assert (health.status_code, ready.status_code) == (200, 200)
    assert ready.json()["versions"]["model"] == 1
    assert 'mdlc_decisions_total{decision="allow",rule="otherwise"} 1.0' in metrics.text
    assert api.json()["components"]["schemas"]["Event"]["properties"]["amount"]["minimum"] == 0
    assert "amount" in page.text
    assert "http" not in page.text.replace("openapi.json", "").split("<body")[0].split("<style>")[0]
