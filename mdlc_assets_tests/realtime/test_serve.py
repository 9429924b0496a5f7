"""`mdlc serve` as a process: it starts, decides, changes over, captures and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.home import Home
from mdlc_assets.production import NEEDED, UnsetError, resources_here
from mdlc_assets.resources.online_store import DynamoStore, SqliteStore
from mdlc_assets.resources.outbox import open_outbox
from mdlc_assets.resources.outbox_dynamodb import DynamoOutbox
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.realtime.parts import an_event, approve, register

MDLC = str(Path(sys.executable).parent / "mdlc")


@pytest.fixture
def home(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> Home:
    """A home with an approved model."""
    home = Home(tmp_path)
    registry = Registry(tracking_uri=home.mlflow_uri, artifact_root=str(home.mlflow_artifacts))
    approve(registry, payments_fraud, register(registry, payments_fraud, 1))
    return home


@pytest.fixture
def service(home: Home) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address."""
    process = subprocess.Popen(
        [MDLC, "--home", str(home.root), "serve", "payments_fraud"],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or []), daemon=True)
    reader.start()
    found = re.search(rb"http://127.0.0.1:\d+", process.stdout.readline())
    assert found, b"".join(said)
    yield process, found.group().decode()
    process.kill()
    process.wait(30)


@pytest.mark.slow
def test_a_process_decides_captures_and_ends(
    service: tuple[subprocess.Popen[bytes], str], home: Home, payments_fraud: LifecycleDeclaration
) -> None:
    process, address = service
    with httpx.Client(base_url=address, timeout=30) as client:
        found = client.post("/decisions", json=an_event(1, 400.0), headers={"x-request-id": "mine"})
        assert found.json()["decision"] == "block"
        assert found.headers["x-request-id"] == "mine"
        assert client.get("/health").status_code == 200
        # The store was never filled: it decides all the same, and says so to whoever asks.
        assert client.get("/ready").json()["store"] is False
    lines = [line for file in home.captured_decisions.rglob("*.jsonl") for line in file.read_text().splitlines()]
    kept = json.loads(lines[0])
    assert (kept["request_id"], kept["decision"], kept["event"]["amount"]) == ("mine", "block", 400.0)
    assert kept["score"] == found.json()["score"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)


def test_it_listens_on_this_machine_alone_unless_there_is_a_token(tmp_path: Path) -> None:
    ran = subprocess.run(
        [MDLC, "--home", str(tmp_path), "serve", "payments_fraud", "--host", "0.0.0.0"],
        env={key: value for key, value in os.environ.items() if key != "MDLC_TOKEN"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1
    assert "Mend: set MDLC_TOKEN" in ran.stderr


def test_in_production_it_decides_from_the_table_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needed = {name: str(tmp_path / name) for name in NEEDED}
    environment = {**needed, "MDLC_ONLINE_TABLE": "mdlc-online"}
    monkeypatch.setenv("MDLC_OUTBOX", "dynamodb:mdlc-outbox")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    resources = resources_here(Home(tmp_path), environment)
    store = resources["online_store"].store
    assert isinstance(store, DynamoStore) and store.table == "mdlc-online"
    assert resources["registry"].tracking_uri == needed["MLFLOW_TRACKING_URI"]
    outbox = open_outbox(Home(tmp_path).outbox("payments_fraud"))
    assert isinstance(outbox, DynamoOutbox) and outbox.table == "mdlc-outbox"
    assert isinstance(resources_here(Home(tmp_path), {})["online_store"].store, SqliteStore)
    with pytest.raises(UnsetError, match="MDLC_LAKE"):
        resources_here(Home(tmp_path), {"MDLC_PAGES": "x"})
