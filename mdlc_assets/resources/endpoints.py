"""Local endpoints: a real server for each lifecycle, which outlives the run that deployed it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from mdlc_assets.resources.endpoint_models import clear_models, stage_model
from mdlc_assets.resources.endpoint_plan import Plan
from mdlc_assets.resources.endpoint_state import (
    TOKEN_VARIABLE,
    EndpointRequest,
    EndpointState,
    ExposedError,
    Serving,
    check_host,
    read_request,
    read_state,
    write_json,
    write_request,
    write_state,
)
from mdlc_assets.resources.endpoint_status import Condition, Deployed, EndpointStatus, Outcome, Shadow
from mdlc_assets.resources.endpoint_trial import TAKE_BACK

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,40}$")
_POLL_SECONDS = 0.03
_START_SECONDS = 20.0
_SUPERVISOR_MODULE = "mdlc_assets.resources.endpoint_supervisor"
_LONGEST_LOG = 1_000_000
_DRAIN_SECONDS = 10.0


class EndpointError(RuntimeError):
    """The endpoint could not be brought into the state asked for; the text says why and what to do."""


class DeploymentRefusedError(EndpointError):
    """A version did not prove itself. What served before still serves."""


class DeploymentRolledBackError(DeploymentRefusedError):
    """A version had a share of the traffic and lost it again, by an alarm or by hand."""


class Endpoints(dg.ConfigurableResource):
    """Endpoints on this machine, their state in `root`. On AWS a SageMaker endpoint takes this place.

    `host` other than loopback is refused unless the environment has a token in MDLC_ENDPOINT_TOKEN.
    """

    root: str
    host: str = "127.0.0.1"

    def deploy(
        self,
        lifecycle: str,
        model_folder: Path | str,
        version: int,
        health_seconds: float = 30.0,
        workers: int = 1,
        *,
        port: int = 0,
        drain_seconds: float = 10.0,
        plan: Plan | None = None,
        shadow: Shadow | None = None,
        config: str = "",
        most_workers: int = 0,
        calls_per_minute: float = 0.0,
        scale_in_seconds: float = 60.0,
        capture: float = 0.0,
    ) -> Deployed:
        """Serve `version` from a copy of `model_folder`, changing over without losing a request.

        Does nothing when just that serves already. Port 0 takes a free one at first and keeps it. `plan` says
        in which shares, and by which alarms it is taken back. Between `workers` and `most_workers` as many
        run as the load asks for, `calls_per_minute` for each. The share `capture` of requests is written down.

        Raises `DeploymentRefusedError` when the version is not healthy within `health_seconds`, and
        `DeploymentRolledBackError` when its rollout was taken back: what served before still does. Raises
        `EndpointError` when the endpoint itself cannot run.
        """
        folder = self._prepared(lifecycle, model_folder)
        serving = (workers, drain_seconds, config, most_workers, calls_per_minute, scale_in_seconds, capture)
        with _locked(folder):
            request = self._wanted(folder, model_folder, version, health_seconds, plan, shadow, *serving)
            before = read_state(folder)
            changed = before.serving != request.serving or _condition(before) != "serving"
            self._refuse_other_port(lifecycle, before, port)
            state = before
            if changed or before.shadow != request.shadow:
                self._start_supervisor(folder, port)
                # It brings up what served last by itself; when that is what is wanted, that is all.
                self._ask(folder, request)
                try:
                    state = self._answer(folder, request)
                finally:
                    clear_models(folder / "models", read_state(folder))
            url, pid = self._url(state), state.workers[0].pid
            return Deployed(url, version, pid, state.previous, changed, state.why, state.shadow_problem)

    def begin(
        self,
        lifecycle: str,
        model_folder: Path | str,
        version: int,
        health_seconds: float,
        workers: int,
        *,
        port: int,
        plan: Plan,
        shadow: Shadow | None,
        config: str,
        capture: float,
        container: dict[str, Any] | None = None,
    ) -> str:
        """As `deploy`, without waiting: the supervisor sees it through. The answer is for `outcome`."""
        folder = self._prepared(lifecycle, model_folder)
        with _locked(folder):
            self._refuse_other_port(lifecycle, read_state(folder), port)
            clear_models(folder / "models", read_state(folder))
            serving = (workers, _DRAIN_SECONDS, config, 0, 0.0, 60.0, capture, container)
            request = self._wanted(folder, model_folder, version, health_seconds, plan, shadow, *serving)
            self._start_supervisor(folder, port)
            self._ask(folder, request)
            return request.id

    def revive(self, lifecycle: str) -> None:
        """Start the supervisor again where it was killed: it brings up what served, and goes on with a request."""
        folder = self.folder(lifecycle)
        state, request = read_state(folder), read_request(folder)
        wanted = state.serving is not None or (request is not None and request.id != state.handled)
        if wanted and not _alive(state):
            with _locked(folder):
                self._start_supervisor(folder, 0)

    def outcome(self, lifecycle: str, request: str) -> Outcome | None:
        """What became of a request; None while the supervisor works on it."""
        state, last = read_state(self.folder(lifecycle)), read_request(self.folder(lifecycle))
        if state.handled == request:
            return Outcome(state.refused, state.rolled_back, state.why)
        if last is None or last.id != request:
            # Another request has taken its place, and what it came to is not this one's.
            return Outcome("", False, state.why)
        if not _alive(state):
            return Outcome("its supervisor has ended", False, "the supervisor has ended")
        return None

    def _prepared(self, lifecycle: str, model_folder: Path | str) -> Path:
        folder = self.folder(lifecycle)
        if not Path(model_folder).is_dir():
            raise EndpointError(f"there is no model folder {model_folder}. Mend: give the folder of a saved model.")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _wanted(
        self,
        folder: Path,
        model_folder: Path | str,
        version: int,
        health_seconds: float,
        plan: Plan | None,
        shadow: Shadow | None,
        *serving: Any,
    ) -> EndpointRequest:
        wanted = Serving(version, str(stage_model(Path(model_folder), folder / "models", version)), *serving)
        beside = None
        if shadow is not None:
            copy = stage_model(shadow.model_folder, folder / "models", shadow.version)
            beside = Serving(shadow.version, str(copy), drain_seconds=wanted.drain_seconds)
        return EndpointRequest(uuid.uuid4().hex, wanted, health_seconds, plan or Plan(), beside)

    def _refuse_other_port(self, lifecycle: str, state: EndpointState, port: int) -> None:
        if port and state.port not in (0, port) and _alive(state):
            raise EndpointError(f"{lifecycle} serves on port {state.port}, not {port}. Mend: stop the endpoint first.")

    def status(self, lifecycle: str) -> EndpointStatus:
        """What the endpoint of a lifecycle is and does. Changes nothing."""
        state = read_state(self.folder(lifecycle))
        running = [worker for worker in state.workers if worker.alive()]
        return EndpointStatus(
            _condition(state),
            self._url(state) if state.port else None,
            state.serving.version if state.serving and running else None,
            state.previous,
            running[0].pid if running else None,
            len(running),
            state.serving.config if state.serving else "",
            state.why,
            state.rollout if _alive(state) else None,
            state.rolled_back,
            state.shadow.version if state.shadow else None,
            state.shadow_report,
        )

    def take_back(self, lifecycle: str, who: str, reason: str) -> bool:
        """Roll back a rollout under way; what served before it takes everything again within a second or two.

        Says whether there was one.
        """
        folder = self.folder(lifecycle)
        state = read_state(folder)
        if state.rollout is None or not _alive(state):
            return False
        write_json(folder / TAKE_BACK, {"who": who, "reason": reason, "at": time.time()})
        return True

    def notes(self, lifecycle: str) -> Path:
        """Where captured traffic and shadow comparisons lie, as JSON lines."""
        return self.folder(lifecycle) / "notes"

    def headers(self) -> dict[str, str]:
        """What a caller on this machine must send along: the token, where the environment has one."""
        token = os.environ.get(TOKEN_VARIABLE)
        return {"authorization": f"Bearer {token}"} if token else {}

    def stop(self, lifecycle: str) -> None:
        """Take the endpoint down; requests under way are answered first. Nothing happens when none runs."""
        folder = self.folder(lifecycle)
        if not folder.exists():
            return
        with _locked(folder):
            state = read_state(folder)
            drain = state.serving.drain_seconds if state.serving else 0.0
            if state.supervisor and state.supervisor.signal(signal.SIGTERM):
                _wait_until(lambda: not _alive(state), drain + 8)
                if state.supervisor.alive():
                    state.supervisor.signal(signal.SIGKILL)
            everyone = [*state.workers, *state.others, *read_state(folder).others]
            for worker in everyone:
                worker.signal(signal.SIGINT)
            _wait_until(lambda: not any(worker.alive() for worker in everyone), drain + 3)
            for worker in everyone:
                worker.signal(signal.SIGKILL)
            if state.serving:
                state.previous = state.serving.version
            state.serving, state.supervisor, state.workers, state.others = None, None, [], []
            state.shadow, state.rollout = None, None
            # What was under way is not taken up again.
            asked = read_request(folder)
            state.handled = asked.id if asked else state.handled
            write_state(folder, state)

    def folder(self, lifecycle: str) -> Path:
        """Where an endpoint's state lies."""
        if not _NAME.match(lifecycle):
            raise EndpointError(f"{lifecycle!r} is not the name of a lifecycle")
        return Path(self.root).expanduser().absolute() / lifecycle

    def _url(self, state: EndpointState) -> str:
        host = f"[{state.host}]" if ":" in state.host else state.host
        return f"http://{host}:{state.port}"

    def _start_supervisor(self, folder: Path, port: int) -> EndpointState:
        state = read_state(folder)
        if _alive(state):
            return state
        try:
            check_host(self.host, os.environ.get(TOKEN_VARIABLE))
        except ExposedError as error:
            raise EndpointError(str(error)) from None
        own = any(worker.alive() for worker in [*state.workers, *state.others])
        if not own and state.port and not port and not _free(self.host, state.port):
            state.port = 0
        if port and not own and not _free(self.host, port):
            raise EndpointError(f"port {port} is taken by another process. Mend: end it, or declare another port.")
        state.host, state.port, state.supervisor = self.host, port or state.port, None
        write_state(folder, state)
        package_root = str(Path(__file__).parents[2])
        paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        log_path = folder / "endpoint.log"
        if log_path.exists() and log_path.stat().st_size > _LONGEST_LOG:
            log_path.replace(folder / "endpoint.log.1")
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", _SUPERVISOR_MODULE, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                # A session of its own: neither the run's end nor a Ctrl-C at its terminal ends it.
                start_new_session=True,
            )
        _wait_until(lambda: process.poll() is not None or _alive(read_state(folder)), _START_SECONDS)
        state = read_state(folder)
        if not _alive(state):
            raise EndpointError(f"the endpoint's supervisor did not start: {_tail(log_path)}")
        return state

    def _ask(self, folder: Path, request: EndpointRequest) -> None:
        write_request(folder, request)
        supervisor = read_state(folder).supervisor
        if supervisor:
            supervisor.signal(signal.SIGHUP)

    def _answer(self, folder: Path, request: EndpointRequest) -> EndpointState:
        # What served last comes up first where the supervisor is new.
        patience = 2 * request.health_seconds + request.plan.seconds() + _START_SECONDS

        def handled() -> bool:
            now = read_state(folder)
            return now.handled == request.id or not _alive(now)

        _wait_until(handled, patience)
        state = read_state(folder)
        if state.handled != request.id:
            raise EndpointError(f"the endpoint's supervisor gave no answer: {_tail(folder / 'endpoint.log')}")
        if state.refused:
            kept = f"version {state.serving.version} still serves" if state.serving else "nothing serves"
            if state.rolled_back:
                raise DeploymentRolledBackError(
                    f"version {request.serving.version} was rolled back: {state.refused}. {kept.capitalize()}. "
                    "Mend: find out why before it is deployed again, or `mdlc rollback` to the version that serves."
                )
            raise DeploymentRefusedError(
                f"version {request.serving.version} was not deployed: {state.refused}. {kept.capitalize()}. "
                f"Mend: see {folder / 'endpoint.log'}; approve a version that loads and scores."
            )
        return state


def _condition(state: EndpointState) -> Condition:
    if state.serving is None:
        return "stopped" if state.port else "absent"
    running = sum(worker.alive() for worker in state.workers)
    if not running:
        return "down"
    if not _alive(state):
        return "unsupervised"
    return "serving" if running >= state.wanted else "impaired"


def _alive(state: EndpointState) -> bool:
    return state.supervisor is not None and state.supervisor.alive()


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _wait_until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (reached := done()) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    return reached


def _tail(log: Path, lines: int = 3) -> str:
    text = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return " | ".join(text[-lines:])[-500:] or "nothing was logged"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One deployment at a time for an endpoint; the kernel lets go when its process dies."""
    with (folder / "deploy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
