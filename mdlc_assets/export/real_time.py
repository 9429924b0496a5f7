"""Real-time inference as a state machine: put the champion behind the endpoint, and watch it.

The endpoint is created the first time and changed over after that, with the rollout that is declared. SageMaker gives
no error after a rollback: the machine compares which configuration serves.
"""

from __future__ import annotations

from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.export.language import Form, Machine, Reference, named
from mdlc_assets.export.places import PlaceError, Places
from mdlc_assets.export.training import image_of
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served
from mdlc_assets.resources.sagemaker.requests import Request

_HOUR = 3600
_WATCHED_SECONDS = 300


def real_time_machine(lifecycle: LifecycleDeclaration, places: Places, form: Form) -> dict[str, Any]:
    """The state machine as a document. Raises `PlaceError` for a lifecycle without an endpoint."""
    declared = lifecycle.deployment.real_time
    if declared is None:
        raise PlaceError(f"deployment.real_time: {lifecycle.name} declares no endpoint. Mend: declare one.")
    # Which version serves is decided in the execution: the plan's stands in for it.
    stand_in = Served(1, f"{places.bucket}/{lifecycle.name}/models/model.tar.gz", "")
    plan = EndpointPlan(
        lifecycle.name,
        declared,
        stand_in,
        image_of(lifecycle, places),
        places.role,
        capture_to=f"{places.bucket}/{lifecycle.name}/capture",
        tagged={"mdlc:lifecycle": lifecycle.name},
    )
    machine = Machine(
        f"{places.prefix}-{lifecycle.name}-real-time".replace("_", "-"),
        f"{lifecycle.name}: changes the endpoint over to the champion, and watches its alarms.",
        places,
        form,
        12 * _HOUR,
    )
    _deploy(machine, plan, places)
    _settle(machine, plan, places)
    _watch(machine, plan)
    return machine.document()


def _deploy(machine: Machine, plan: EndpointPlan, places: Places) -> None:
    config = named(plan.lifecycle, "config")
    machine.call(
        "Which model?",
        "ssm",
        "getParameter",
        {"Name": places.champion(plan.lifecycle)},
        then="Describe what serves it",
        ResultSelector={"model.$": "$.Parameter.Value", "config.$": str(config)},
        ResultPath="$.champion",
    )
    request = plan.config_request()
    request["EndpointConfigName"] = Reference("$.champion.config")
    for variant in request["ProductionVariants"]:
        variant["ModelName"] = Reference("$.champion.model")
    alarms = plan.alarm_requests()
    steps = [f"Set the alarm {alarm['AlarmName']}" for alarm in alarms] + ["Is there an endpoint?"]
    machine.call("Describe what serves it", "sagemaker", "createEndpointConfig", request, then=steps[0])
    for name, alarm, following in zip(steps, alarms, steps[1:], strict=False):
        machine.call(name, "cloudwatch", "putMetricAlarm", alarm, then=following)
    found = f"States.ArrayContains($.Endpoints[*].EndpointName, '{plan.endpoint}')"
    machine.call(
        "Is there an endpoint?",
        "sagemaker",
        "listEndpoints",
        {"NameContains": plan.endpoint, "MaxResults": 100},
        then="Create or change over?",
        ResultSelector={"there.$": found},
        ResultPath="$.endpoint",
    )
    there = {"Variable": "$.endpoint.there", "BooleanEquals": True, "Next": "Change the endpoint over"}
    machine.add("Create or change over?", {"Type": "Choice", "Choices": [there], "Default": "Create the endpoint"})
    for name, action, wanted in (
        ("Create the endpoint", "createEndpoint", plan.create_request()),
        ("Change the endpoint over", "updateEndpoint", plan.update_request()),
    ):
        wanted["EndpointConfigName"] = Reference("$.champion.config")
        machine.call(name, "sagemaker", action, wanted, then="Let the endpoint settle")


def _settle(machine: Machine, plan: EndpointPlan, places: Places) -> None:
    machine.add(
        "Let the endpoint settle",
        {"Type": "Wait", "Seconds": places.poll_seconds, "Next": "Look at the endpoint"},
    )
    machine.call(
        "Look at the endpoint",
        "sagemaker",
        "describeEndpoint",
        {"EndpointName": plan.endpoint},
        then="Does it serve?",
        ResultPath="$.endpoint",
    )
    serves = {"Variable": "$.endpoint.EndpointStatus", "StringEquals": "InService"}
    ours = {"Variable": "$.endpoint.EndpointConfigName", "StringEqualsPath": "$.champion.config"}
    lost = [
        {"Variable": "$.endpoint.EndpointStatus", "StringEquals": status}
        for status in ("Failed", "OutOfService", "UpdateRollbackFailed", "Deleting")
    ]
    reason = {"Variable": "$.endpoint.FailureReason", "IsPresent": True}
    scaling = plan.scaling_requests()
    steps = [f"Scale: {method.replace('_', ' ')}" for method, _ in scaling] + ["Watch the alarms"]
    machine.add(
        "Does it serve?",
        {
            "Type": "Choice",
            "Choices": [
                {"And": [serves, ours], "Next": steps[0]},
                {**serves, "Next": "Rolled back"},
                {"And": [{"Or": lost}, reason], "Next": "The endpoint failed"},
                {"Or": lost, "Next": "The endpoint failed without a reason"},
            ],
            "Default": "Let the endpoint settle",
        },
    )
    for name, (method, request), following in zip(steps, scaling, steps[1:], strict=False):
        machine.call(name, "applicationautoscaling", _camel(method), request, then=following)
    machine.fail("The endpoint failed", "SageMaker.EndpointFailed", Reference("$.endpoint.FailureReason"))
    unsaid = "States.Format('the endpoint is {} and gives no reason', $.endpoint.EndpointStatus)"
    machine.fail("The endpoint failed without a reason", "SageMaker.EndpointFailed", Reference(unsaid))
    kept = "States.Format('SageMaker took the rollout back; {} still serves', $.endpoint.EndpointConfigName)"
    machine.fail("Rolled back", "RolledBack", Reference(kept))


def _watch(machine: Machine, plan: EndpointPlan) -> None:
    """Once more after the rollout: an alarm that goes off now is told, and the execution fails by it."""
    names = [alarm["AlarmName"] for alarm in plan.alarm_requests()] + plan.declared.alarms.named
    if not names:
        machine.add("Watch the alarms", {"Type": "Succeed"})
        return
    seconds = min(machine.places.poll_seconds * 10, _WATCHED_SECONDS)
    machine.add("Watch the alarms", {"Type": "Wait", "Seconds": seconds, "Next": "Which alarms are on?"})
    request: Request = {"AlarmNames": names, "StateValue": "ALARM"}
    machine.call(
        "Which alarms are on?",
        "cloudwatch",
        "describeAlarms",
        request,
        then="Is any on?",
        ResultPath="$.alarms",
    )
    some = {"Variable": "$.alarms.MetricAlarms[0]", "IsPresent": True, "Next": "An alarm is on"}
    machine.add("Is any on?", {"Type": "Choice", "Choices": [some], "Default": "Deployed"})
    on = "States.JsonToString($.alarms.MetricAlarms[*].AlarmName)"
    text = f"States.Format('the new model serves, but these alarms are on: {{}}', {on})"
    machine.fail("An alarm is on", "Alarmed", Reference(text))
    machine.add("Deployed", {"Type": "Succeed"})


def _camel(method: str) -> str:
    first, *rest = method.split("_")
    return first + "".join(part.capitalize() for part in rest)
