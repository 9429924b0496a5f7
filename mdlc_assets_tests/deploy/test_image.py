"""The image, as far as it can be tried without a container engine: its files, its wheel, its command."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent
_TEXT = (_ROOT / "deploy" / "Dockerfile").read_text()


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    allowed = {line[1:] for line in (_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", _TEXT, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert names
    for name in names:
        assert (_ROOT / name).exists(), name
        assert name in allowed, f"{name} is not let through by .dockerignore"


def test_it_runs_without_rights_and_without_secrets() -> None:
    users = re.findall(r"^USER (\S+)$", _TEXT, re.MULTILINE)
    assert users[-1] not in {"root", "0"}
    assert not re.search(r"(?i)(password|secret|token|key)\s*=", _TEXT)


def test_the_wheel_holds_what_is_not_python(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "mdlc_assets/dagster.yaml",
        "mdlc_assets/declaration/lifecycle.schema.json",
        "mdlc_assets/lifecycles/payments_fraud/defs.yaml",
        "mdlc_assets/training/built_in_hyperparameters.yaml",
        "mdlc_assets/monitoring/templates/report.html",
    } <= names
    assert not [name for name in names if name.startswith("mdlc_assets_tests")]


@pytest.mark.slow
def test_the_images_command_becomes_healthy_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [str(_BIN / "uv"), "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    command = json.loads(_TEXT.rsplit("\nCMD ", 1)[1])
    health = json.loads(re.search(r"HEALTHCHECK .* CMD (\[.*\])", _TEXT)[1])  # type: ignore[index]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # Only the address differs: loopback here, the container's network there.
    change = {"4000": port, "0.0.0.0": "127.0.0.1", "dagster": str(_BIN / "dagster")}
    environment = {
        "PATH": f"{_BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(site),
        "MDLC_HOME": str(tmp_path / "data"),
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        "HOME": str(tmp_path),
    }
    server = subprocess.Popen(
        [change.get(part, part) for part in command], env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        check = [change.get(part, part) for part in health]
        deadline = time.monotonic() + 120
        while subprocess.run(check, env=environment, capture_output=True, check=False).returncode != 0:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "not healthy within two minutes"
        origin = subprocess.run(
            [sys.executable, "-c", "import mdlc_assets; print(mdlc_assets.__file__)"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert origin.stdout.startswith(str(site))
    finally:
        server.terminate()
        server.wait(timeout=30)
