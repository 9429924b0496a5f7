"""The same suite over the local client and over boto3 to moto's server, for what moto can do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import Jobs, Pace
from mdlc_assets.resources.sagemaker.requests import (
    approval_request,
    model_request,
    package_group_request,
    package_request,
    training_request,
)
from mdlc_assets_tests.resources.sagemaker.plans import IMAGE, ROLE, training_plan

_ARTIFACT = "s3://mdlc-test/model.tar.gz"


@pytest.fixture(params=["local", "moto"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SageMaker]:
    """SageMaker of either form, empty as far as the test's own names go."""
    if request.param == "local":
        yield SageMaker(root=str(tmp_path))
        return
    address = request.getfixturevalue("_moto_address")
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    bucket = boto3.resource("s3", endpoint_url=address, region_name="us-east-1").Bucket("mdlc-both")
    bucket.create()
    yield SageMaker(
        form="aws", region="us-east-1", role=ROLE, bucket="s3://mdlc-both", image=IMAGE, endpoint_url=address
    )
    bucket.objects.all().delete()
    bucket.delete()


def _name(stem: str) -> str:
    # moto's server is shared by the tests of a session.
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def test_a_training_job_ends_and_says_where_its_model_lies(service: SageMaker) -> None:
    name = _name("job")
    plan = training_plan(service, name, tags={"mdlc:lifecycle": "x"})
    found = Jobs(service.client(), Pace(0.05, 0.3)).train(training_request(plan))
    assert found["TrainingJobStatus"] == "Completed"
    assert found["ModelArtifacts"]["S3ModelArtifacts"].endswith(f"/{name}/output/model.tar.gz")
    assert found["HyperParameters"]["mdlc_algorithm"] == "xgboost"
    tagged = service.client().list_tags(ResourceArn=found["TrainingJobArn"])["Tags"]
    assert tagged == [{"Key": "mdlc:lifecycle", "Value": "x"}]
    with pytest.raises(ClientError) as missing:
        service.client().describe_training_job(TrainingJobName="nobody")
    assert missing.value.response["Error"]["Code"] == "ValidationException"


def test_a_model_is_made_described_and_deleted(service: SageMaker) -> None:
    client, name = service.client(), _name("model")
    client.create_model(**model_request(name, IMAGE, _ARTIFACT, ROLE, environment={"MDLC_MODEL_VERSION": "3"}))
    found = client.describe_model(ModelName=name)
    assert found["PrimaryContainer"]["ModelDataUrl"] == _ARTIFACT
    assert found["PrimaryContainer"]["Environment"] == {"MDLC_MODEL_VERSION": "3"}
    assert name in [model["ModelName"] for model in client.list_models(NameContains=name)["Models"]]
    client.delete_model(ModelName=name)
    with pytest.raises(ClientError, match=r"[Cc]ould not find model"):
        client.describe_model(ModelName=name)


def test_versions_are_counted_approved_and_rejected(service: SageMaker) -> None:
    client, group = service.client(), _name("group")
    jobs = Jobs(client)
    request = package_group_request(group, "Fraud", {"mdlc:lifecycle": "x"})
    assert jobs.ensure("create_model_package_group", request, taken="already exists") is not None
    if service.form == "local":
        # moto takes a group twice; AWS does not.
        assert jobs.ensure("create_model_package_group", request, taken="already exists") is None
    arns = [
        client.create_model_package(
            **package_request(group, IMAGE, _ARTIFACT, description=text, metadata={"mdlc.version": text})
        )["ModelPackageArn"]
        for text in ("one", "two")
    ]
    assert [arn.rpartition("/")[2] for arn in arns] == ["1", "2"]
    waiting = client.describe_model_package(ModelPackageName=arns[1])
    assert waiting["ModelApprovalStatus"] == "PendingManualApproval"
    assert waiting["CustomerMetadataProperties"] == {"mdlc.version": "two"}
    client.update_model_package(**approval_request(arns[0], approved=True, who="ann@example.com", reason="better"))
    client.update_model_package(**approval_request(arns[1], approved=False, who="bob@example.com", reason="worse"))
    approved = client.describe_model_package(ModelPackageName=arns[0])
    assert (approved["ModelApprovalStatus"], approved["ApprovalDescription"]) == ("Approved", "ann@example.com: better")
    assert client.describe_model_package(ModelPackageName=arns[1])["ModelApprovalStatus"] == "Rejected"
    found = client.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    assert {item["ModelPackageVersion"]: item["ModelApprovalStatus"] for item in found} == {
        1: "Approved",
        2: "Rejected",
    }


def test_bytes_lie_at_s3_addresses(service: SageMaker) -> None:
    storage = service.storage("some/prefix")
    storage.write("a/b.bin", b"x")
    assert storage.location("a/b.bin").startswith("s3://")
    assert service.read(storage.location("a/b.bin")) == b"x"
    with pytest.raises(FileNotFoundError):
        service.read(storage.location("nothing"))


@pytest.mark.parametrize(
    "request_of",
    [
        {"ModelName": "with space", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": IMAGE}},
        {"ModelName": "m" * 64, "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": IMAGE}},
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, request_of: dict[str, Any]) -> None:
    # moto takes them; AWS does not, and neither does the local form.
    with pytest.raises(ClientError, match="ModelName: "):
        SageMaker(root=str(tmp_path)).client().create_model(**request_of)
