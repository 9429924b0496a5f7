"""The whole service killed with -9 under load and started again: no answer is lost, and nothing acts twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from mdlc_assets.declaration import read_declaration
from mdlc_assets.home import Home
from mdlc_assets.integration.effects import LEASE_SECONDS, decision_id, deliver_due
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.outbox import open_outbox
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.realtime.parts import START, an_event, approve, register

MDLC = str(Path(sys.executable).parent / "mdlc")
_NAME = "payments_acting"
_KILLS, _CALLERS, _EACH = 2, 4, 60


class _Service:
    """The process, and the requests that it answered."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home, self.folder = home, folder
        self.answered: dict[str, int] = {}

    def start(self) -> None:
        self.process = subprocess.Popen(
            [MDLC, "--home", str(self.home.root), "serve", _NAME],
            env={**os.environ, "PYTHONUNBUFFERED": "1", "MDLC_LIFECYCLES": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        found = re.search(rb"http://127.0.0.1:\d+", self.process.stdout.readline())
        assert found
        self.address = found.group().decode()

    def call(self, first: int, round_: int, stop: threading.Event) -> None:
        """Post events one after the other until the service is gone; half of them lead to an effect."""
        with httpx.Client(base_url=self.address, timeout=30) as client:
            for number in range(first, first + 100_000):
                event = number % 300
                request = f"{round_}-{number}"
                body = an_event(event, 400.0 if event % 2 else 1.0)
                try:
                    found = client.post("/decisions", json=body, headers={"x-request-id": request})
                except httpx.HTTPError:
                    return
                assert found.status_code == 200
                self.answered[request] = event
                if stop.is_set():
                    return

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.mark.slow
def test_killed_under_load_no_answer_is_lost_and_nothing_acts_twice(tmp_path: Path) -> None:
    content = yaml.safe_load((SHIPPED / "payments_fraud" / "defs.yaml").read_text())
    effects = tmp_path / "blocked"
    content["attributes"] |= {"name": _NAME}
    content["attributes"]["decisions"]["actions"]["block"] = {
        "words": "Refuse it.",
        "do": [{"to": "file", "folder": str(effects)}],
    }
    declared = tmp_path / "lifecycles" / _NAME / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(yaml.safe_dump(content))
    lifecycle, home = read_declaration(declared), Home(tmp_path / "home")
    (home.root / "mlflow").mkdir(parents=True)
    registry = Registry(tracking_uri=home.mlflow_uri, artifact_root=str(home.mlflow_artifacts))
    approve(registry, lifecycle, register(registry, lifecycle, 1))
    service = _Service(home, declared.parents[1])
    for round_ in range(_KILLS + 1):
        service.start()
        try:
            before, stop = len(service.answered), threading.Event()
            with ThreadPoolExecutor(_CALLERS) as pool:
                calls = [pool.submit(service.call, 37 * caller, round_, stop) for caller in range(_CALLERS)]
                until = time.monotonic() + 120
                while len(service.answered) - before < _EACH * (round_ + 1) and time.monotonic() < until:
                    time.sleep(0.01)
                if round_ < _KILLS:
                    service.kill()  # in the midst of it
                stop.set()
                for one in calls:
                    one.result(60)
            assert len(service.answered) - before >= _EACH * (round_ + 1)
        finally:
            service.kill()

    captured = [
        json.loads(line) for line in CapturedDecisions(root=str(home.captured_decisions)).lines(_NAME, START.date())
    ]
    kept = {one["request_id"]: one for one in captured}
    assert set(service.answered) <= set(kept), "an answer that a caller has is captured"
    assert all(kept[request]["event"]["transaction_id"] == event for request, event in service.answered.items())

    # What the killed ones had claimed is due again after its lease.
    outbox, later = open_outbox(home.outbox(_NAME)), time.time() + 2 * LEASE_SECONDS
    while any(deliver_due(outbox, clock=lambda: later)):
        pass
    blocked = {one["event"]["transaction_id"] for one in captured if one["decision"] == "block"}
    files = [json.loads(file.read_text()) for file in effects.glob("*.json")]
    acted = {one["event"] for one in files}
    assert len(files) == len(acted), "one effect for each event"
    # What was being written down when the process died was answered to nobody, and may have been captured only.
    told = {service.answered[request] for request, one in kept.items() if request in service.answered} & blocked
    assert told <= acted <= blocked and told
    assert {one["decision_id"] for one in files} == {decision_id(_NAME, event) for event in acted}
    assert outbox.counts() == {"due": 0, "delivered": len(acted), "dead": 0}
