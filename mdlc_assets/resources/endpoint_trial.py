"""Watches a version on trial: its alarms, its workers, and whether somebody takes it back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdlc_assets.resources.endpoint_alarms import Verdict, evaluate
from mdlc_assets.resources.endpoint_meter import Meter
from mdlc_assets.resources.endpoint_plan import Plan
from mdlc_assets.resources.endpoint_state import read_json, write_json
from mdlc_assets.resources.endpoint_workers import Group, RefusedError

TAKE_BACK = "take_back.json"
_OURS = {"Invocations", "Invocation4XXErrors", "Invocation5XXErrors", "ModelLatency", "ScoreDrift"}


class RolledBackError(RefusedError):
    """A version that took traffic, and then had it taken away again."""


class Trial:
    """One rollout from its first request on."""

    def __init__(self, folder: Path, plan: Plan, group: Group, meter: Meter) -> None:
        self.folder, self.plan, self.group, self.meter = folder, plan, group, meter
        self.began = time.monotonic()
        self.began_at = time.time()
        self.verdicts: dict[str, Verdict] = {}

    def refuse_alarmed(self) -> None:
        """Raise `RefusedError` when an alarm that others keep is in alarm before any traffic has moved."""
        for alarm in self.plan.alarms:
            said = self._said(alarm["AlarmName"])
            if alarm.get("MetricName") not in _OURS and said.get("StateValue") == "ALARM":
                raise RefusedError(f"the alarm {alarm['AlarmName']} is on already: {said.get('StateReason', '')}")

    def judge(self) -> None:
        """Raise `RolledBackError` when anything speaks against the version."""
        for worker in self.group.workers:
            if not worker.running:
                raise RolledBackError(f"a worker of it ended with exit code {worker.process.returncode}")
        asked = read_json(self.folder / TAKE_BACK)
        if asked and asked["at"] >= self.began_at:
            raise RolledBackError(f"it was taken back by {asked['who']}: {asked['reason']}")
        for alarm in self.plan.alarms:
            verdict = self._verdict(alarm)
            if verdict.state == "ALARM":
                raise RolledBackError(f"the alarm {alarm['AlarmName']} went off: {verdict.reason}")

    def summary(self) -> str:
        """What the alarms said at the end."""
        return "; ".join(verdict.reason for verdict in self.verdicts.values()) or "no alarm watched it"

    def _verdict(self, alarm: Mapping[str, Any]) -> Verdict:
        name = alarm["AlarmName"]
        said = self._said(name)
        if said.get("StateValue") == "ALARM" and (said["by"] != "supervisor" and said["at"] >= self.began_at):
            return Verdict("ALARM", said.get("StateReason") or "its state was set")
        if alarm.get("MetricName") not in _OURS:
            return Verdict(said.get("StateValue", "INSUFFICIENT_DATA"), said.get("StateReason", "it has no state yet"))
        verdict = evaluate(alarm, self.meter.trial, self.began, time.monotonic())
        if self.verdicts.get(name) != verdict:
            self.verdicts[name] = verdict
            if self.plan.alarm_folder:
                write_alarm_state(self.plan.alarm_folder, name, verdict.state, verdict.reason, "supervisor")
        return verdict

    def _said(self, name: str) -> dict[str, Any]:
        if not self.plan.alarm_folder:
            return {}
        return read_alarm_state(self.plan.alarm_folder, name)


def read_alarm_state(folder: Path | str, name: str) -> dict[str, Any]:
    """The last state of an alarm; empty where it never had one."""
    return read_json(Path(folder) / f"{name}.json") or {}


def write_alarm_state(folder: Path | str, name: str, state: str, reason: str, by: str) -> None:
    """Write down the state of an alarm; `by` says whether the supervisor evaluated it or somebody set it."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    content = {"StateValue": state, "StateReason": reason, "by": by, "at": time.time()}
    write_json(Path(folder) / f"{name}.json", json.loads(json.dumps(content)))
