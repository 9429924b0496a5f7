"""What must not happen whatever comes: a 5xx, a lost request at a changeover, memory that grows."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.realtime.service import create_service
from mdlc_assets.realtime.serving import Changeover
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.realtime.parts import an_event, approve, caller, new_registry, new_state, register

BODIES = 10_000
_HOSTILE: list[Any] = [
    *(None, True, -1, 2**63, 10**400, 1e308, -0.0, 0.005, "", " ", "NaN", "Infinity", "1_000", "12.0", "x" * 5_000),
    *("\x00", "\ud7ff", "'; DROP TABLE items; --", "2018-02-30T00:00:00Z", "9999-12-31T23:59:59+00:00"),
    *("0001-01-01T00:00:00Z", "2018-06-01T00:00:00+25:00", "2018-06-01", [], {}, [[]], {"$ne": 1}),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, payments_fraud: LifecycleDeclaration) -> Registry:
    registry = new_registry(tmp_path_factory.mktemp("registry"))
    for seed in (1, 2, 3):
        register(registry, payments_fraud, seed)
    approve(registry, payments_fraud, registry.version(payments_fraud.name, 1))
    return registry


def hostile_body(chance: random.Random) -> bytes:
    """A body that is broken somewhere, or only strange."""
    event: dict[str, Any] = an_event(chance.randrange(100))
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(200))
    if kind == 1:
        whole = json.dumps(event).encode()
        place = chance.randrange(len(whole))
        return whole[:place] + chance.randbytes(chance.randrange(3)) + whole[place + chance.randrange(4) :]
    if kind == 2:
        return b"[" * chance.randrange(1, 3_000)
    if kind == 3:
        return json.dumps(chance.choice([[event] * chance.randrange(4), [event, 1], {"event": event}, 5, "x"])).encode()
    for _ in range(chance.randrange(1, 3)):
        name = chance.choice([*event, "account_age_days", "score", "__proto__"])
        if chance.random() < 0.2:
            event.pop(name, None)
        else:
            event[name] = chance.choice(_HOSTILE)
    return json.dumps(event).encode()


@pytest.mark.slow
def test_ten_thousand_hostile_bodies_give_no_5xx_and_no_growth(
    payments_fraud: LifecycleDeclaration, registry: Registry
) -> None:
    state = new_state(payments_fraud, registry)
    chance, seen, sizes = random.Random(7), set(), []

    async def call() -> None:
        async with caller(state) as client:
            for number in range(BODIES):
                found = await client.post("/decisions", content=hostile_body(chance))
                seen.add(found.status_code)
                said = found.json()
                assert ("error" in said) == (found.status_code != 200)
                if number in (BODIES // 2, BODIES - 1):
                    sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    asyncio.run(call())
    tracemalloc.stop()
    assert seen == {200, 400, 422}
    assert sizes[1] - sizes[0] < 500_000


def test_a_body_that_never_ends_is_answered_408(payments_fraud: LifecycleDeclaration, registry: Registry) -> None:
    state = new_state(payments_fraud, registry)

    async def straight() -> int:
        sent: list[Any] = []
        parts = [{"type": "http.request", "body": b'{"transaction_id"', "more_body": True}]

        async def receive() -> Any:
            return parts.pop(0) if parts else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/decisions", "headers": [], "query_string": b""}
        await create_service(state, body_seconds=0.2)(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(straight()) == 408


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_of_100_mb_is_refused_before_it_is_taken_in(
    payments_fraud: LifecycleDeclaration, registry: Registry, announced: bool
) -> None:
    chunk, taken, sent = b" " * 1_000_000, [0], []

    async def straight() -> None:
        async def receive() -> Any:
            taken[0] += 1
            return {"type": "http.request", "body": chunk, "more_body": taken[0] < 100}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-length", b"100000000")] if announced else []
        scope = {"type": "http", "method": "POST", "path": "/decisions", "headers": headers, "query_string": b""}
        await create_service(new_state(payments_fraud, registry))(scope, receive, send)

    asyncio.run(straight())
    assert sent[0]["status"] == 413 and (b"connection", b"close") in sent[0]["headers"]
    assert taken[0] == (0 if announced else 7), "no more than the 6 MB that are allowed"


def test_a_changeover_under_requests_loses_none(payments_fraud: LifecycleDeclaration, registry: Registry) -> None:
    approve(registry, payments_fraud, registry.version(payments_fraud.name, 1))
    state = new_state(payments_fraud, registry)
    by_version: dict[int, set[float]] = {}

    async def call() -> None:
        async with caller(state) as client:
            looking = None
            for number in range(2_000):
                found = await client.post("/decisions", json=an_event(5, 60.0))
                assert found.status_code == 200
                said = found.json()
                by_version.setdefault(said["versions"]["model"], set()).add(said["score"])
                if number == 20:
                    approve(registry, payments_fraud, registry.version(payments_fraud.name, 2))
                    looking = asyncio.create_task(asyncio.to_thread(state.changeover.look))
                if looking and looking.done() and len(by_version) == 2:
                    break
                await asyncio.sleep(0)

    asyncio.run(call())
    assert set(by_version) == {1, 2}
    assert all(len(scores) == 1 for scores in by_version.values())
    assert state.changeover.error == ""


def test_what_is_corrupt_or_unapproved_is_refused_and_the_old_version_stays(
    payments_fraud: LifecycleDeclaration, registry: Registry
) -> None:
    name = payments_fraud.name
    approve(registry, payments_fraud, registry.version(name, 1))
    changeover = Changeover(registry, payments_fraud)
    assert changeover.look()
    registry.point(name, "champion", registry.version(name, 3))
    assert not changeover.look()
    assert "no approval" in changeover.error
    approve(registry, payments_fraud, registry.version(name, 3))
    for file in Path(registry.artifact_root).rglob("model.ubj"):
        if registry.version(name, 3).run_id in str(file):
            file.write_bytes(file.read_bytes()[:-100])
    assert not changeover.look()
    assert "not those that were registered" in changeover.error
    assert changeover.serving.versions["model"] == 1


def test_rules_that_come_into_service_are_on_the_audit_trail(
    payments_fraud: LifecycleDeclaration, registry: Registry
) -> None:
    approve(registry, payments_fraud, registry.version(payments_fraud.name, 1))
    now = [payments_fraud]
    changeover = Changeover(registry, payments_fraud, lambda: now[0])
    changeover.look()
    assert not changeover.look()
    rules = payments_fraud.decisions.model_copy(update={"rules": payments_fraud.decisions.rules[:1]})
    now[0] = payments_fraud.model_copy(update={"decisions": rules})
    assert changeover.look()
    entry = registry.audit(payments_fraud.name)[-1]
    assert (entry["action"], entry["rules"]) == ("rules", now[0].fingerprint("decisions"))
    assert entry["rules_before"] == payments_fraud.fingerprint("decisions")
    assert len(entry["declared"]["rules"]) == 1
    assert registry.audit_problems(payments_fraud.name) == []
