"""What a local endpoint is asked for and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mdlc_assets.resources.endpoint_state import Rollout

Condition = Literal["serving", "impaired", "unsupervised", "down", "stopped", "absent"]


@dataclass(frozen=True)
class Shadow:
    """A version that gets a copy of each request, and the folder of its model."""

    version: int
    model_folder: Path


@dataclass(frozen=True)
class Deployed:
    """What serves after a deployment, and why. `changed` is false when it served already."""

    url: str
    version: int
    pid: int
    previous: int | None
    changed: bool
    why: str = ""
    shadow_problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a request: why it was refused (nothing when it was not), and the verdict in words."""

    refused: str
    rolled_back: bool
    why: str


@dataclass(frozen=True)
class EndpointStatus:
    """What is so now.

    `serving`: all is well. `impaired`: fewer workers run than wanted; they are being replaced.
    `unsupervised`: workers serve but nobody would replace them; `down`: something should serve and does
    not; both are mended by deploying again. `stopped`: taken down on purpose. `absent`: never deployed.
    `version` is what answers now, None when nothing does; `config` the endpoint configuration it comes from and
    `why` the last verdict in words. `shadow` is what a shadow's answers were beside those that callers got.
    """

    condition: Condition
    url: str | None
    version: int | None
    previous: int | None
    pid: int | None
    workers: int
    config: str = ""
    why: str = ""
    rollout: Rollout | None = None
    rolled_back: bool = False
    shadow_version: int | None = None
    shadow: Mapping[str, Any] = field(default_factory=dict)
