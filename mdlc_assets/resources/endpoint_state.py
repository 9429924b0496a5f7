"""What is written down about an endpoint, and which processes it names. Shared by resource and supervisor.

<root>/<lifecycle>/state.json      what is so; the supervisor writes it (without one, the resource)
<root>/<lifecycle>/request.json    what is wanted next; only the resource writes it
<root>/<lifecycle>/models/         the model folders in use
<root>/<lifecycle>/endpoint.log    what supervisor and workers said
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mdlc_assets.resources.endpoint_plan import Plan

TOKEN_VARIABLE = "MDLC_ENDPOINT_TOKEN"  # noqa: S105 - the name of the variable, not a token


class ExposedError(RuntimeError):
    """An endpoint was to listen beyond this machine without a token."""


def check_host(host: str, token: str | None, variable: str = TOKEN_VARIABLE) -> None:
    """Raise `ExposedError` when `host` is beyond this machine and no token, of `variable`, protects the server."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not token:
        raise ExposedError(
            f"nothing may listen on {host} without a token. Mend: set {variable}, or listen on 127.0.0.1."
        )


@dataclass(frozen=True)
class ProcessIdentity:
    """A process by its id and its start, so that another one that got the same id is never taken for it."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The identity of a running process; raises ProcessLookupError."""
        started = start_of(pid)
        if started is None:
            raise ProcessLookupError(pid)
        return cls(pid, started)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return start_of(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal if this very process still runs; say whether it did."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def start_of(pid: int) -> str | None:
    """When a process began, as text that differs for each; None when it does not run (or is a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        found = subprocess.run(
            ["ps", "-o", "lstart=,stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout.strip()
        return None if not found or found.split()[-1].startswith("Z") else found.rsplit(maxsplit=1)[0]
    except ProcessLookupError:
        return None
    # The name in parentheses may hold spaces; the state follows it, the start is the 22nd field.
    state, *fields = text.rpartition(")")[2].split()
    if state in ("Z", "X"):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{fields[18]}"


@dataclass(frozen=True)
class Serving:
    """One version as it is served: its staged folder and how many workers.

    `config` names the endpoint configuration it comes from. `container` says how to run an image's own server in
    place of ours (see `deployment/front.py`). With `most_workers` above `workers` there are as
    many in between as `calls_per_minute` for each asks for. `capture` is the share of requests written down.
    """

    version: int
    folder: str
    workers: int = 1
    drain_seconds: float = 10.0
    config: str = ""
    most_workers: int = 0
    calls_per_minute: float = 0.0
    scale_in_seconds: float = 60.0
    capture: float = 0.0
    container: dict[str, Any] | None = None


@dataclass(frozen=True)
class EndpointRequest:
    """What the resource asks of the supervisor. `id` tells its answer from those before.

    `shadow` gets a copy of each request, for as long as nothing else is asked for.
    """

    id: str
    serving: Serving
    health_seconds: float
    plan: Plan = field(default_factory=Plan)
    shadow: Serving | None = None


@dataclass
class Rollout:
    """A rollout under way: the version on trial, its share of the traffic, and since when (ISO)."""

    version: int
    config: str
    share: float
    step: int
    steps: int
    since: str


@dataclass
class EndpointState:
    """What is so. `others` are workers about to serve or about to leave, or of a shadow.

    `handled` and `refused` answer the last request: its id, and why it was refused, or nothing;
    `rolled_back` when the version had traffic before. `why` says in words why it is this version that serves.
    """

    host: str = "127.0.0.1"
    port: int = 0
    supervisor: ProcessIdentity | None = None
    serving: Serving | None = None
    previous: int | None = None
    workers: list[ProcessIdentity] = field(default_factory=list)
    others: list[ProcessIdentity] = field(default_factory=list)
    handled: str = ""
    refused: str = ""
    rolled_back: bool = False
    why: str = ""
    wanted: int = 0
    rollout: Rollout | None = None
    shadow: Serving | None = None
    shadow_problem: str = ""
    shadow_report: dict[str, Any] = field(default_factory=dict)


def read_state(folder: Path) -> EndpointState:
    """The state of the endpoint in `folder`; an empty one where there was never any."""
    content = read_json(folder / "state.json")
    if content is None:
        return EndpointState()
    return EndpointState(
        **{
            **content,
            "supervisor": _identity(content["supervisor"]),
            "serving": _serving(content["serving"]),
            "shadow": _serving(content.get("shadow")),
            "rollout": Rollout(**content["rollout"]) if content.get("rollout") else None,
            "workers": [ProcessIdentity(**item) for item in content["workers"]],
            "others": [ProcessIdentity(**item) for item in content["others"]],
        }
    )


def write_state(folder: Path, state: EndpointState) -> None:
    """Replace the state, wholly or not at all."""
    write_json(folder / "state.json", asdict(state))


def read_request(folder: Path) -> EndpointRequest | None:
    """What is wanted, if anything ever was."""
    content = read_json(folder / "request.json")
    if content is None:
        return None
    return EndpointRequest(
        **{
            **content,
            "serving": Serving(**content["serving"]),
            "plan": Plan.read(content["plan"]),
            "shadow": _serving(content["shadow"]),
        }
    )


def write_request(folder: Path, request: EndpointRequest) -> None:
    """Replace the request, wholly or not at all."""
    write_json(folder / "request.json", asdict(request))


def _serving(content: dict[str, Any] | None) -> Serving | None:
    return Serving(**content) if content else None


def _identity(content: dict[str, Any] | None) -> ProcessIdentity | None:
    return ProcessIdentity(**content) if content else None


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a file, or None when it is not there."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file, wholly or not at all."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        with temporary.open("w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
