"""How a version comes into service: in which shares of the traffic, how long each is watched, by which alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Strategy = Literal["all_at_once", "canary", "linear"]


@dataclass(frozen=True)
class Step:
    """A share of the traffic (0 to 1) for the new version, and how long it is watched before the next step."""

    share: float
    bake_seconds: float


@dataclass(frozen=True)
class Plan:
    """The steps of a rollout. Without steps the new version takes everything as soon as it is healthy.

    `alarms` are CloudWatch's requests (PutMetricAlarm); one that goes off takes the rollout back.
    `alarm_folder` is where their states are written, and where others may set one.
    """

    steps: tuple[Step, ...] = ()
    alarms: tuple[Mapping[str, Any], ...] = ()
    alarm_folder: str = ""

    def seconds(self) -> float:
        """How long a rollout takes that nothing stops."""
        return sum(step.bake_seconds for step in self.steps)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Plan:
        """A plan as JSON keeps it."""
        steps = tuple(Step(**step) for step in content["steps"])
        return cls(steps, tuple(content["alarms"]), content["alarm_folder"])


def steps_of(strategy: Strategy, share: float, bake_seconds: float) -> tuple[Step, ...]:
    """The steps of a strategy, as SageMaker takes them: each is watched, the last one too."""
    if bake_seconds <= 0:
        return ()
    if strategy == "all_at_once":
        shares = [1.0]
    elif strategy == "canary":
        shares = [share, 1.0]
    else:
        shares = [round(share * number, 6) for number in range(1, int(1 / share + 1e-9) + 1)]
        shares = [each for each in shares if each < 1] + [1.0]
    return tuple(Step(each, bake_seconds) for each in shares)
