"""Every call of every machine denied, throttled, hanging: the execution fails with a reason that names it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.deployment import Autoscaling, Deployment, RealTime
from mdlc_assets.export.package import machines
from mdlc_assets.export.places import Places
from mdlc_assets_tests.export.conftest import messages
from mdlc_assets_tests.export.interpreter import Interpreter

# What the states in the middle of a machine find from those before.
_MIDWAY: dict[str, Any] = {
    "as_of": "2018-08-21",
    "day": "2018-08-21",
    "train": "s3://bucket/train",
    "refit": "s3://bucket/refit",
    "from": {"year": 2018},
    "newest": {"day": "2018-08-21"},
    "champion": {"model": "m", "config": "c"},
    "training": {"ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/model.tar.gz"}},
    "approval": {"who": "ann@example.com"},
    "monitored": {"ExitMessage": "alarm: x"},
}


@pytest.fixture
def calls(places: Places, small: LifecycleDeclaration) -> dict[str, dict[str, Any]]:
    """For each call by the SDK its machine, begun there and quick to try again; by machine and state."""
    real_time = RealTime(autoscaling=Autoscaling(most_workers=4, calls_per_minute=600))
    lifecycle = small.model_copy(update={"deployment": Deployment(real_time=real_time)})
    found = {}
    for name, document in machines(lifecycle, places, "poll").items():
        for state in document["States"].values():
            for retry in state.get("Retry", []):
                retry |= {"IntervalSeconds": 1, "MaxAttempts": 1}
        for state, content in document["States"].items():
            if ":aws-sdk:" in content.get("Resource", ""):
                found[f"{name}: {state}"] = document | {"StartAt": state}
    assert len(found) > 20
    return found


def _refusing(code: str) -> Callable[[str, str], None]:
    def fault(service: str, method: str) -> None:
        if (service, method) != ("sns", "publish") or code == "AccessDeniedException":
            raise ClientError({"Error": {"Code": code, "Message": f"{code} of {service}:{method}"}}, method)

    return fault


def _method(document: dict[str, Any]) -> str:
    return xform_name(document["States"][document["StartAt"]]["Resource"].rsplit(":", 1)[1])


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_a_refused_call_is_tried_again_and_then_named(
    account: Interpreter, places: Places, calls: dict[str, dict[str, Any]], code: str
) -> None:
    account.fault = _refusing(code)
    running = {name: account.start(document, _MIDWAY) for name, document in calls.items() if "Tell of" not in name}
    for name, execution in running.items():
        ended = account.ended(execution)
        assert ended["status"] == "FAILED", name
        assert f"{code} of " in ended["cause"], (name, ended["cause"])
        assert f":{_method(calls[name])}" in ended["cause"], (name, ended["cause"])
        history = account.states.get_execution_history(executionArn=execution, maxResults=100)["events"]
        refused = [event for event in history if code in event.get("taskFailedEventDetails", {}).get("cause", "")]
        assert len(refused) == 2, name
    told = 0
    while batch := messages(places, "told"):
        told += len(batch)
    assert told == len(running)


def test_a_call_that_hangs_is_given_up(account: Interpreter, places: Places, calls: dict[str, dict[str, Any]]) -> None:
    account.fault = lambda service, method: time.sleep(3)
    document = next(document for name, document in calls.items() if name.endswith("Create the model"))
    document["States"]["Create the model"]["TimeoutSeconds"] = 1
    ended = account.ended(account.start(document, _MIDWAY))
    assert (ended["status"], ended["error"]) == ("FAILED", "Mdlc.States.Timeout")
    assert ended["cause"].startswith("no reason was given. Mend:")
