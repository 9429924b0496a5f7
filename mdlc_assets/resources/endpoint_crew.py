"""Who works for an endpoint: the group that serves, one on trial, one that shadows, and those on their way out.

Every change is written down before anything depends on it, so that a successor finds all processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from pathlib import Path
from typing import Any

from mdlc_assets.resources.endpoint_state import EndpointState, ProcessIdentity, read_state, write_state
from mdlc_assets.resources.endpoint_workers import Group, RefusedError, Worker, start_worker

_RESTART_HEALTH_SECONDS = 60.0
_LOG = logging.getLogger("mdlc.supervisor")


class Crew:
    """The processes of the endpoint in `folder`, and what is written down of them. `public` is its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: EndpointState = read_state(folder)
        self.public: socket.socket | None = None
        self.group: Group | None = None
        self.trial: Group | None = None
        self.shadow: Group | None = None
        self.share = 0.0
        self.orphans: list[ProcessIdentity] = [one for one in [*self.state.workers, *self.state.others] if one.alive()]
        self.going: list[Worker] = []

    async def bring_up(self, group: Group, count: int, health_seconds: float) -> None:
        """Start `count` workers at once; all of them healthy within the time, or `RefusedError`."""
        try:
            async with asyncio.timeout(health_seconds):
                starts = [self._start(group) for _ in range(count)]
                for outcome in await asyncio.gather(*starts, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
        except TimeoutError:
            raise RefusedError(
                f"version {group.serving.version} did not answer its health check within {health_seconds:g} s"
            ) from None
        # Written down before they serve, so that a successor would find them.
        self.write()

    async def _start(self, group: Group) -> None:
        assert self.public is not None
        worker = await start_worker(group, self.public, self.folder / "notes")
        group.starting.remove(worker)
        group.workers.append(worker)

    async def add(self, group: Group, dead: Worker | None = None) -> None:
        """One more worker for a group, or one in place of a dead one. Raises `RefusedError`, TimeoutError."""
        assert self.public is not None
        before = list(group.starting)
        worker = None
        try:
            async with asyncio.timeout(_RESTART_HEALTH_SECONDS):
                worker = await start_worker(group, self.public, self.folder / "notes")
                self.write()
                if self.group is group:
                    await worker.let_accept()
        finally:
            mine = [one for one in group.starting if one not in before]
            group.starting = [one for one in group.starting if one not in mine]
            self.going += [one for one in mine if one is not worker]
            for one in mine:
                if one is not worker:
                    one.signal(signal.SIGKILL)
        if group not in (self.group, self.shadow):
            # A changeover came in between: this version is not wanted any more.
            worker.end(group.serving.drain_seconds)
            self.going.append(worker)
            return
        if dead is not None:
            group.workers[group.workers.index(dead)] = worker
        else:
            group.workers.append(worker)
        if group is self.group:
            await worker.tell("route", self._routes())
        else:
            await self.route(self.share)
        self.write()

    async def replace_dead(self, group: Group) -> None:
        """Replace workers of a group that died or hang. Raises `RefusedError`, TimeoutError."""
        for worker in list(group.workers):
            await worker.ping()
        for worker in [worker for worker in group.workers if not worker.running]:
            _LOG.error("a worker ended with exit code %s", worker.process.returncode)
            await self.add(group, worker)

    async def route(self, share: float) -> None:
        """Tell each serving worker where its requests go."""
        self.share = share
        for worker in self.group.workers if self.group else []:
            await worker.tell("route", self._routes())

    def _routes(self) -> dict[str, Any]:
        route: dict[str, Any] = {}
        if self.trial and self.share:
            route |= {"share": self.share, "trial": self.trial.ports(), "trial_version": self.trial.serving.version}
        if self.shadow:
            route |= {"shadow": self.shadow.ports(), "shadow_version": self.shadow.serving.version}
        return route

    def forget_gone(self) -> None:
        """Forget those who have gone; end those who should have."""
        before = len(self.going) + len(self.orphans)
        for worker in self.going:
            if time.monotonic() > worker.leave_by:
                worker.signal(signal.SIGKILL)
        self.going = [worker for worker in self.going if worker.running]
        self.orphans = [orphan for orphan in self.orphans if orphan.alive()]
        if len(self.going) + len(self.orphans) != before:
            self.write()

    async def leave(self) -> None:
        """Let everyone finish and go; whoever stays longer is ended."""
        groups = [group for group in (self.group, self.trial, self.shadow) if group]
        everyone = [*(worker for group in groups for worker in group.everyone), *self.going]
        for worker in everyone:
            worker.signal(signal.SIGINT)
        for orphan in self.orphans:
            orphan.signal(signal.SIGINT)
        drain = self.state.serving.drain_seconds if self.state.serving else 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain + 3):
                await asyncio.gather(*(worker.process.wait() for worker in everyone))
        for worker in everyone:
            worker.signal(signal.SIGKILL)
        for orphan in self.orphans:
            orphan.signal(signal.SIGKILL)
        self.group, self.trial, self.shadow, self.going, self.orphans = None, None, None, [], []
        self.state.supervisor, self.state.rollout = None, None
        self.write()

    def write(self) -> None:
        """Write down who works."""
        self.state.workers = [w.identity for w in self.group.workers] if self.group else []
        others = [worker for group in (self.trial, self.shadow) if group for worker in group.everyone]
        others += [*(self.group.starting if self.group else []), *self.going]
        running = dict.fromkeys(worker.identity for worker in others if worker.running)
        self.state.others = [*running, *self.orphans]
        write_state(self.folder, self.state)
