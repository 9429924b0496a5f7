"""The store is away for ten seconds, as a DynamoDB that takes connections and answers none: nothing is lost by it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.resources.online_store import DynamoStore, SqliteStore
from mdlc_assets_tests.moto_server import moto_process
from mdlc_assets_tests.realtime.parts import approve, caller, new_registry, new_state, register
from mdlc_assets_tests.realtime.streaming import DAY, Place, entries, event, ids_of

pytestmark = pytest.mark.slow
_BEFORE, _AWAY, _AFTER = 2.0, 10.0, 4.0
_EACH = 0.1


@pytest.fixture
def dynamo(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server process of its own, which can be stopped as a whole."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with moto_process() as found:
        yield found


def test_ten_seconds_without_the_store_lose_no_event_and_give_no_error(
    tmp_path: Path, payments_fraud: LifecycleDeclaration, dynamo: tuple[subprocess.Popen[bytes], str]
) -> None:
    server, address = dynamo
    service = payments_fraud.deployment.service
    # Moto takes its time, and who was left alone is asked again soon.
    patient = service.fallback.model_copy(update={"store_ms": 3_000.0, "rest": timedelta(seconds=1)})
    deployment = payments_fraud.deployment.model_copy(
        update={"service": service.model_copy(update={"fallback": patient})}
    )
    lifecycle = payments_fraud.model_copy(update={"deployment": deployment})

    def store() -> OnlineFeatures:
        return OnlineFeatures(lifecycle, DynamoStore("online", timeout=3.0, endpoint_url=address))

    store().store.make_table({})
    place = Place(tmp_path, lifecycle)
    registry = new_registry(tmp_path)
    register(registry, lifecycle, 1)
    approve(registry, lifecycle, registry.version(lifecycle.name, 1))
    state = new_state(lifecycle, registry, store(), at_hand=False)
    worker = place.worker(store())
    reading = threading.Thread(target=worker.run)
    reading.start()
    try:
        sent, answers = asyncio.run(_traffic(place, state, server))
        until = time.monotonic() + 60
        while len(place_learnt := _learnt(store())) < sent:
            assert time.monotonic() < until, f"{len(place_learnt)} of {sent} are learnt"
            time.sleep(0.1)
    finally:
        worker.stop()
        reading.join(60)
    assert ids_of(place.raw()) == place_learnt == list(range(sent))
    assert worker.meters.pauses.labels("effects")._value.get() > 0

    assert [answer for _, status, answer, _ in answers if status != 200] == []
    degraded = [at for at, _, answer, _ in answers if answer["degraded"]]
    assert {answer["cause"] for _, _, answer, _ in answers if answer["degraded"]} == {"store"}
    assert len(degraded) > 0.7 * _AWAY / _EACH
    _print_times(answers)
    # Before it, and once it is back and has been asked again, all is as ever.
    assert min(degraded) >= _BEFORE - _EACH
    assert not answers[-1][2]["degraded"]

    reference = OnlineFeatures(lifecycle, SqliteStore(tmp_path / "reference.db", 10.0))
    rows = place.raw().select(lifecycle.dataset.id, lifecycle.dataset.time, "customer_id", "terminal_id", "amount")
    reference.learn(rows.sort(lifecycle.dataset.time))
    later = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
    for customer in range(7):
        asked = {"transaction_id": 10**6, "event_time": later, "customer_id": customer, "terminal_id": 1, "amount": 5.0}
        np.testing.assert_array_equal(store().features_of(asked), reference.features_of(asked))


async def _traffic(place: Place, state: Any, server: subprocess.Popen[bytes]) -> tuple[int, list[Any]]:
    """Events onto the stream and to the service at a steady rate, while the store goes and comes back."""
    began, answers, calls, stream, sent = time.monotonic(), [], [], place.stream(), 0

    async def ask(client: Any, number: int) -> None:
        at = time.monotonic() - began
        answer = await client.post("/decisions", content=json.dumps(event(number)))
        answers.append((at, answer.status_code, answer.json(), time.monotonic() - began - at))

    async with caller(state) as client:
        for step, until in ((None, _BEFORE), (signal.SIGSTOP, _BEFORE + _AWAY), (signal.SIGCONT, None)):
            if step is not None:
                os.kill(server.pid, step)
            until = until if until is not None else _BEFORE + _AWAY + _AFTER
            while time.monotonic() - began < until:
                stream.put(entries([event(sent)]))
                calls.append(asyncio.create_task(ask(client, sent)))
                sent += 1
                await asyncio.sleep(_EACH)
        await asyncio.gather(*calls)
    return sent, sorted(answers, key=lambda one: one[0])


def _print_times(answers: list[Any]) -> None:
    """The figures of benchmarks/README.md; `pytest -s` shows them."""
    for name, since, until in (
        ("before", 0.0, _BEFORE),
        ("away", _BEFORE, _BEFORE + _AWAY),
        ("back", _BEFORE + _AWAY, np.inf),
    ):
        taken = [1000 * seconds for at, _, _, seconds in answers if since <= at < until]
        p50, p99 = np.percentile(taken, [50, 99])
        said = f"{len(taken)} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(taken):.1f} ms"
        sys.stdout.write(f"store {name}: {said}\n")


def _learnt(online: OnlineFeatures) -> list[Any]:
    midnight = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp()) * 1_000_000
    return sorted(online.store.ids(online.space, midnight, midnight + 86_400_000_000))
