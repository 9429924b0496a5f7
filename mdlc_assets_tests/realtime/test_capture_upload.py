"""What the service captured goes to S3 by itself: S3 away, a killed process, the last lines at its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.home import Home
from mdlc_assets.integration.online_assets import online_decisions_definitions
from mdlc_assets.realtime.capture import Capture
from mdlc_assets.realtime.capture_upload import CaptureUpload, upload_to
from mdlc_assets.realtime.decider import Decided
from mdlc_assets.realtime.meters import Meters
from mdlc_assets.resources.aws import aws_client
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.storage import S3Storage
from mdlc_assets_tests.deploy.recording import allowed, record_permissions
from mdlc_assets_tests.realtime.parts import START, an_event, approve, caller, new_registry, new_state, register

MDLC = str(Path(sys.executable).parent / "mdlc")
_NAME = "payments_fraud"


def _until(holds: Callable[[], Any], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.05)


def _capture(folder: Path, lifecycle: LifecycleDeclaration) -> Capture:
    return Capture(folder / _NAME, lifecycle.dataset.time, lifecycle.features.names())


def _decided(number: int) -> list[tuple[str, Decided]]:
    event = {"transaction_id": number, "event_time": START}
    return [(f"r{number}", Decided(event, f"d{number}", [], 0.5, "pass", "", "", {}))]


def _requests(root: str) -> list[str]:
    lines = CapturedDecisions(root=root).lines(_NAME, START.date())
    return sorted(json.loads(line)["request_id"] for line in lines)


def _files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.jsonl"))


def test_a_file_goes_up_when_it_is_closed_and_is_then_gone_here(
    s3_root: str, tmp_path: Path, payments_fraud: LifecycleDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = record_permissions(monkeypatch)
    capture, other = _capture(tmp_path, payments_fraud), _capture(tmp_path, payments_fraud)
    upload = upload_to(f"{s3_root}/captured", capture, Meters())
    assert upload is not None
    capture.write(_decided(1))
    other.write(_decided(2))
    assert upload.send() == 0, "both are being written"
    capture.close()
    assert upload.send() == 1
    capture.write(_decided(3))
    capture.close()
    other.close()
    assert upload.send() == 2
    assert called == {"s3:PutObject"} and called <= allowed("roles", "Work")
    assert _requests(f"{s3_root}/captured") == ["r1", "r2", "r3"]
    assert _files(tmp_path) == []


def test_two_workers_on_a_folder_neither_lose_nor_double(
    s3_root: str, tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    captures = [_capture(tmp_path, payments_fraud) for _ in range(2)]
    uploads = [CaptureUpload(one, S3Storage(s3_root), Meters(), open_seconds=0, pause_seconds=0.01) for one in captures]
    for one in uploads:
        one.start()

    def write(worker: int) -> None:
        for number in range(worker, 400, 2):
            captures[worker].write(_decided(number))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    for one in uploads:
        one.stop(60)
    assert _requests(s3_root) == sorted(f"r{number}" for number in range(400))
    assert _files(tmp_path) == []


def test_while_s3_is_away_events_are_decided_and_nothing_is_lost(
    s3_root: str, tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    capture = _capture(tmp_path / "captured", payments_fraud)
    registry = new_registry(tmp_path)
    approve(registry, payments_fraud, register(registry, payments_fraud, 1))
    state = new_state(payments_fraud, registry, capture=capture)
    # Nobody listens on port 1.
    away = aws_client("s3", attempts=1, seconds=1.0, endpoint_url="http://127.0.0.1:1")
    upload = CaptureUpload(capture, S3Storage(s3_root, away), state.meters, open_seconds=0, pause_seconds=0.01)
    upload.start()

    async def call(numbers: range) -> None:
        async with caller(state) as client:
            for number in numbers:
                found = await client.post("/decisions", json=an_event(number), headers={"x-request-id": f"r{number}"})
                assert found.status_code == 200

    asyncio.run(call(range(10)))
    _until(lambda: b"mdlc_capture_waiting 0.0" not in state.meters.text())
    assert len(_files(tmp_path)) >= 1
    upload.storage = S3Storage(s3_root)
    asyncio.run(call(range(10, 20)))
    upload.stop(60)
    assert _requests(s3_root) == sorted(f"r{number}" for number in range(20))
    assert _files(tmp_path) == [] and b"mdlc_capture_waiting 0.0" in state.meters.text()


def test_only_s3_is_uploaded_to(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    capture = _capture(tmp_path, payments_fraud)
    assert upload_to(str(tmp_path), capture, Meters()) is None
    assert upload_to(None, capture, Meters()) is None
    assert upload_to("s3://bucket", None, Meters()) is None


@contextmanager
def _service(home: Home, root: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    process = subprocess.Popen(
        [MDLC, "--home", str(home.root), "serve", _NAME],
        env={**os.environ, "PYTHONUNBUFFERED": "1", "MDLC_CAPTURED": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or []), daemon=True)
    reader.start()
    try:
        found = re.search(rb"http://127.0.0.1:\d+", process.stdout.readline())
        assert found, b"".join(said)
        with httpx.Client(base_url=found.group().decode(), timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.slow
def test_what_a_killed_service_left_goes_up_at_the_next_start_and_reaches_the_lake(
    s3_root: str, tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    home, root = Home(tmp_path), f"{s3_root}/captured"
    registry = Registry(tracking_uri=home.mlflow_uri, artifact_root=str(home.mlflow_artifacts))
    approve(registry, payments_fraud, register(registry, payments_fraud, 1))
    with _service(home, root) as (process, client):
        client.post("/decisions", json=an_event(1), headers={"x-request-id": "r1"}).raise_for_status()
        process.kill()
        process.wait(30)
    assert len(_files(home.captured_decisions)) == 1 and _requests(root) == []
    with _service(home, root) as (process, client):
        client.post("/decisions", json=an_event(2), headers={"x-request-id": "r2"}).raise_for_status()
        _until(lambda: _requests(root) == ["r1"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
    assert _requests(root) == ["r1", "r2"]
    assert _files(home.captured_decisions) == []
    lake, defs = Lake(root=str(home.lake)), online_decisions_definitions(payments_fraud)
    resources = {"lake": lake, "captured_decisions": CapturedDecisions(root=root)}
    assert dg.materialize(
        list(defs.assets or ()),  # type: ignore[arg-type]
        partition_key=START.date().isoformat(),
        resources=resources,
    ).success
    rows = lake.table(_NAME, "online_decisions").read_day(START.date())
    assert sorted(rows["transaction_id"].to_list()) == [1, 2]
