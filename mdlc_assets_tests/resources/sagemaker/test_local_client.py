"""What the local client refuses, and how it answers: as boto3 and AWS do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from mdlc_assets.resources.sagemaker.client import SageMaker, SettingError
from mdlc_assets.resources.sagemaker.constraints import broken_constraints
from mdlc_assets.resources.sagemaker.local_client import LocalClient, NotSimulatedError, shaped
from mdlc_assets.resources.sagemaker.local_state import LocalState, refusal


@pytest.fixture
def client(tmp_path: Path) -> LocalClient:
    return SageMaker(root=str(tmp_path)).client()


def _request(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "TrainingJobName": "job-1",
        "RoleArn": "arn:aws:iam::000000000000:role/x",
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    return {**usual, **changes}


def test_what_boto3_refuses_is_refused(client: LocalClient) -> None:
    with pytest.raises(ParamValidationError, match='Missing required parameter in input: "RoleArn"'):
        client.create_training_job(TrainingJobName="job-1", OutputDataConfig={"S3OutputPath": "s3://b/out"})
    with pytest.raises(ParamValidationError, match="Unknown parameter"):
        client.create_training_job(**_request(SpotPlease=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"TrainingJobName": "with space"}, "TrainingJobName: 'with space' does not have the form"),
        ({"TrainingJobName": "j" * 64}, "TrainingJobName: the length is 64, which is above 63"),
        ({"OutputDataConfig": {"S3OutputPath": "/tmp/out"}}, "OutputDataConfig.S3OutputPath: '/tmp/out' does not"),
        ({"HyperParameters": {"k": "v" * 2501}}, r"HyperParameters\['k'\]: the length is 2501"),
        (
            {"ResourceConfig": {"InstanceType": "ml.tiny", "InstanceCount": 1, "VolumeSizeInGB": 1}},
            "ResourceConfig.InstanceType: 'ml.tiny' is not one of",
        ),
    ],
)
def test_what_the_service_refuses_is_refused_as_it_does(client: LocalClient, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError, match=said) as refused:
        client.create_training_job(**_request(**change))
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert refused.value.operation_name == "CreateTrainingJob"


def test_patterns_that_only_other_languages_read_are_no_obstacle() -> None:
    model = botocore.session.Session().get_service_model("sagemaker")
    shape = model.shape_for("CreateModelPackageInput")
    request = {"ModelPackageGroupName": "g", "CustomerMetadataProperties": {"é": "ü"}}
    assert list(broken_constraints(request, shape)) == []
    header = botocore.session.Session().get_service_model("sagemaker-runtime").shape_for("InvokeEndpointInput")
    broken = list(broken_constraints({"EndpointName": "e", "ContentType": "ü"}, header))
    assert broken == [r"ContentType: 'ü' does not have the form \p{ASCII}*"]


def test_answers_have_the_shape_of_the_service_model() -> None:
    shape = botocore.session.Session().get_service_model("sagemaker").shape_for("DescribeTrainingJobResponse")
    answer = shaped({"TrainingJobName": "a", "CreationTime": 0, "pid": 7, "FailureReason": None}, shape)
    assert answer == {"TrainingJobName": "a", "CreationTime": datetime(1970, 1, 1, tzinfo=UTC)}


def test_an_operation_that_is_not_done_here_says_so(client: LocalClient) -> None:
    with pytest.raises(NotSimulatedError, match=r"does not do CreateNotebookInstance\. Mend: use AWS"):
        client.create_notebook_instance(
            NotebookInstanceName="n", InstanceType="ml.t3.medium", RoleArn="arn:aws:iam::000000000000:role/x"
        )
    with pytest.raises(AttributeError, match="no operation 'create_everything'"):
        client.create_everything()


def test_pages_and_waiters_are_botocores(client: LocalClient) -> None:
    assert client.can_paginate("list_training_jobs") and not client.can_paginate("create_model")
    assert client.get_waiter("training_job_completed_or_stopped").config.max_attempts == 180
    with pytest.raises(ValueError, match="Waiter does not exist"):
        client.get_waiter("nothing")


def test_state_survives_and_names_are_taken_once(tmp_path: Path) -> None:
    refused = refusal("ResourceInUse", "taken")
    LocalState(tmp_path).add("model", "m", {"a": 1}, refused)
    with pytest.raises(ClientError, match="taken"):
        LocalState(tmp_path).add("model", "m", {"a": 2}, refused)
    assert LocalState(tmp_path).read("model", "m") == {"a": 1}
    assert LocalState(tmp_path).documents("model") == [{"a": 1}]
    with pytest.raises(ClientError, match="is not an S3 address"):
        LocalState(tmp_path).s3_path("s3://bucket/../../etc")


def test_aws_needs_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "MDLC_SAGEMAKER_ROLE", "MDLC_SAGEMAKER_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingError, match=r"sagemaker.region: no region is named .*Mend: set AWS_REGION"):
        SageMaker(form="aws").client()
    with pytest.raises(SettingError, match="Mend: set MDLC_SAGEMAKER_ROLE"):
        SageMaker(form="aws", region="eu-west-1").role_arn()
