"""Local endpoints: real server processes that outlive the run which deployed them."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

_SERVER = "mdlc_assets.deployment.server"
_TOKEN_VARIABLE = "MDLC_ENDPOINT_TOKEN"  # noqa: S105
_KEPT_VERSIONS = 3


class DeploymentError(RuntimeError):
    """A version that could not be put to service; the one before still serves."""


@dataclass(frozen=True)
class Serving:
    """What an endpoint serves, and where."""

    version: int
    url: str


class Endpoints(dg.ConfigurableResource):
    """Endpoints of this machine; `root` holds their state. Other hosts than loopback need a token."""

    root: str
    host: str = "127.0.0.1"

    def deploy(
        self,
        lifecycle: str,
        version: int,
        files: Mapping[str, bytes],
        *,
        port: int = 0,
        workers: int = 1,
        health_seconds: float = 30,
    ) -> Serving:
        """Change the endpoint over to a version, and start it where none runs.

        Raises `DeploymentError` when the version does not come up; what served before goes on serving.
        """
        self._check_host()
        folder = self._folder(lifecycle)
        request = uuid.uuid4().hex
        target = folder / f"version-{version}-{request[:8]}"
        target.mkdir(parents=True)
        for name, content in files.items():
            (target / name).write_bytes(content)
        (target / "serving.json").write_text(json.dumps({"version": version}))
        wanted = {
            "request": request,
            "folder": str(target),
            "version": version,
            "module": _SERVER,
            "workers": workers,
            "health_seconds": health_seconds,
        }
        running = self._running(folder)
        self._ask(folder, wanted)
        process = None if running else self._start(folder, port)
        # Loading, draining and ending what served before each take their time.
        state = self._wait(folder, request, 2 * health_seconds + 45, process)
        if state["error"]:
            raise DeploymentError(
                f"version {version} of {lifecycle} did not come up: {state['error']}. "
                f"{'Version ' + str(state['version']) if state['version'] else 'Nothing'} serves. "
                f"Mend: read {target / 'log.txt'}, register the model again, or roll back."
            )
        self._forget(folder, target)
        return Serving(state["version"], state["url"])

    def status(self, lifecycle: str) -> Serving | None:
        """What the endpoint serves now; None when it does not run."""
        folder = self._folder(lifecycle)
        state = self._state(folder)
        if not state.get("version") or not self._running(folder):
            return None
        return Serving(state["version"], state["url"])

    def stop(self, lifecycle: str) -> None:
        """End the endpoint, letting it finish what it has begun."""
        folder = self._folder(lifecycle)
        if not folder.exists():
            return
        deadline = time.monotonic() + 60
        while self._running(folder) and time.monotonic() < deadline:
            self._ask(folder, {"request": "stop", "stop": True})
            time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)

    def _check_host(self) -> None:
        loopback = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        if not loopback and not os.environ.get(_TOKEN_VARIABLE):
            raise DeploymentError(
                f"{self.host} can be reached by others. Mend: set {_TOKEN_VARIABLE}, or use host 127.0.0.1."
            )

    def _folder(self, lifecycle: str) -> Path:
        return Path(self.root) / lifecycle

    def _start(self, folder: Path, port: int) -> subprocess.Popen[bytes]:
        with (folder / "supervisor.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mdlc_assets.resources.endpoint_supervisor", str(folder), self.host, str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(
        self, folder: Path, request: str, seconds: float, process: subprocess.Popen[bytes] | None
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self._state(folder)
            if state.get("request") == request:
                return state
            if process is not None and process.poll() is not None:
                lines = (folder / "supervisor.txt").read_text().strip().splitlines()
                raise DeploymentError(f"the endpoint did not start: {lines[-1] if lines else 'no reason given'}")
            time.sleep(0.05)
        raise DeploymentError(f"the endpoint did not answer within {seconds:g} s. Mend: stop it and deploy again.")

    @staticmethod
    def _ask(folder: Path, wanted: dict[str, Any]) -> None:
        temporary = folder / ".wanted.json"
        temporary.write_text(json.dumps(wanted))
        temporary.replace(folder / "wanted.json")

    @staticmethod
    def _state(folder: Path) -> dict[str, Any]:
        try:
            return json.loads((folder / "state.json").read_text())
        except FileNotFoundError:
            return {}

    @staticmethod
    def _running(folder: Path) -> bool:
        """Whether a supervisor holds the folder's lock; a process number could have been given anew."""
        try:
            with (folder / "lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @staticmethod
    def _forget(folder: Path, current: Path) -> None:
        others = sorted(
            (path for path in folder.glob("version-*") if path != current), key=lambda path: path.stat().st_mtime
        )
        for path in others[: -(_KEPT_VERSIONS - 1)]:
            shutil.rmtree(path, ignore_errors=True)
