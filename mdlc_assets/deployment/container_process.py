"""An image's own server as a process below a folder that stands for /opt/ml: started, asked for its health, ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

_PING_SECONDS, _STOP_SECONDS = 2.0, 30.0
_PR_SET_PDEATHSIG = 1


class ContainerError(RuntimeError):
    """A container that did not become healthy; the text says what it said last."""


class ContainerProcess:
    """One server process, and the folder it sees as /opt/ml. `model_folder` is copied there."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], model_folder: Path | None) -> None:
        self.words, self.environment = list(words), dict(environment)
        self.root = Path(tempfile.mkdtemp(prefix="mdlc-container-"))
        if model_folder is not None:
            shutil.copytree(model_folder, self.root / "model")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def code(self) -> int | None:
        """The exit code of a process that has ended; None while it runs, or when there is none."""
        return self._process.poll() if self._process else None

    @property
    def pid(self) -> int | None:
        """The process that runs, if any."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process. It ends with this one, even when this one is killed."""
        self.port = _free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **self.environment,
            "MDLC_ML_ROOT": str(self.root),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "MDLC_SERVE_HOST": "127.0.0.1",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.root,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    def healthy(self) -> bool:
        """Whether /ping is answered with 200. Raises `ContainerError` when the process has ended."""
        if self.code is not None:
            raise ContainerError(f"its container ended with code {self.code}: {self._tail()}")
        try:
            return httpx.get(f"{self.address}/ping", timeout=_PING_SECONDS, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def wait_until_healthy(self, seconds: float) -> None:
        """Raises `ContainerError` when it is not within the time."""
        end = time.monotonic() + seconds
        while not self.healthy():
            if time.monotonic() > end:
                raise ContainerError(f"/ping was not answered with 200 within {seconds:g} s: {self._tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not end it in time."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.root / "server.log"

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return " | ".join(lines[-2:])[-300:] or "nothing was logged"


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
