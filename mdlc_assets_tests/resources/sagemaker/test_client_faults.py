"""Each call of each workflow throttled, denied, beyond a limit, or not answered: waited out, or told with what to do.

Whatever goes wrong, nothing is left that is billed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mdlc_assets.declaration.deployment import Autoscaling, MultiModel, RealTime, RolloutAlarms
from mdlc_assets.deployment.packages import bring_up
from mdlc_assets.resources.registry import Version
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.resources.sagemaker.jobs import Jobs, Pace
from mdlc_assets.resources.sagemaker.multi_model import MultiModelPlan, roll_out_model
from mdlc_assets.resources.sagemaker.requests import TransformPlan
from mdlc_assets.resources.sagemaker.rollout import RolledOut, Rollout, ask_endpoint, served_version
from mdlc_assets.resources.sagemaker.score_drift import publish_score_drift
from mdlc_assets.resources.sagemaker.transforms import ServedBy, transformed
from mdlc_assets_tests.resources.sagemaker.answering import Answering, Fault, Workflow, answered
from mdlc_assets_tests.resources.sagemaker.plans import every_request

NOW = datetime(2018, 8, 21, tzinfo=UTC)
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:thing/of-this-name"
ALGORITHM = "arn:aws:sagemaker:eu-west-1:123456789012:algorithm/fraud-9"
SERVICES = {"PutMetric": "cloudwatch", "DescribeAlarms": "cloudwatch", "Scal": "application-autoscaling"}
ENDS = {
    "CreateTrainingJob": "StopTrainingJob",
    "CreateTransformJob": "StopTransformJob",
    "CreateEndpoint": "DeleteEndpoint",
}
REAL_TIME = RealTime(
    strategy="canary",
    bake=timedelta(minutes=10),
    alarms=RolloutAlarms(p99_ms=50),
    autoscaling=Autoscaling(most_workers=3, calls_per_minute=600),
)
PLAN = EndpointPlan(
    "card_fraud", REAL_TIME, Served(3, "s3://bucket/3.tar.gz", "d3"), "image:1", "arn:aws:iam::123456789012:role/mdlc"
)
BOUGHT = EndpointPlan(
    "card_fraud", RealTime(), Served(3, "s3://bucket/3.tar.gz", "d3", ALGORITHM), "image:1", PLAN.role
)
SHARED = MultiModelPlan(
    "card_fraud",
    RealTime(multi_model=MultiModel(endpoint="shared-models")),
    Served(3, "", "d3"),
    "image:1",
    PLAN.role,
    prefix="s3://bucket/multi-model/shared-models",
)


def _pace(seconds: float) -> Pace:
    return Pace(1e-4, 2e-4, seconds, lambda pause: None)


# What is asked of the service, with a pace that each test chooses.
_PACE: list[Pace] = []
ASKED = _pace(5.0)


def _train(service: SageMaker) -> Any:
    done = Jobs(service.client(), _PACE[-1]).train(every_request()["training"][1])
    return done["TrainingJobStatus"]


def _transform(image: str) -> Workflow:
    def run(service: SageMaker) -> Any:
        by = ServedBy(image, b"archive")
        files = [("rows", b"1,2\n")]
        with transformed(service, "card_fraud", by, TransformPlan(), files, pace=_PACE[-1]) as done:
            arn = done.arn
        assert service.storage("transforms").names("") == []
        return arn

    return run


def _roll_out(plan: EndpointPlan) -> Workflow:
    def run(service: SageMaker) -> RolledOut:
        watched = None
        if plan is PLAN:

            def watched() -> None:
                publish_score_drift(service, plan.lifecycle, 0.1, _PACE[-1])

        return Rollout(service, _PACE[-1], lambda text: None).run(plan, watched)

    return run


def _roll_out_shared(service: SageMaker) -> RolledOut:
    def probe(target: str) -> None:
        ask_endpoint(service, "shared-models", {}, target)

    return roll_out_model(service, SHARED, Rollout(service, _PACE[-1], lambda text: None), probe)


def _retire(service: SageMaker) -> bool:
    return Rollout(service, _PACE[-1], lambda text: None).retire(PLAN)


def _packages(service: SageMaker) -> Any:
    """Three versions: one approved, one rejected, one that waits and that the group lacks."""
    trail = [{"action": action, "version": number, "who": "ann", "reason": "why"} for number, action in _JUDGED]
    registry: Any = SimpleNamespace(
        audit=lambda name: trail,
        versions=lambda name: [Version(number, "run", "2018-08-01", f"d{number}", {}) for number in (1, 2, 3)],
        files=lambda version: {"model.json": b"{}"},
    )
    return bring_up(service, registry, "card_fraud", "card-fraud", _PACE[-1])


def _ask(service: SageMaker) -> Any:
    return served_version(service, "card_fraud"), ask_endpoint(service, "card_fraud", {})


def _job(noun: str, status: str) -> dict[str, Any]:
    return {f"{noun}Name": "job", f"{noun}Arn": ARN, f"{noun}Status": status}


def _endpoint(config: str, status: str, pending: str = "") -> dict[str, Any]:
    described = {"EndpointName": "e", "EndpointArn": ARN, "EndpointConfigName": config, "EndpointStatus": status}
    return described | ({"PendingDeploymentSummary": {"EndpointConfigName": pending}} if pending else {})


ABSENT = ("ValidationException", "Could not find endpoint")
_JUDGED = ((1, "approve"), (2, "reject"))
OLD, OLDER = "card-fraud-v2-before", "card-fraud-v1-first"
JOBS = {
    "CreateTrainingJob": {"TrainingJobArn": ARN},
    "DescribeTrainingJob": [_job("TrainingJob", status) for status in ("InProgress", "Completed")],
    "CreateTransformJob": {"TransformJobArn": ARN},
    "DescribeTransformJob": [_job("TransformJob", status) for status in ("InProgress", "Completed")],
    "DescribeModelPackage": [
        {"ModelPackageStatus": status, "ModelPackageArn": ARN} for status in ("InProgress", "Completed")
    ],
}


def _clean_up(plan: EndpointPlan) -> dict[str, Any]:
    """A configuration and a model that nobody uses any more, and those that serve."""
    configs, models = [OLDER, OLD, plan.config], [f"{OLDER}-m", f"{OLD}-m", plan.model(plan.served)]
    described = [{"ProductionVariants": [{"ModelName": model}]} for model in models]
    return {
        "ListEndpointConfigs": [
            {"EndpointConfigs": [{"EndpointConfigName": name} for name in configs[:2]], "NextToken": "more"},
            {"EndpointConfigs": [{"EndpointConfigName": name} for name in configs[2:]]},
        ],
        "DescribeEndpointConfig": described,
        "ListModels": {"Models": [{"ModelName": name} for name in models]},
        "DescribeModel": {"PrimaryContainer": {"ModelPackageName": f"arn:aws:x:model-package/{OLDER}-m"}},
        "ListTags": {"Tags": [{"Key": "mdlc:previous-config", "Value": OLDER}]},
    }


WORKFLOWS: dict[str, tuple[Workflow, dict[str, Any]]] = {
    "training": (_train, JOBS),
    "batch transform": (_transform("image:1"), JOBS),
    "batch transform of a Marketplace algorithm": (_transform(ALGORITHM), JOBS),
    "first endpoint": (
        _roll_out(PLAN),
        {
            **_clean_up(PLAN),
            "DescribeEndpoint": [
                ABSENT,
                ABSENT,
                _endpoint(PLAN.config, "Creating"),
                _endpoint(PLAN.config, "InService"),
            ],
        },
    ),
    "changeover": (
        _roll_out(PLAN),
        {
            **_clean_up(PLAN),
            "DescribeEndpoint": [
                *2 * [_endpoint(OLD, "InService")],
                _endpoint(OLD, "Updating", PLAN.config),
                _endpoint(PLAN.config, "InService"),
            ],
        },
    ),
    "rollback": (
        _roll_out(PLAN),
        {
            **_clean_up(PLAN),
            "DescribeEndpoint": [
                *2 * [_endpoint(OLD, "InService")],
                _endpoint(OLD, "Updating", PLAN.config),
                _endpoint(OLD, "InService"),
            ],
            "DescribeAlarms": {"MetricAlarms": [{"AlarmName": "card-fraud-rollout-p99", "StateReason": "slow"}]},
        },
    ),
    "endpoint of a Marketplace algorithm": (
        _roll_out(BOUGHT),
        {
            **JOBS,
            **_clean_up(BOUGHT),
            "DescribeEndpoint": [
                ABSENT,
                ABSENT,
                _endpoint(BOUGHT.config, "Creating"),
                _endpoint(BOUGHT.config, "InService"),
            ],
        },
    ),
    "endpoint that is not used any more": (
        _retire,
        {
            **_clean_up(PLAN),
            "ListTags": {"Tags": [{"Key": "mdlc:lifecycle", "Value": PLAN.lifecycle}]},
            "DescribeEndpoint": [*2 * [_endpoint(OLD, "InService")], ABSENT],
        },
    ),
    "model of a shared endpoint": (
        _roll_out_shared,
        {
            "DescribeEndpoint": [
                *3 * [ABSENT],
                _endpoint(SHARED.config, "Creating"),
                _endpoint(SHARED.config, "InService"),
            ],
            "ListEndpointConfigs": {"EndpointConfigs": []},
            "ListModels": {"Models": []},
            "ListTags": {"Tags": []},
            "InvokeEndpoint": {"Body": b"{}"},
        },
    ),
    "model packages": (
        _packages,
        {
            "ListModelPackageGroups": {"ModelPackageGroupSummaryList": []},
            "CreateModelPackageGroup": {"ModelPackageGroupArn": ARN},
            "ListModelPackages": {
                "ModelPackageSummaryList": [
                    {
                        "ModelPackageDescription": f"Version {number} of card_fraud, as of 2018-08-01.",
                        "ModelPackageArn": f"{ARN}/{number}",
                        "ModelApprovalStatus": "PendingManualApproval",
                        "ModelPackageStatus": "Completed",
                        "CreationTime": NOW,
                    }
                    for number in (1, 2)
                ]
            },
            "CreateModelPackage": {"ModelPackageArn": f"{ARN}/3"},
            "UpdateModelPackage": {"ModelPackageArn": ARN},
        },
    ),
    "asking": (
        _ask,
        {
            "DescribeEndpoint": _endpoint(OLD, "InService"),
            "DescribeEndpointConfig": {"ProductionVariants": [{"ModelName": "m"}]},
            "DescribeModel": {"PrimaryContainer": {"Environment": {"MDLC_MODEL_VERSION": "3"}}},
            "InvokeEndpoint": {"Body": b"{}"},
        },
    ),
}


def permissions_put_to_faults(folder: Path) -> set[str]:
    """What the calls of all workflows need, with those that end a job nobody waits for."""
    found = {_permission(operation) for workflow in WORKFLOWS for operation in _run(folder, workflow, 5.0)[0].calls}
    return found | {_permission(end) for end in ENDS.values()}


def _run(folder: Path, workflow: str, seconds: float, **fault: Any) -> tuple[Answering, Any]:
    """What was called, and the outcome or the error."""
    run, answers = WORKFLOWS[workflow]
    answering = Answering(answers, **fault)
    _PACE.append(_pace(seconds))
    ASKED.throttled_seconds = seconds
    try:
        return answering, run(answered(folder, answering))
    except ServiceError as error:
        return answering, error
    finally:
        _PACE.pop()


def _permission(operation: str) -> str:
    service = next((name for part, name in SERVICES.items() if part in operation), "sagemaker")
    return f"{service}:{operation}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sleeps where a workflow has a pace of its own."""
    for module in ("rollout", "multi_model"):
        monkeypatch.setattr(f"mdlc_assets.resources.sagemaker.{module}.ASKING", ASKED)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_what_passes_is_waited_out_at_each_call(tmp_path: Path, workflow: str) -> None:
    plain, expected = _run(tmp_path, workflow, 5.0)
    assert not isinstance(expected, Exception)
    assert len(plain.calls) >= 3
    faults: list[Fault] = ["throttled", "unanswered", "heard"]
    for number, operation in enumerate(plain.calls):
        for fault in faults[: 2 if operation.startswith(("Describe", "List")) else 3]:
            found, outcome = _run(tmp_path, workflow, 5.0, fault=fault, at=number)
            assert outcome == expected, (operation, fault)
            assert found.calls[: number + 2] == [*plain.calls[: number + 1], operation], (operation, fault)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_what_lasts_is_told_and_leaves_nothing_billed_at_each_call(tmp_path: Path, workflow: str) -> None:
    plain, _ = _run(tmp_path, workflow, 5.0)
    words = {
        "throttled": r"throttled {} for .* Mend: run fewer jobs at once",
        "denied": r"{} is not allowed \(.*: User: me is not authorized\)\. Mend: give the role of the run {}",
        "limit": r"{} would exceed a limit of the account .* Mend: ask for more at Service Quotas",
        "unanswered": r"{} was not answered for .* Mend: see that this machine reaches https://",
        "heard": r"{} was not answered for .* Mend: see that this machine reaches https://",
    }
    for number, operation in enumerate(plain.calls):
        for fault, text in words.items():
            found, error = _run(tmp_path, workflow, 0.0, fault=fault, at=number, lasts=True)
            if operation in ("DeleteModel", "DeleteModelPackage") and "transform" in workflow:
                # The scores are there; that the model stays, which costs nothing, is in the log.
                assert not isinstance(error, Exception)
                continue
            permission = re.escape(_permission(operation))
            assert isinstance(error, ServiceError), (operation, fault)
            assert re.search(text.replace("{}", permission), str(error)), (operation, fault, str(error))
            _nothing_is_billed(found, (operation, fault))


@pytest.mark.parametrize(("workflow", "noun"), [("training", "TrainingJob"), ("batch transform", "TransformJob")])
def test_a_job_that_nobody_waits_for_is_stopped_or_told_to_be_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workflow: str, noun: str
) -> None:
    run, answers = WORKFLOWS[workflow]
    lost = {**answers, f"Describe{noun}": ("AccessDeniedException", "no")}
    _PACE.append(_pace(5.0))
    plain = Answering(lost)
    with pytest.raises(ServiceError, match=f"sagemaker:Describe{noun} is not allowed"):
        run(answered(tmp_path, plain))
    at = plain.calls.index(f"Stop{noun}")
    for fault in ("throttled", "unanswered"):
        found = Answering(lost, fault=fault, at=at)
        with pytest.raises(ServiceError):
            run(answered(tmp_path, found))
        assert f"Stop{noun}" in found.done, fault
    _PACE[-1] = _pace(0.0)
    for fault in ("throttled", "denied", "unanswered"):
        caplog.clear()
        with pytest.raises(ServiceError, match=f"sagemaker:Describe{noun} is not allowed"):
            run(answered(tmp_path, Answering(lost, fault=fault, at=at, lasts=True)))
        assert re.search(rf"may still run and be billed\. Mend: stop it.*sagemaker:Stop{noun}", caplog.text), fault
    _PACE.pop()


def _nothing_is_billed(found: Answering, where: Any) -> None:
    for begin, end in ENDS.items():
        if begin in found.done and not _ended(found, begin):
            assert end in found.calls[found.calls.index(begin) :], where
    if "InvokeEndpoint" in found.answers and "CreateEndpoint" in found.done and "AddTags" not in found.done:
        # One that is shared serves nobody before its tag says so.
        assert "DeleteEndpoint" in found.calls or where[0] in ("DescribeEndpoint", "ListTags"), where
    if "CreateTransformJob" in found.done:
        assert "DeleteModel" in found.calls, where


def _ended(found: Answering, begin: str) -> bool:
    """Whether the service has told of the end: a job that is through, an endpoint that serves what was approved."""
    answers = found.answers[begin.replace("Create", "Describe")]
    return found.done.count(begin.replace("Create", "Describe")) >= len(answers)
