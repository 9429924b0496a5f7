"""CloudWatch's alarms on this machine. The supervisor of an endpoint evaluates them while a rollout runs.

Alarms on an endpoint's own metrics follow what its workers count; any other has the state that somebody sets.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from mdlc_assets.resources.endpoint_trial import read_alarm_state, write_alarm_state
from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, now, refusal

KIND, METRIC = "alarm", "metric"
_KEPT_POINTS = 100


class LocalAlarms:
    """Put, describe, set, delete; and the metrics that are sent."""

    service = "cloudwatch"

    def __init__(self, state: LocalState) -> None:
        self.state = state

    def put_metric_alarm(self, request: Document) -> Document:
        """Write an alarm down; one of the same name is replaced and keeps its state."""
        if bool(request.get("Statistic")) == bool(request.get("ExtendedStatistic")):
            raise refusal("ValidationError", "Exactly one of Statistic and ExtendedStatistic must be given.")
        with self.state.locked(KIND):
            self.state.write(KIND, request["AlarmName"], {**request, "AlarmConfigurationUpdatedTimestamp": now()})
        return {}

    def describe_alarms(self, request: Document) -> Document:
        """The alarms asked for, with their states."""
        names, prefix = request.get("AlarmNames"), request.get("AlarmNamePrefix", "")
        found = [self._with_state(alarm) for alarm in self.state.documents(KIND)]
        found = [alarm for alarm in found if (not names or alarm["AlarmName"] in names)]
        found = [alarm for alarm in found if alarm["AlarmName"].startswith(prefix)]
        if "StateValue" in request:
            found = [alarm for alarm in found if alarm["StateValue"] == request["StateValue"]]
        return {"MetricAlarms": found}

    def set_alarm_state(self, request: Document) -> Document:
        """Set a state, as a monitor of one's own does; a rollout that watches the alarm sees it."""
        name = request["AlarmName"]
        if self.state.read(KIND, name) is None:
            raise refusal("ResourceNotFound", f"there is no alarm {name}")
        write_alarm_state(alarm_folder(self.state), name, request["StateValue"], request["StateReason"], "set")
        return {}

    def delete_alarms(self, request: Document) -> Document:
        """Forget alarms and their states; those that are not there are no error."""
        for name in request["AlarmNames"]:
            self.state.delete(KIND, name)
            (alarm_folder(self.state) / f"{name}.json").unlink(missing_ok=True)
        return {}

    def put_metric_data(self, request: Document) -> Document:
        """Keep each metric's newest values; alarms here follow what the endpoint's own workers count."""
        for point in request["MetricData"]:
            about = {"Namespace": request["Namespace"], "MetricName": point["MetricName"]}
            about["Dimensions"] = point.get("Dimensions", [])
            name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
            with self.state.locked(METRIC):
                known = self.state.read(METRIC, name) or {**about, "points": []}
                points = [*known["points"], {"at": now(), "Value": point["Value"]}]
                self.state.write(METRIC, name, {**known, "points": points[-_KEPT_POINTS:]})
        return {}

    def _with_state(self, alarm: Document) -> Document:
        said = read_alarm_state(alarm_folder(self.state), alarm["AlarmName"])
        updated = datetime.fromtimestamp(said["at"], UTC) if said else None
        return {
            **alarm,
            "StateValue": said.get("StateValue", "INSUFFICIENT_DATA"),
            "StateReason": said.get("StateReason", "Unchecked: Initial alarm creation"),
            "StateUpdatedTimestamp": updated,
        }


def alarm_folder(state: LocalState) -> Path:
    """Where the states of alarms lie, which supervisors write too."""
    return state.root / "alarm_states"


HANDLERS = (LocalAlarms,)
