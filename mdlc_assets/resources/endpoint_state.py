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

TOKEN_VARIABLE = "MDLC_ENDPOINT_TOKEN"  # noqa: S105 - the name of the variable, not a token


class ExposedError(RuntimeError):
    """An endpoint was to listen beyond this machine without a token."""


def check_host(host: str, token: str | None) -> None:
    """Raise `ExposedError` when `host` is beyond this machine and no token protects the endpoint."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not token:
        raise ExposedError(
            f"the endpoint may not listen on {host} without a token. "
            f"Mend: set {TOKEN_VARIABLE}, or listen on 127.0.0.1."
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
    """One version as it is served: its staged folder and how many workers."""

    version: int
    folder: str
    workers: int = 1
    drain_seconds: float = 10.0


@dataclass(frozen=True)
class EndpointRequest:
    """What the resource asks of the supervisor. `id` tells its answer from those before."""

    id: str
    serving: Serving
    health_seconds: float


@dataclass
class EndpointState:
    """What is so. `others` are workers about to serve or about to leave.

    `handled` and `refused` answer the last request: its id, and why it was refused, or nothing.
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


def read_state(folder: Path) -> EndpointState:
    """The state of the endpoint in `folder`; an empty one where there was never any."""
    content = _read_json(folder / "state.json")
    if content is None:
        return EndpointState()
    return EndpointState(
        **{
            **content,
            "supervisor": _identity(content["supervisor"]),
            "serving": Serving(**content["serving"]) if content["serving"] else None,
            "workers": [ProcessIdentity(**item) for item in content["workers"]],
            "others": [ProcessIdentity(**item) for item in content["others"]],
        }
    )


def write_state(folder: Path, state: EndpointState) -> None:
    """Replace the state, wholly or not at all."""
    _write_json(folder / "state.json", asdict(state))


def read_request(folder: Path) -> EndpointRequest | None:
    """What is wanted, if anything ever was."""
    content = _read_json(folder / "request.json")
    if content is None:
        return None
    return EndpointRequest(**{**content, "serving": Serving(**content["serving"])})


def write_request(folder: Path, request: EndpointRequest) -> None:
    """Replace the request, wholly or not at all."""
    _write_json(folder / "request.json", asdict(request))


def _identity(content: dict[str, Any] | None) -> ProcessIdentity | None:
    return ProcessIdentity(**content) if content else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        with temporary.open("w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
