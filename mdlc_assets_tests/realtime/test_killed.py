"""`mdlc serve` killed with -9 under load and started again: what was answered is captured, and acts once."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.home import Home
from mdlc_assets.integration.effects import deliver_due
from mdlc_assets.realtime.decider import decision_id
from mdlc_assets.resources.outbox import open_outbox
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.realtime.parts import an_event, approve, register

KILLS = 2
CALLERS = 4
_NAME = "payments_killed"
_DEAR, _CHEAP = 400.0, 1.0


@contextlib.contextmanager
def _serving(home: Home, lifecycles: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with (home.root / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "mdlc"), "--home", str(home.root), "serve", _NAME],
            env={**os.environ, "PYTHONUNBUFFERED": "1", "MDLC_LIFECYCLES": str(lifecycles)},
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        try:
            found = re.search(rb"http://127.0.0.1:\d+", process.stdout.readline())
            assert found, (home.root / "service.log").read_text()[-2000:]
            yield process, found.group().decode()
        finally:
            process.kill()
            process.wait(30)


class _Load:
    """Callers that send events one after the other until the service is gone. What was not answered goes out again
    to the next one, and so does, now and then, what was."""

    def __init__(self) -> None:
        self.answered: dict[str, tuple[int, str]] = {}
        self.statuses: collections.Counter[int] = collections.Counter()
        self.numbers = iter(range(1, 10**9))
        self.again: list[int] = []
        self.lock = threading.Lock()

    def call(self, address: str) -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            for turn in range(10**9):
                with self.lock:
                    number = self.again.pop() if self.again else next(self.numbers)
                amount = _DEAR if number % 2 else _CHEAP
                request_id = f"{threading.get_ident()}-{time.monotonic_ns()}"
                try:
                    said = client.post(
                        "/decisions", json=an_event(number, amount), headers={"x-request-id": request_id}
                    )
                except httpx.HTTPError:
                    with self.lock:
                        self.again.append(number)
                    return
                with self.lock:
                    self.statuses[said.status_code] += 1
                    self.answered[request_id] = (number, said.json().get("decision", ""))
                    if turn % 10 == 9:
                        self.again.append(number)

    def run(self, process: subprocess.Popen[bytes], address: str, more: int) -> None:
        """Put load on the service until it has answered `more`, and kill it in the midst."""
        threads = [threading.Thread(target=self.call, args=(address,)) for _ in range(CALLERS)]
        enough = len(self.answered) + more
        for thread in threads:
            thread.start()
        while len(self.answered) < enough and any(thread.is_alive() for thread in threads):
            time.sleep(0.001)
        process.kill()
        for thread in threads:
            thread.join(60)


@pytest.fixture
def lifecycles(tmp_path: Path) -> Path:
    """The shipped declaration, whose blocked payments lead to files."""
    text = (SHIPPED / "payments_fraud" / "defs.yaml").read_text()
    words = "block: Refuse the payment and tell the card holder."
    acting = f"block: {{words: Refuse it., do: [{{to: file, folder: {tmp_path / 'effects'}}}]}}"
    assert words in text
    found = tmp_path / "lifecycles" / _NAME / "defs.yaml"
    found.parent.mkdir(parents=True)
    found.write_text(text.replace(words, acting).replace("  name: payments_fraud\n", f"  name: {_NAME}\n"))
    return found.parents[1]


@pytest.mark.slow
def test_killed_under_load_no_answer_is_lost_and_nothing_acts_twice(tmp_path: Path, lifecycles: Path) -> None:
    home, lifecycle = Home(tmp_path / "home"), read_declaration(lifecycles / _NAME / "defs.yaml")
    registry = Registry(tracking_uri=home.mlflow_uri, artifact_root=str(home.mlflow_artifacts))
    approve(registry, lifecycle, register(registry, lifecycle, 1))
    load, chance = _Load(), random.Random(11)
    for _ in range(KILLS):
        with _serving(home, lifecycles) as (process, address):
            load.run(process, address, chance.randrange(50, 300))
    assert set(load.statuses) == {200}
    kept = _captured(home, lifecycle)
    lost = {request for request in load.answered if request not in kept}
    assert not lost, f"{len(lost)} of {len(load.answered)} answered decisions are not captured"
    for request, (number, decision) in load.answered.items():
        assert kept[request] == (number, decision)
    blocked = {number for number, decision in kept.values() if decision == "block"}
    assert blocked and blocked != {number for number, _ in kept.values()}
    repeated = collections.Counter(number for number, _ in kept.values())
    assert max(repeated.values()) > 1, "no event was sent twice: the load proves nothing"
    _deliver_the_rest(home)
    effects = [json.loads(file.read_text()) for file in (tmp_path / "effects").glob("*.json")]
    told = collections.Counter(effect["event"] for effect in effects)
    assert set(told.values()) == {1}
    answered = {number for number, decision in load.answered.values() if decision == "block"}
    assert answered <= set(told) <= blocked
    assert {effect["decision_id"] for effect in effects} == {decision_id(_NAME, number) for number in told}


def _captured(home: Home, lifecycle: LifecycleDeclaration) -> dict[str, tuple[int, str]]:
    """Event and decision by request. A process that was killed may leave the last line of its file torn."""
    found = {}
    for file in (home.captured_decisions / lifecycle.name).rglob("*.jsonl"):
        *lines, torn = file.read_bytes().split(b"\n")
        assert len(torn) < 100_000
        for line in map(json.loads, lines):
            found[line["request_id"]] = (line["event"]["transaction_id"], line["decision"])
    return found


def _deliver_the_rest(home: Home) -> None:
    """As the next service would once the leases of the killed ones are over."""
    outbox = open_outbox(home.outbox(_NAME))
    while sum(deliver_due(outbox, clock=lambda: time.time() + 3_600)):
        pass
    assert outbox.counts()["due"] == outbox.counts()["dead"] == 0
