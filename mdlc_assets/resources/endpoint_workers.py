"""Worker processes as the supervisor sees them: started, proved, told what to do, and let go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdlc_assets.resources.endpoint_state import ProcessIdentity, Serving
from mdlc_assets.resources.loopback import Loopback

# By name: a resource never imports a later stage.
_WORKER_MODULE = "mdlc_assets.deployment.worker"
_PING_SECONDS = 5.0
_ACCEPT_SECONDS = 10.0
_FAILED_PINGS = 3
_OVERDUE_SECONDS = 3.0


class RefusedError(RuntimeError):
    """A version that did not prove itself; the text says why, without data."""


@dataclass(eq=False)
class Worker:
    """A worker process and its private port."""

    process: Process
    identity: ProcessIdentity
    private: Loopback
    failed_pings: int = 0
    leave_by: float = math.inf

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has gone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def hear(self) -> dict[str, Any]:
        """The next line the worker says; an empty one when it has ended."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            await self.process.wait()
            return {}
        return json.loads(line)

    async def tell(self, what: str, more: Mapping[str, Any] | None = None) -> bool:
        """Tell the worker to do something; says whether it could be told."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": what, **(more or {})}).encode() + b"\n")
            await self.process.stdin.drain()
        except OSError:
            return False
        return True

    async def let_accept(self) -> None:
        """Let it take connections from the public socket. Raises `RefusedError`."""
        try:
            async with asyncio.timeout(_ACCEPT_SECONDS):
                if not await self.tell("accept") or (await self.hear()).get("state") != "accepting":
                    raise RefusedError("the worker ended before it served")
        except TimeoutError:
            raise RefusedError("the worker did not take over: it hangs") from None

    async def let_go(self, drain_seconds: float) -> None:
        """Ask it to finish; returns once it takes no more connections."""
        self.end(drain_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OVERDUE_SECONDS):
                await self.hear()

    def end(self, drain_seconds: float) -> None:
        """Ask it to finish, without waiting."""
        self.leave_by = time.monotonic() + drain_seconds + _OVERDUE_SECONDS
        self.private.close()
        self.signal(signal.SIGTERM)

    async def ping(self) -> None:
        """Ask /ping; a worker that has not answered three times in a row is ended."""
        if not self.running:
            return
        try:
            status, _ = await self.private.ask("GET", "/ping", seconds=_PING_SECONDS)
        except (OSError, ValueError):  # TimeoutError is an OSError
            status = 0
        self.failed_pings = 0 if status == 200 else self.failed_pings + 1
        if self.failed_pings >= _FAILED_PINGS and self.running:
            self.signal(signal.SIGKILL)
            await self.process.wait()

    async def report(self, seconds: float) -> dict[str, Any] | None:
        """What the worker has counted, or None when it does not say within `seconds`."""
        try:
            accept = {"Accept": "application/json"}
            status, answer = await self.private.ask("GET", "/metrics", headers=accept, seconds=seconds)
            return json.loads(answer) if status == 200 else None
        except (OSError, ValueError):
            return None


@dataclass(eq=False)
class Group:
    """The workers of one version; `starting` are those that have not proved themselves yet."""

    serving: Serving
    workers: list[Worker] = field(default_factory=list)
    starting: list[Worker] = field(default_factory=list)

    @property
    def everyone(self) -> list[Worker]:
        return [*self.workers, *self.starting]

    def ports(self) -> list[int]:
        """The private ports of those that run."""
        return [worker.private.port for worker in self.workers if worker.running]


def open_public_socket(host: str, port: int) -> socket.socket:
    """A listening socket. SO_REUSEPORT lets a new supervisor in beside workers whose own was killed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off on each connection (40 ms an answer).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((host, port))
    listening.listen(2048)
    listening.setblocking(False)
    return listening


async def start_worker(group: Group, public: socket.socket, notes: Path) -> Worker:
    """A worker that has answered /ping and a probe on its private port. Raises `RefusedError`.

    It stands in `group.starting` from the moment there is a process, and is left there when it fails.
    """
    serving = group.serving
    private = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with private:
        private.bind(("127.0.0.1", 0))
        private.listen(256)
        fds = (public.fileno(), private.fileno())
        command = [sys.executable, "-P", "-m", _WORKER_MODULE, "--model-folder", serving.folder]
        command += ["--version", str(serving.version), "--drain-seconds", str(serving.drain_seconds)]
        command += ["--public-fd", str(fds[0]), "--private-fd", str(fds[1])]
        command += ["--notes-folder", str(notes), "--capture", str(serving.capture)]
        if serving.container:
            command += ["--container", json.dumps(serving.container)]
        # One thread scores a row fastest; with several, workers fight for the cores.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, pass_fds=fds, env=environment)
        worker = Worker(process, ProcessIdentity.of(process.pid), Loopback(private.getsockname()[1]))
    group.starting.append(worker)
    said = await worker.hear()
    if said.get("state") != "healthy":
        raise RefusedError(said.get("reason") or f"the worker ended with exit code {process.returncode}")
    try:
        # Nobody but a foreign image knows what rows it takes: it has answered its own /ping.
        if not serving.container:
            await _probe(worker, said["features"])
    except (OSError, ValueError) as error:
        raise RefusedError(f"the health check failed: {error}") from None
    return worker


async def _probe(worker: Worker, features: list[str]) -> None:
    status, _ = await worker.private.ask("GET", "/ping")
    if status != 200:
        raise ValueError(f"/ping answered {status}")
    row = json.dumps({"columns": features, "data": [[0.0] * len(features)]}).encode()
    json_type = {"Content-Type": "application/json"}
    status, answer = await worker.private.ask("POST", "/invocations", row, json_type)
    if status != 200:
        raise ValueError(f"a probe row was answered {status}")
    scores = json.loads(answer)["scores"]
    if len(scores) != 1 or not 0 <= scores[0] <= 1:
        raise ValueError("a probe row did not get one score in 0 to 1")
