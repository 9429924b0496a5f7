"""The process behind a local endpoint: holds the listening socket, runs a version's workers on it.

    python -m mdlc_assets.resources.endpoint_supervisor <folder> <host> <port>

A changeover starts the next version's workers on the very same socket, so that no connection that waits is
lost; when they have loaded, those before are asked to drain and end. (Two sockets with SO_REUSEPORT would lose
what waits in the queue of the one that is closed.) The folder's `wanted.json` says what shall be served,
`state.json` what is; a lock on `lock` says that this process lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_TICK_SECONDS = 0.1
_DRAIN_SECONDS = 1.0
_END_SECONDS = 35.0


class Supervisor:
    """Serves what `wanted.json` in `folder` asks for."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.folder = folder
        self.listening = socket.create_server((host, port), backlog=2048)
        self.listening.set_inheritable(True)
        address = self.listening.getsockname()
        self.state: dict[str, Any] = {"request": "", "version": None, "error": ""}
        self.state["url"] = f"http://{address[0]}:{address[1]}"
        self.serving: dict[str, Any] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """Until asked to stop."""
        while True:
            wanted = self._wanted()
            if wanted.get("stop"):
                self._end(self.workers)
                return
            if wanted.get("request", "") != self.state["request"]:
                self._change_over(wanted)
            elif any(worker.poll() is not None for worker in self.workers):
                self._restart()
            time.sleep(_TICK_SECONDS)

    def _wanted(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "wanted.json").read_text())
        except FileNotFoundError:
            return {}

    def _change_over(self, wanted: dict[str, Any]) -> None:
        green = [self._start(wanted) for _ in range(wanted["workers"])]
        error = self._wait(green, wanted)
        if error:
            self._end(green)
        else:
            before, self.workers, self.serving = self.workers, green, wanted
            for worker in before:
                with contextlib.suppress(ProcessLookupError):
                    worker.send_signal(signal.SIGUSR1)
            if before:
                time.sleep(_DRAIN_SECONDS)
            self._end(before)
            self.state["version"] = wanted["version"]
        self.state |= {"request": wanted["request"], "error": error}
        self._say()

    def _restart(self) -> None:
        assert self.serving is not None
        for i, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[i] = self._start(self.serving)
        self._wait(self.workers, self.serving)

    def _start(self, wanted: dict[str, Any]) -> subprocess.Popen[bytes]:
        number = self.listening.fileno()
        with (Path(wanted["folder"]) / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", wanted["module"], wanted["folder"], str(number)],
                pass_fds=[number],
                stdout=log,
                stderr=log,
            )

    def _wait(self, workers: list[subprocess.Popen[bytes]], wanted: dict[str, Any]) -> str:
        """Until all have loaded; what went wrong, or an empty text."""
        folder, deadline = Path(wanted["folder"]), time.monotonic() + wanted["health_seconds"]
        while not all((folder / f"loaded-{worker.pid}").exists() for worker in workers):
            if any(worker.poll() is not None for worker in workers):
                lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
                return lines[-1] if lines else "the server ended without a word"
            if time.monotonic() > deadline:
                return f"the server had not loaded after {wanted['health_seconds']:g} s"
            time.sleep(0.02)
        return ""

    def _end(self, workers: list[subprocess.Popen[bytes]]) -> None:
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + _END_SECONDS
        for worker in workers:
            try:
                worker.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def _say(self) -> None:
        temporary = self.folder / ".state.json"
        temporary.write_text(json.dumps(self.state | {"pid": os.getpid()}))
        temporary.replace(self.folder / "state.json")


def main(folder: Path, host: str, port: int) -> None:
    """Take the folder's lock and supervise; ends at once when another process holds it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        Supervisor(folder, host, port).run()
        (folder / "state.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
