"""`mdlc dev` as a real process: it takes in what changes, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mdlc_assets_tests.conftest import SHIPPED

_MDLC = str(Path(sys.executable).parent / "mdlc")
_ASSETS = "{ assetNodes { assetKey { path } } }"


@pytest.mark.slow
def test_changes_are_taken_in_and_nothing_stays(tmp_path: Path) -> None:
    declaration = tmp_path / "lifecycles" / "small" / "defs.yaml"
    declaration.parent.mkdir(parents=True)
    text = (SHIPPED / "payments_fraud" / "defs.yaml").read_text().replace("name: payments_fraud", "name: small", 1)
    declaration.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "dev.log"
    # As in the background of a script, where INT is ignored from the beginning.
    command = ["sh", "-c", 'trap "" INT; exec "$0" "$@"', _MDLC, "dev", "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=_environment(tmp_path), stdout=out, stderr=out, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}/graphql"
        _until(process, lambda: "small" in _names(address), log)
        declaration.write_text(text.replace("name: small", "name: larger", 1))
        _until(process, lambda: "larger" in _names(address), log)
        _until(process, lambda: "defs.yaml changed: taken in." in log.read_text(), log)
        declaration.write_text(text.replace("algorithm: xgboost", "algorithm: xgbost"))
        _until(process, lambda: "Mend: write 'xgboost'" in log.read_text().partition("not taken in.")[2], log)
        started = _below(process.pid)
        assert len(started) >= 4, "Dagster, its code server, webserver and daemon"
        process.terminate()
        assert process.wait(timeout=60) == 0
        assert [pid for pid in started if _alive(pid)] == []
    finally:
        for pid in [*_below(process.pid), process.pid]:
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MDLC_", "DAGSTER_"))}
    return {**kept, "MDLC_HOME": str(folder / "home")}


def _names(address: str) -> set[str]:
    try:
        answer = httpx.post(address, json={"query": _ASSETS}, timeout=30).json()
    except httpx.HTTPError:
        return set()
    nodes = (answer.get("data") or {}).get("assetNodes", [])
    return {node["assetKey"]["path"][0] for node in nodes}


def _until(process: subprocess.Popen[bytes], true: Callable[[], Any], log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()[-3_000:]
        time.sleep(0.3)


def _below(root: int) -> list[int]:
    """The processes that a process started, and those that these started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
