"""The process behind a local endpoint: it holds the port, and the workers that serve a model on it.

    python -m mdlc_assets.resources.endpoint_supervisor <folder of the endpoint>

Why so: the supervisor opens the listening socket once and each worker inherits it. Old and new workers
share one queue of connections in the kernel, so a changeover never closes it: a new version proves itself
on a private port first, then takes connections too, then the old one takes no more and finishes those it
has. No proxy stands in the way of a request. (Two sockets with SO_REUSEPORT have a queue each, and Linux
resets what waits in one that is closed.)

It works towards what is written down (see `endpoint_state`): killed at any point and started again, it
brings up what served last, then looks whether anything else is wanted. Killed, it leaves its workers
serving; the next supervisor takes their place. Nothing here imports Dagster: it would cost 100 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import math
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path

from mdlc_assets.resources.endpoint_state import (
    TOKEN_VARIABLE,
    EndpointRequest,
    EndpointState,
    ProcessIdentity,
    Serving,
    check_host,
    read_request,
    read_state,
    write_state,
)

# By name: a resource never imports a later stage.
_WORKER_MODULE = "mdlc_assets.deployment.worker"
_TICK_SECONDS = 2.0
_PING_SECONDS = 5.0
_FAILED_PINGS = 3
_LONGEST_BACKOFF_SECONDS = 30.0
_OVERDUE_SECONDS = 3.0
_ORPHAN_SECONDS = 0.5
_RESTART_HEALTH_SECONDS = 60.0
_LOG = logging.getLogger("mdlc.supervisor")


class RefusedError(RuntimeError):
    """A version that did not prove itself; the text says why, without data."""


@dataclass(eq=False)
class Worker:
    """A worker process and its private port."""

    process: Process
    identity: ProcessIdentity
    private_port: int
    failed_pings: int = 0
    leave_by: float = math.inf

    @property
    def running(self) -> bool:
        return self.process.returncode is None


@dataclass(eq=False)
class Group:
    """The workers of one version."""

    serving: Serving
    workers: list[Worker] = field(default_factory=list)


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


class Supervisor:
    """Holds one endpoint. `folder` is `<root>/<lifecycle>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: EndpointState = read_state(folder)
        self.public: socket.socket | None = None
        self.group: Group | None = None
        self.orphans: list[ProcessIdentity] = []
        self.coming: list[Worker] = []
        self.going: list[Worker] = []
        self.wake = asyncio.Event()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM, then let the workers finish."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.wake.set)
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        self.orphans = [one for one in [*self.state.workers, *self.state.others] if one.alive()]
        check_host(self.state.host, os.environ.get(TOKEN_VARIABLE))
        self.public = open_public_socket(self.state.host, self.state.port)
        self.state.port = self.public.getsockname()[1]
        self.state.supervisor = ProcessIdentity.of(os.getpid())
        self._write()
        tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._watch())]
        stop = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await self._leave()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _work(self) -> None:
        if self.state.serving:
            try:
                await self._change_to(self.state.serving, _RESTART_HEALTH_SECONDS)
            except RefusedError as error:
                _LOG.error("version %s cannot serve again: %s", self.state.serving.version, error)
        while True:
            request = read_request(self.folder)
            if request and request.id != self.state.handled:
                await self._handle(request)
            await self.wake.wait()
            self.wake.clear()

    async def _handle(self, request: EndpointRequest) -> None:
        self.state.refused = ""
        try:
            if not self._serves(request.serving):
                await self._change_to(request.serving, request.health_seconds)
        except RefusedError as error:
            self.state.refused = str(error)
            _LOG.error("version %s refused: %s", request.serving.version, error)
        self.state.handled = request.id
        self._write()

    def _serves(self, serving: Serving) -> bool:
        group = self.group
        return group is not None and group.serving == serving and all(w.running for w in group.workers)

    async def _change_to(self, serving: Serving, health_seconds: float) -> None:
        """Blue and green: all the new workers healthy, then accepting, then the old ones may go."""
        green = Group(serving)
        try:
            async with asyncio.timeout(health_seconds):
                starts = [self._start(serving) for _ in range(serving.workers)]
                for outcome in await asyncio.gather(*starts, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
                    green.workers.append(outcome)
                # Written down before they serve, so that a successor would find them.
                self._write()
                for worker in green.workers:
                    await self._let_accept(worker)
        except BaseException as error:
            # Also those whose start was cut short by another's failure or by the time.
            for worker in self.coming:
                _signal(worker.process, signal.SIGKILL if worker not in green.workers else signal.SIGTERM)
            self.going += self.coming
            self.coming = []
            if isinstance(error, TimeoutError):
                raise RefusedError(
                    f"version {serving.version} did not answer its health check within {health_seconds:g} s"
                ) from None
            raise
        blue, self.group = self.group, green
        if self.state.serving and self.state.serving.version != serving.version:
            self.state.previous = self.state.serving.version
        self.state.serving = serving
        if blue:
            self.going += blue.workers
        self.coming = []
        self._write()
        leaving = [self._let_go(worker) for worker in (blue.workers if blue else [])]
        for orphan in self.orphans:
            orphan.signal(signal.SIGTERM)
        if self.orphans:
            # They cannot tell a supervisor that is not theirs when they have stopped accepting.
            leaving.append(asyncio.sleep(_ORPHAN_SECONDS))
        await asyncio.gather(*leaving)
        _LOG.warning("version %s serves with %s workers", serving.version, serving.workers)

    async def _start(self, serving: Serving) -> Worker:
        """A worker that has answered /ping and a probe on its private port. Raises `RefusedError`."""
        assert self.public is not None
        private = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        with private:
            private.bind(("127.0.0.1", 0))
            private.listen(16)
            fds = (self.public.fileno(), private.fileno())
            command = [sys.executable, "-P", "-m", _WORKER_MODULE, "--model-folder", serving.folder]
            command += ["--version", str(serving.version), "--drain-seconds", str(serving.drain_seconds)]
            command += ["--public-fd", str(fds[0]), "--private-fd", str(fds[1])]
            # One thread scores a row fastest; with several, workers fight for the cores.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, pass_fds=fds, env=environment
            )
            worker = Worker(process, ProcessIdentity.of(process.pid), private.getsockname()[1])
        self.coming.append(worker)
        said = await self._hear(worker)
        if said.get("state") != "healthy":
            raise RefusedError(said.get("reason") or f"the worker ended with exit code {process.returncode}")
        try:
            await self._probe(worker, said["features"])
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            raise RefusedError(f"the health check failed: {error}") from None
        return worker

    async def _hear(self, worker: Worker) -> dict:
        assert worker.process.stdout is not None
        line = await worker.process.stdout.readline()
        if not line:
            await worker.process.wait()
            return {}
        return json.loads(line)

    async def _probe(self, worker: Worker, features: list[str]) -> None:
        status, _ = await ask(worker.private_port, "GET", "/ping")
        if status != 200:
            raise ValueError(f"/ping answered {status}")
        row = json.dumps({"columns": features, "data": [[0.0] * len(features)]}).encode()
        status, answer = await ask(worker.private_port, "POST", "/invocations", row)
        if status != 200:
            raise ValueError(f"a probe row was answered {status}")
        scores = json.loads(answer)["scores"]
        if len(scores) != 1 or not 0 <= scores[0] <= 1:
            raise ValueError("a probe row did not get one score in 0 to 1")

    async def _let_accept(self, worker: Worker) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(b"accept\n")
            await worker.process.stdin.drain()
        except OSError:
            raise RefusedError("the worker ended before it served") from None
        if (await self._hear(worker)).get("state") != "accepting":
            raise RefusedError("the worker ended before it served")

    async def _let_go(self, worker: Worker) -> None:
        """Ask a worker to finish; returns once it takes no more connections."""
        drain = self.state.serving.drain_seconds if self.state.serving else 0
        worker.leave_by = time.monotonic() + drain + _OVERDUE_SECONDS
        _signal(worker.process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OVERDUE_SECONDS):
                await self._hear(worker)

    async def _watch(self) -> None:
        """Replace workers that died or hang."""
        backoff = 0.0
        while True:
            await asyncio.sleep(max(_TICK_SECONDS if self.group else 0.2, backoff))
            self._forget_gone()
            group = self.group
            if group is None:
                continue
            for worker in group.workers:
                await self._ping(worker)
            dead = [worker for worker in group.workers if not worker.running]
            try:
                for worker in dead:
                    _LOG.error("a worker ended with exit code %s", worker.process.returncode)
                    await self._replace(group, worker)
                backoff = 0.0
            except (RefusedError, TimeoutError) as error:
                backoff = min(max(backoff * 2, 1.0), _LONGEST_BACKOFF_SECONDS)
                _LOG.error("a worker could not be replaced, next try in %s s: %s", backoff, error)

    async def _ping(self, worker: Worker) -> None:
        if not worker.running:
            return
        try:
            async with asyncio.timeout(_PING_SECONDS):
                status, _ = await ask(worker.private_port, "GET", "/ping")
        except (OSError, ValueError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
            status = 0
        worker.failed_pings = 0 if status == 200 else worker.failed_pings + 1
        if worker.failed_pings >= _FAILED_PINGS and worker.running:
            _LOG.error("a worker does not answer its pings and is replaced")
            _signal(worker.process, signal.SIGKILL)
            await worker.process.wait()

    async def _replace(self, group: Group, dead: Worker) -> None:
        before = list(self.coming)
        try:
            async with asyncio.timeout(_RESTART_HEALTH_SECONDS):
                worker = await self._start(group.serving)
                if self.group is group:
                    self._write()
                    await self._let_accept(worker)
        finally:
            mine = [one for one in self.coming if one not in before and one.running]
            self.coming = [one for one in self.coming if one not in mine]
        if self.group is not group:
            # A changeover came in between: this version is not wanted any more.
            _signal(worker.process, signal.SIGTERM)
            self.going.append(worker)
            return
        group.workers[group.workers.index(dead)] = worker
        self._write()

    async def _leave(self) -> None:
        everyone = [*(self.group.workers if self.group else []), *self.coming, *self.going]
        for worker in everyone:
            _signal(worker.process, signal.SIGINT)
        for orphan in self.orphans:
            orphan.signal(signal.SIGINT)
        drain = self.state.serving.drain_seconds if self.state.serving else 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain + 3):
                await asyncio.gather(*(worker.process.wait() for worker in everyone))
        for worker in everyone:
            _signal(worker.process, signal.SIGKILL)
        for orphan in self.orphans:
            orphan.signal(signal.SIGKILL)
        self.group, self.coming, self.going, self.orphans = None, [], [], []
        self.state.supervisor = None
        self._write()

    def _forget_gone(self) -> None:
        before = len(self.going) + len(self.orphans)
        for worker in self.going:
            if time.monotonic() > worker.leave_by:
                _signal(worker.process, signal.SIGKILL)
        self.going = [worker for worker in self.going if worker.running]
        self.orphans = [orphan for orphan in self.orphans if orphan.alive()]
        if len(self.going) + len(self.orphans) != before:
            self._write()

    def _write(self) -> None:
        self.state.workers = [w.identity for w in self.group.workers] if self.group else []
        others = [w.identity for w in [*self.coming, *self.going] if w.running]
        self.state.others = [*others, *self.orphans]
        write_state(self.folder, self.state)


async def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One HTTP request to a worker's private port: (status, body)."""
    token = os.environ.get(TOKEN_VARIABLE)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    top, _, content = answer.partition(b"\r\n\r\n")
    words = top.split(maxsplit=2)
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError("the worker gave no HTTP answer")
    return int(words[1]), content


def _signal(process: Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def main() -> None:
    """Hold the endpoint's lock for as long as this process lives, so that there is one supervisor."""
    folder = Path(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    with (folder / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another supervisor holds this endpoint")
        asyncio.run(_supervise(folder))


async def _supervise(folder: Path) -> None:
    await Supervisor(folder).run()


if __name__ == "__main__":
    main()
