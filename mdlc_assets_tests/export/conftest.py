"""An account with what the workflows name: queue, topic, buckets, and SageMaker's local form."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.deployment import Deployment, RealTime
from mdlc_assets.export.places import Places
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets_tests.export.interpreter import ACCOUNT, REGION, Interpreter


@pytest.fixture(scope="module")
def sagemaker(tmp_path_factory: pytest.TempPathFactory) -> SageMaker:
    """SageMaker's local form, shared by the tests of a module."""
    return SageMaker(root=str(tmp_path_factory.mktemp("sagemaker")), region=REGION)


@pytest.fixture
def account(_moto_address: str, sagemaker: SageMaker, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    """The interpreter, with the queue and the topic of the stacks."""
    return Interpreter(_moto_address, sagemaker, monkeypatch)


@pytest.fixture
def places(account: Interpreter) -> Iterator[Places]:
    """A prefix of its own for each test: moto's server is shared by the session."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    made = Places(
        REGION,
        f"arn:aws:iam::{ACCOUNT}:role/{prefix}-sagemaker",
        account.sagemaker.own_image(),
        f"s3://{prefix}-models",
        f"s3://{prefix}-lake/lake",
        prefix,
        poll_seconds=1,
    )
    boto3.client("sqs").create_queue(QueueName=f"{prefix}-approvals")
    boto3.client("sqs").create_queue(QueueName=f"{prefix}-told")
    topic = boto3.client("sns").create_topic(Name=f"{prefix}-alerts")["TopicArn"]
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{prefix}-told"
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    for bucket in (f"{prefix}-models", f"{prefix}-lake"):
        boto3.client("s3").create_bucket(Bucket=bucket)
    yield made


@pytest.fixture(scope="session")
def small(payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    """The shipped lifecycle with a model that trains in a moment, and an endpoint of one worker."""
    model = payments_fraud.model.model_copy(
        update={
            "hyperparameters": {"n_estimators": 10, "n_jobs": 1},
            "refit": False,
            "features": ["amount", "is_night"],
        }
    )
    deployment = Deployment(real_time=RealTime(health_seconds=60))
    return payments_fraud.model_copy(update={"model": model, "deployment": deployment})


def messages(places: Places, queue: str) -> list[dict[str, Any]]:
    """What lies in a queue of the account, as far as it can be had now."""
    address = boto3.client("sqs").get_queue_url(QueueName=f"{places.prefix}-{queue}")["QueueUrl"]
    found = boto3.client("sqs").receive_message(QueueUrl=address, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]
