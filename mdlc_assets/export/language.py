"""The pieces of Amazon States Language that the workflows are made of.

A job is waited for in two ways. `sync`: Step Functions waits, and stops the job when it is stopped itself. `poll`:
the machine asks again and again, for interpreters and accounts without `.sync`. Both leave the job's own
description at the same place, and both end in the same branch when it fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mdlc_assets.export.places import Places

Form = Literal["sync", "poll"]
State = dict[str, Any]
FAILURE = "What is the reason?"
_TELL = "Tell of the failure"
_LONGEST_STEM = 30
# SageMaker models no error of its own for throttling: Step Functions then names the service's general one.
_BUSY = {
    "sagemaker": ["SageMaker.AmazonSageMakerException", "SageMaker.SageMakerException"],
    "cloudwatch": ["CloudWatch.CloudWatchException"],
    "applicationautoscaling": [
        "ApplicationAutoScaling.ConcurrentUpdateException",
        "ApplicationAutoScaling.ApplicationAutoScalingException",
    ],
    "ssm": ["Ssm.TooManyUpdatesException", "Ssm.SsmException"],
    "s3": ["S3.S3Exception"],
    "sns": ["Sns.SnsException"],
}
_CALL_SECONDS = 60
# A machine's own errors must not begin with `States.`, as those of tasks may.
_ERROR = "States.Format('Mdlc.{}', $.error.Error)"
_FAILED = {"Type": "Fail", "ErrorPath": _ERROR, "CausePath": "$.error.Cause"}


class Reference(str):
    """A path or an intrinsic function, to be resolved in each execution; makers of requests take it as any text."""

    __slots__ = ()


@dataclass
class Machine:
    """A state machine that is being written: its states in the order they are added."""

    name: str
    comment: str
    places: Places
    form: Form
    timeout_seconds: int
    start: str = ""
    states: dict[str, State] = field(default_factory=dict)

    def add(self, name: str, state: State) -> None:
        """Put a state in; the first one is where executions begin."""
        if name in self.states:
            raise ValueError(f"the machine {self.name} has a state {name!r} already")
        self.start = self.start or name
        self.states[name] = state

    def call(self, name: str, service: str, action: str, request: Mapping[str, Any], *, then: str, **more: Any) -> None:
        """One call of a service, again after growing pauses while it is busy."""
        self.add(
            name,
            {
                "Type": "Task",
                "Resource": f"arn:{self.places.partition}:states:::aws-sdk:{service}:{action}",
                "Parameters": with_references(request),
                "TimeoutSeconds": _CALL_SECONDS,
                "Retry": retries(_BUSY.get(service, [])),
                "Catch": caught(),
                "ResultPath": None,
                **more,
                "Next": then,
            },
        )

    def job(self, name: str, noun: str, request: Mapping[str, Any], *, seconds: int, at: str, then: str) -> None:
        """A job of SageMaker to its end; `noun` is Training, Transform or Processing. Its description comes to `at`."""
        if self.form == "sync":
            self.add(
                name,
                {
                    "Type": "Task",
                    "Resource": f"arn:{self.places.partition}:states:::sagemaker:create{noun}Job.sync",
                    "Parameters": with_references(request),
                    "TimeoutSeconds": seconds,
                    "Retry": retries(_BUSY["sagemaker"]),
                    "Catch": caught(),
                    "ResultPath": at,
                    "Next": then,
                },
            )
            return
        wait, look, ended, failed = f"{name}: wait", f"{name}: look", f"{name}: ended?", f"{name}: failed"
        unsaid, status = f"{failed} without a reason", f"{at}.{noun}JobStatus"
        self.call(name, "sagemaker", f"create{noun}Job", request, then=wait)
        self.add(wait, {"Type": "Wait", "Seconds": self.places.poll_seconds, "Next": look})
        asked = {f"{noun}JobName": request[f"{noun}JobName"]}
        self.call(look, "sagemaker", f"describe{noun}Job", asked, then=ended, ResultPath=at)
        reason = {"Variable": f"{at}.FailureReason", "IsPresent": True}
        over = {"Or": [{"Variable": status, "StringEquals": word} for word in ("Failed", "Stopped")]}
        self.add(
            ended,
            {
                "Type": "Choice",
                "Choices": [
                    {"Variable": status, "StringEquals": "Completed", "Next": then},
                    {"And": [over, reason], "Next": failed},
                    {**over, "Next": unsaid},
                ],
                "Default": wait,
            },
        )
        error = f"SageMaker.{noun}JobFailed"
        self.fail(failed, error, Reference(f"{at}.FailureReason"))
        self.fail(unsaid, error, Reference(f"States.Format('the job ended as {{}} without a reason', {status})"))

    def fail(self, name: str, error: str, cause: str) -> None:
        """Where a choice leads that a run must not go on from: the common branch, with error and cause."""
        said = with_references({"Error": error, "Cause": cause})
        self.add(name, _put("$.error", said, FAILURE))

    def document(self) -> dict[str, Any]:
        """The whole machine, with the branch that every failure takes: it is told, then it is the execution's end."""
        text = f"States.Format('{self.name} failed: {{}}: {{}}', $.error.Error, $.error.Cause)"
        told = with_references({"TopicArn": self.places.alerts, "Message": Reference(text)})
        tell: State = {
            "Type": "Task",
            "Resource": f"arn:{self.places.partition}:states:::sns:publish",
            "Parameters": told,
            "TimeoutSeconds": _CALL_SECONDS,
            "Retry": retries(["States.TaskFailed"], attempts=2),
            # A topic that cannot be reached must not hide what went wrong.
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Failed"}],
            "ResultPath": None,
            "Next": "Failed",
        }
        return {
            "Comment": self.comment,
            "StartAt": self.start,
            "TimeoutSeconds": self.timeout_seconds,
            "States": {**self.states, **_reasons(), _TELL: tell, "Failed": _FAILED},
        }


def _reasons() -> dict[str, State]:
    """The failure's cause in words: a task that timed out has none, and a job's is its whole description as text."""
    cause, description = "$.error.Cause", "$.error.description"
    missing = [
        {"Not": {"Variable": cause, "IsPresent": True}, "Next": "No reason is given"},
        {"Variable": cause, "IsNull": True, "Next": "No reason is given"},
        {"Variable": cause, "StringEquals": "", "Next": "No reason is given"},
    ]
    described = {"Variable": cause, "StringMatches": '{*"FailureReason"*', "Next": "Read the job's description"}
    unsaid = {"Error.$": "$.error.Error", "Cause": "no reason was given. Mend: see the execution's history."}
    read = {"Error.$": "$.error.Error", "description.$": f"States.StringToJson({cause})"}
    reason = {"Error.$": "$.error.Error", "Cause.$": f"{description}.FailureReason"}
    return {
        FAILURE: {"Type": "Choice", "Choices": [*missing, described], "Default": _TELL},
        "No reason is given": _put("$.error", unsaid, _TELL),
        "Read the job's description": _put("$.error", read, "Take its reason"),
        "Take its reason": _put("$.error", reason, _TELL),
    }


def _put(at: str, content: dict[str, Any], then: str) -> State:
    return {"Type": "Pass", "Parameters": content, "ResultPath": at, "Next": then}


def retries(errors: list[str], *, attempts: int = 5) -> list[dict[str, Any]]:
    """Waited out with growing, random pauses."""
    pace = {"IntervalSeconds": 2, "BackoffRate": 2.0, "MaxAttempts": attempts, "MaxDelaySeconds": 60}
    return [{"ErrorEquals": errors, **pace, "JitterStrategy": "FULL"}] if errors else []


def caught() -> list[dict[str, Any]]:
    """Any failure goes into the common branch, with its error and cause."""
    return [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": FAILURE}]


def with_references(value: Any) -> Any:
    """A request as a payload template: the key of each `Reference` ends in `.$`."""
    if isinstance(value, Mapping):
        return {
            f"{key}.$" if isinstance(part, Reference) else key: str(part)
            if isinstance(part, Reference)
            else with_references(part)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [with_references(part) for part in value]
    return value


def named(lifecycle: str, what: str) -> Reference:
    """A name of its own for each execution, of no more than SageMaker's 63 characters."""
    stem = f"{lifecycle}-{what}".replace("_", "-")
    if len(stem) > _LONGEST_STEM:
        stem = f"{lifecycle[: _LONGEST_STEM - len(what) - 1]}-{what}".replace("_", "-").replace("--", "-")
    return Reference(f"States.Format('{stem}-{{}}', States.Hash($$.Execution.Id, 'MD5'))")


def all_there(*paths: str) -> dict[str, Any]:
    """The condition that all of these are in the input."""
    present = [{"Variable": path, "IsPresent": True} for path in paths]
    return {"And": present} if len(present) > 1 else present[0]
