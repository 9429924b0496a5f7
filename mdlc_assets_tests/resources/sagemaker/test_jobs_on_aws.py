"""What moto cannot show: how jobs on AWS fail, are throttled and are stopped. boto3's client, its answers stubbed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from mdlc_assets.resources.sagemaker.jobs import JobFailedError, Jobs, Pace, ServiceError
from mdlc_assets_tests.resources.sagemaker.plans import every_request

_REQUEST = every_request()["training on spot machines"][1]
_NAME = _REQUEST["TrainingJobName"]
_ARN = f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{_NAME}"
_ASKED = {"TrainingJobName": _NAME}


@pytest.fixture
def stub() -> Iterator[Stubber]:
    client = boto3.client("sagemaker", region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def _jobs(stub: Stubber, **pace: Any) -> Jobs:
    return Jobs(stub.client, Pace(**{"first_seconds": 0.001, "longest_seconds": 0.002, **pace}))


def _job(status: str, **more: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": _NAME,
        "TrainingJobArn": _ARN,
        "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/out/model.tar.gz"},
        "TrainingJobStatus": status,
        "SecondaryStatus": more.pop("SecondaryStatus", status if status != "InProgress" else "Training"),
        "StoppingCondition": {},
        "CreationTime": datetime(2018, 8, 21, tzinfo=UTC),
        **more,
    }


def _created(stub: Stubber) -> None:
    stub.add_response("create_training_job", {"TrainingJobArn": _ARN}, _REQUEST)


def test_waits_until_the_job_has_ended(stub: Stubber) -> None:
    _created(stub)
    for status in ("InProgress", "InProgress", "Completed"):
        stub.add_response("describe_training_job", _job(status), _ASKED)
    assert _jobs(stub).train(_REQUEST)["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize(
    ("status", "more", "said"),
    [
        (
            "Failed",
            {"FailureReason": "CapacityError: Unable to provision requested ML compute capacity."},
            r"failed: CapacityError: Unable to .* Mend: choose another `model.sagemaker.instance_type`",
        ),
        (
            "Failed",
            {"FailureReason": "ClientError: Data download failed:AccessDenied (403) when calling ListObjects"},
            "Mend: check that the channel's files were written and the role may read them",
        ),
        (
            "Failed",
            {"FailureReason": "AlgorithmError: all 9 rows have the same label. Mend: train on more days, exit code: 1"},
            "same label. Mend: train on more days, exit code: 1.$",
        ),
        (
            "Stopped",
            {"SecondaryStatus": "MaxWaitTimeExceeded"},
            "stopped: MaxWaitTimeExceeded. Mend: raise `model.sagem",
        ),
        ("Stopped", {}, f"stopped: somebody stopped it. Mend: see the log of training job {_NAME}"),
    ],
)
def test_failures_say_what_to_do(stub: Stubber, status: str, more: dict[str, Any], said: str) -> None:
    _created(stub)
    stub.add_response("describe_training_job", _job(status, **more), _ASKED)
    with pytest.raises(JobFailedError, match=said):
        _jobs(stub).train(_REQUEST)


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceUnavailable", "RequestLimitExceeded"])
def test_throttling_is_waited_out(stub: Stubber, code: str) -> None:
    for _ in range(3):
        stub.add_client_error("create_training_job", code, "Rate exceeded", 400)
    _created(stub)
    stub.add_client_error("describe_training_job", code, "Rate exceeded", 400)
    stub.add_response("describe_training_job", _job("Completed"), _ASKED)
    assert _jobs(stub).train(_REQUEST)["TrainingJobStatus"] == "Completed"


def test_throttling_without_end_is_told_and_starts_nothing(stub: Stubber) -> None:
    stub.add_client_error("create_training_job", "ThrottlingException", "Rate exceeded", 400)
    with pytest.raises(ServiceError, match="throttled sagemaker:CreateTrainingJob for 0 s"):
        _jobs(stub, throttled_seconds=0).train(_REQUEST)


def test_a_job_that_is_there_already_is_gone_on_with(stub: Stubber) -> None:
    stub.add_client_error("create_training_job", "ResourceInUse", "Training job names must be unique", 400)
    for status in ("InProgress", "Completed"):
        stub.add_response("describe_training_job", _job(status), _ASKED)
    assert _jobs(stub).train(_REQUEST)["TrainingJobName"] == _NAME


def test_one_that_failed_before_is_followed_by_another(stub: Stubber) -> None:
    second = f"{_NAME}-2"
    stub.add_client_error("create_training_job", "ResourceInUse", "Training job names must be unique", 400)
    stub.add_response("describe_training_job", _job("Failed"), _ASKED)
    stub.add_response("create_training_job", {"TrainingJobArn": _ARN}, {**_REQUEST, "TrainingJobName": second})
    stub.add_response("describe_training_job", _job("Completed"), {"TrainingJobName": second})
    assert _jobs(stub).train(_REQUEST)["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_waiting_ends_the_job(stub: Stubber, end: type[BaseException]) -> None:
    def sleep(seconds: float) -> None:
        raise end

    _created(stub)
    stub.add_response("describe_training_job", _job("InProgress"), _ASKED)
    stub.add_response("stop_training_job", {}, _ASKED)
    with pytest.raises(end):
        _jobs(stub, sleep=sleep).train(_REQUEST)


def test_patience_that_ends_stops_the_job(stub: Stubber) -> None:
    _created(stub)
    stub.add_response("describe_training_job", _job("InProgress"), _ASKED)
    stub.add_response("describe_training_job", _job("InProgress"), _ASKED)
    stub.add_response("stop_training_job", {}, _ASKED)
    with pytest.raises(ServiceError, match=r"has not ended after 0\.001 s and was stopped"):
        _jobs(stub).train(_REQUEST, patience_seconds=0.001)


def test_a_refused_request_is_not_sent_again(stub: Stubber) -> None:
    stub.add_client_error("create_training_job", "ResourceLimitExceeded", "The account-level limit is 0 instances", 400)
    with pytest.raises(
        ServiceError, match=r"account-level limit is 0 instances\)\. Mend: ask for more at Service Quotas"
    ):
        _jobs(stub).train(_REQUEST)
