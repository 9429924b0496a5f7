"""The process behind a local endpoint: it holds the port, and the workers that serve a model on it.

    python -m mdlc_assets.resources.endpoint_supervisor <folder of the endpoint>

Why so: the supervisor opens the listening socket once and each worker inherits it. Old and new workers
share one queue of connections in the kernel, so a changeover never closes it: a new version proves itself
on a private port first, then takes connections too, then the old one takes no more and finishes those it
has. No proxy stands in the way of a request; but while a new version is on trial the old workers hand a
share of theirs on to it, and answer themselves what it fails at. (Two sockets with SO_REUSEPORT have a
queue each, and Linux resets what waits in one that is closed.)

It works towards what is written down (see `endpoint_state`): killed at any point and started again, it
brings up what served last, then looks whether anything else is wanted; a rollout that was cut short begins
again at its first step. Killed, it leaves its workers serving, which take back what was on trial by
themselves; the next supervisor takes their place. Nothing here imports Dagster: it would cost 100 MB.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mdlc_assets.resources.endpoint_crew import Crew
from mdlc_assets.resources.endpoint_meter import Meter
from mdlc_assets.resources.endpoint_plan import Plan
from mdlc_assets.resources.endpoint_scaling import scaled, workers_for
from mdlc_assets.resources.endpoint_state import (
    TOKEN_VARIABLE,
    EndpointRequest,
    ProcessIdentity,
    Rollout,
    Serving,
    check_host,
    read_request,
)
from mdlc_assets.resources.endpoint_trial import RolledBackError, Trial
from mdlc_assets.resources.endpoint_workers import Group, RefusedError, open_public_socket

_TICK_SECONDS = 2.0
_MEASURE_SECONDS = 1.0
_LOAD_SECONDS = 10.0
_LONGEST_BACKOFF_SECONDS = 30.0
_ORPHAN_SECONDS = 0.5
_RESTART_HEALTH_SECONDS = 60.0
_LOG = logging.getLogger("mdlc.supervisor")


class Supervisor:
    """Holds one endpoint. `folder` is `<root>/<lifecycle>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.crew = Crew(folder)
        self.state = self.crew.state
        self.meter = Meter()
        self.wake = asyncio.Event()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM, then let the workers finish."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.wake.set)
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        check_host(self.state.host, os.environ.get(TOKEN_VARIABLE))
        self.crew.public = open_public_socket(self.state.host, self.state.port)
        self.state.port = self.crew.public.getsockname()[1]
        self.state.supervisor = ProcessIdentity.of(os.getpid())
        self.state.rollout = None
        self.crew.write()
        tasks = [asyncio.create_task(work()) for work in (self._work, self._watch, self._measure)]
        stop = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await self.crew.leave()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _work(self) -> None:
        if self.state.serving:
            try:
                await self._change_to(self.state.serving, _RESTART_HEALTH_SECONDS, Plan())
            except RefusedError as error:
                _LOG.error("version %s cannot serve again: %s", self.state.serving.version, error)
            await self._shadow_with(self.state.shadow, _RESTART_HEALTH_SECONDS)
        while True:
            request = read_request(self.folder)
            if request and request.id != self.state.handled:
                await self._handle(request)
            await self.wake.wait()
            self.wake.clear()

    async def _handle(self, request: EndpointRequest) -> None:
        wanted = request.serving
        self.state.refused, self.state.rolled_back = "", False
        try:
            if not self._serves(wanted):
                self.state.why = await self._change_to(wanted, request.health_seconds, request.plan)
        except RefusedError as error:
            self.state.refused = str(error)
            self.state.rolled_back = isinstance(error, RolledBackError)
            word = "rolled back" if self.state.rolled_back else "refused"
            self.state.why = f"version {wanted.version} was {word}: {error}"
            _LOG.error("%s", self.state.why)
        await self._shadow_with(request.shadow, request.health_seconds)
        self.state.handled = request.id
        self.crew.write()

    def _serves(self, serving: Serving) -> bool:
        group = self.crew.group
        return group is not None and group.serving == serving and all(w.running for w in group.workers)

    async def _change_to(self, serving: Serving, health_seconds: float, plan: Plan) -> str:
        """Blue and green: all the new workers healthy, then a share after the other, then the old ones may go.

        Returns why it serves, in words.
        """
        # Where load has called for more workers, the new version must be able to carry it as well.
        count = max(
            serving.workers,
            len(self.crew.group.workers) if self.crew.group and scaled(serving, self.folder).most_workers else 0,
        )
        green = self.crew.trial = Group(serving)
        why = "it was healthy; nothing watched it"
        try:
            await self.crew.bring_up(green, count, health_seconds)
            if plan.steps and self.crew.group:
                why = await self._shift(green, plan)
            for worker in green.workers:
                await worker.let_accept()
        except BaseException:
            await self.crew.route(0.0)
            for worker in green.everyone:
                worker.end(serving.drain_seconds)
            for worker in green.starting:
                worker.signal(signal.SIGKILL)
            self.crew.going += green.everyone
            raise
        finally:
            self.crew.trial, self.crew.share, self.state.rollout = None, 0.0, None
        blue, self.crew.group = self.crew.group, green
        if self.state.serving and self.state.serving.version != serving.version:
            self.state.previous = self.state.serving.version
        self.state.serving, self.state.wanted = serving, len(green.workers)
        if blue:
            self.crew.going += blue.workers
        self.crew.write()
        await self.crew.route(0.0)
        leaving: list[Any] = [worker.let_go(blue.serving.drain_seconds) for worker in blue.workers] if blue else []
        for orphan in self.crew.orphans:
            orphan.signal(signal.SIGTERM)
        if self.crew.orphans:
            # They cannot tell a supervisor that is not theirs when they have stopped accepting.
            leaving.append(asyncio.sleep(_ORPHAN_SECONDS))
        await asyncio.gather(*leaving)
        _LOG.warning("version %s serves with %s workers: %s", serving.version, len(green.workers), why)
        return why

    async def _shift(self, green: Group, plan: Plan) -> str:
        """Give the new version more and more, and watch each step. Raises `RolledBackError`."""
        trial = Trial(self.folder, plan, green, self.meter)
        trial.refuse_alarmed()
        self.meter.trial.clear()
        for number, step in enumerate(plan.steps, 1):
            self.state.rollout = Rollout(
                green.serving.version,
                green.serving.config,
                step.share,
                number,
                len(plan.steps),
                datetime.now(UTC).isoformat(timespec="seconds"),
            )
            await self.crew.route(step.share)
            self.crew.write()
            end = time.monotonic() + step.bake_seconds
            while (left := end - time.monotonic()) > 0:
                await asyncio.sleep(min(_MEASURE_SECONDS, left))
                if self.crew.group:
                    await self.meter.measure(self.crew.group, green)
                trial.judge()
        shares = ", ".join(f"{100 * step.share:g} %" for step in plan.steps)
        return f"its alarms stayed quiet at {shares} of the traffic: {trial.summary()}"

    async def _shadow_with(self, wanted: Serving | None, health_seconds: float) -> None:
        """Let `wanted` (or nothing) shadow. One that is not healthy leaves what serves alone."""
        if self.crew.shadow and self.crew.shadow.serving == wanted:
            return
        before, self.crew.shadow, self.state.shadow_problem = self.crew.shadow, None, ""
        if wanted and self.crew.group:
            coming = Group(wanted)
            self.crew.shadow = coming
            try:
                await self.crew.bring_up(coming, wanted.workers, health_seconds)
            except RefusedError as error:
                self.crew.shadow, self.state.shadow_problem = None, str(error)
                for worker in coming.everyone:
                    worker.signal(signal.SIGKILL)
                self.crew.going += coming.everyone
        self.state.shadow, self.state.shadow_report = (wanted if self.crew.shadow else None), {}
        self.meter.shadow = {}
        await self.crew.route(self.crew.share)
        if before:
            self.crew.going += before.workers
            for worker in before.workers:
                worker.end(before.serving.drain_seconds)
        self.crew.write()

    async def _watch(self) -> None:
        """Replace workers that died or hang."""
        backoff = 0.0
        while True:
            await asyncio.sleep(max(_TICK_SECONDS if self.crew.group else 0.2, backoff))
            self.crew.forget_gone()
            for group in [group for group in (self.crew.group, self.crew.shadow) if group]:
                try:
                    await self.crew.replace_dead(group)
                    backoff = 0.0
                except (RefusedError, TimeoutError) as error:
                    backoff = min(max(backoff * 2, 1.0), _LONGEST_BACKOFF_SECONDS)
                    _LOG.error("a worker could not be replaced, next try in %s s: %s", backoff, error)

    async def _measure(self) -> None:
        """Count what is answered, and let the number of workers follow the load, while no rollout does."""
        idle_since = time.monotonic()
        while True:
            await asyncio.sleep(_MEASURE_SECONDS)
            group = self.crew.group
            if group is None or self.state.rollout or self.crew.trial:
                continue
            await self.meter.measure(group, None)
            if self.meter.shadow and self.meter.shadow != self.state.shadow_report:
                self.state.shadow_report = self.meter.shadow
                self.crew.write()
            serving = scaled(group.serving, self.folder)
            if serving.most_workers <= serving.workers or group is not self.crew.group:
                continue
            wanted = workers_for(serving, self.meter.rate(_LOAD_SECONDS))
            if wanted >= len(group.workers):
                idle_since = time.monotonic()
            if wanted > len(group.workers):
                await self._scale_out(group, wanted)
            elif time.monotonic() - idle_since > serving.scale_in_seconds:
                idle_since = time.monotonic()
                leaver = group.workers.pop()
                self.state.wanted = len(group.workers)
                self.crew.going.append(leaver)
                self.crew.write()
                await leaver.let_go(serving.drain_seconds)

    async def _scale_out(self, group: Group, wanted: int) -> None:
        self.state.wanted = wanted
        try:
            while len(group.workers) < wanted and group is self.crew.group:
                await self.crew.add(group)
        except (RefusedError, TimeoutError) as error:
            _LOG.error("a worker could not be added: %s", error)
            self.state.wanted = len(group.workers)


def main() -> None:
    """Hold the endpoint's lock for as long as this process lives, so that there is one supervisor."""
    folder = Path(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    with (folder / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another supervisor holds this endpoint")
        asyncio.run(Supervisor(folder).run())


if __name__ == "__main__":
    main()
