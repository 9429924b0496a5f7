"""The wheel in an environment of its own, away from the checkout: what a team has after `pip install`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

_ROOT = Path(__file__).parents[2]
_UV = str(Path(sys.executable).parent / "uv")
_ASSETS = "{ assetNodes { assetKey { path } } }"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An environment with nothing but the wheel and what it needs, and a folder to work in."""

    bin: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PYTHONPATH": "",
            "HOME": str(self.folder),
            "MDLC_HOME": str(self.folder / "home"),
            "COLUMNS": "400",
        }

    def mdlc(self, *arguments: str) -> str:
        """What a command said; it must succeed."""
        ran = subprocess.run(
            [str(self.bin / "mdlc"), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-2_000:] + ran.stderr[-2_000:]
        return ran.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = tmp_path_factory.mktemp("installed")
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    python, pins = made / "env" / "bin" / "python", str(_ROOT / "requirements.lock")
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(made / "env")],
        ["pip", "install", "--quiet", "--python", str(python), "--constraint", pins, str(wheel)],
    ):
        ran = subprocess.run([_UV, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-2_000:]
    (made / "work").mkdir()
    return Installed(python.parent, made / "work")


def test_the_shipped_lifecycles_are_good_without_the_checkout(installed: Installed) -> None:
    assert "mdlc new churn" in installed.mdlc("--help")
    lines = installed.mdlc("validate").splitlines()
    assert {line.partition(": ")[2].split(";")[0] for line in lines} == {"good"}
    shipped = {Path(line.partition(": ")[0]) for line in lines}
    assert {path.parent.name for path in shipped} == {"bakery_demand", "payments_fraud", "pump_anomalies"}
    assert all(path.is_relative_to(installed.bin.parent) for path in shipped), shipped


def test_a_model_is_started_from_a_csv_and_seen_in_dagster(installed: Installed) -> None:
    first = date(2025, 1, 1)
    rows = [f"{first + timedelta(days=n // 6)} {8 + n % 6:02}:00:00,{n % 17},{int(n % 17 > 11)}" for n in range(540)]
    (installed.folder / "orders.csv").write_text("\n".join(["ordered_at,basket,returned", *rows]) + "\n")
    installed.mdlc("new", "returns", "--data", "orders.csv", "--label", "returned", "--yes")
    assert "returns has" in installed.mdlc("validate", "lifecycles/returns/defs.yaml")
    assert (installed.folder / "lifecycles" / "lifecycle.schema.json").stat().st_size > 1_000

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = installed.folder / "dev.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [str(installed.bin / "mdlc"), "dev", "--port", str(port)],
            cwd=installed.folder,
            env=installed.environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 180
        while not {"returns", "bakery_demand", "payments_fraud"} <= _lifecycles(f"http://127.0.0.1:{port}/graphql"):
            assert process.poll() is None, log.read_text()[-3_000:]
            assert time.monotonic() < end, log.read_text()[-3_000:]
            time.sleep(0.3)
        process.terminate()
        assert process.wait(timeout=60) == 0, log.read_text()[-3_000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _lifecycles(address: str) -> set[str]:
    try:
        answer = httpx.post(address, json={"query": _ASSETS}, timeout=30).json()
    except httpx.HTTPError:
        return set()
    return {node["assetKey"]["path"][0] for node in (answer.get("data") or {}).get("assetNodes", [])}
