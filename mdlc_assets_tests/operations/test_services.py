"""Doctor's questions to SNS, DynamoDB, Kinesis and CloudWatch: on moto's server, and with faults put in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import Stubber
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.home import Home
from mdlc_assets.operations.services import Question, answers, questions
from mdlc_assets.resources.outbox_dynamodb import DynamoOutbox

_KEYS = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
_TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
_NAMED = {
    "MDLC_ALERT_SNS_TOPIC": _TOPIC,
    "MDLC_ALERT_CLOUDWATCH": "MDLC",
    "MDLC_OUTBOX": "dynamodb:outbox",
    "MDLC_STREAM_CHECKPOINTS": "checkpoints",
    "MDLC_KINESIS_STREAM": "events-{lifecycle}",
}


def test_what_is_not_named_is_not_asked() -> None:
    assert questions({"MDLC_OUTBOX": "/some/file.db"}, ["a"]) == []
    asked = questions(_NAMED, ["a", "b"])
    assert [one.thing for one in asked if one.service == "kinesis"] == ["events-a", "events-b"]


def test_doctor_on_what_is_there_and_what_is_not(s3_root: str, tmp_path: Path) -> None:
    queue = boto3.client("sqs").create_queue(QueueName="told")["QueueUrl"]
    topic = boto3.client("sns").create_topic(Name="alerts")["TopicArn"]
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:told")
    DynamoOutbox("outbox").create()
    boto3.client("kinesis").create_stream(StreamName="events-payments_fraud", ShardCount=1)
    Home(tmp_path).prepare()
    named = {**_NAMED, "MDLC_ALERT_SNS_TOPIC": topic, "MDLC_HOME": str(tmp_path), "DAGSTER_HOME": None}
    named |= {"MDLC_KINESIS_STREAM": "events-payments_fraud"}
    try:
        ran = CliRunner().invoke(main, ["doctor", "--json"], env=named)
        found = json.loads(ran.stdout[ran.stdout.index("[") :])
        said = {one["check"]: one for one in found if one["check"] in ("sns", "dynamodb", "kinesis", "cloudwatch")}
        assert ran.exit_code == 1
        assert said["sns"]["says"] == "SNS answers for alerts"
        assert said["kinesis"]["says"] == "Kinesis answers for events-payments_fraud"
        assert said["cloudwatch"]["says"] == "CloudWatch answers for MDLC"
        assert said["dynamodb"]["says"] == "MDLC_STREAM_CHECKPOINTS=checkpoints: is not there"
        assert "correct MDLC_STREAM_CHECKPOINTS" in said["dynamodb"]["mend"]
        assert "Messages" not in boto3.client("sqs").receive_message(QueueUrl=queue), "nobody was told anything"
        assert boto3.client("cloudwatch").list_metrics(Namespace="MDLC")["Metrics"] == []
    finally:
        boto3.client("dynamodb").delete_table(TableName="outbox")
        boto3.client("kinesis").delete_stream(StreamName="events-payments_fraud")
        boto3.client("sns").delete_topic(TopicArn=topic)
        boto3.client("sqs").delete_queue(QueueUrl=queue)


_ASKED = questions(_NAMED, ["a"])


def _answer(question: Question, code: str) -> Any:
    client = boto3.client(question.service, **_KEYS)
    with Stubber(client) as stub:
        stub.add_client_error(question.method, code, "no", 400)
        (found,) = answers([question], lambda service: client)
    return found


@pytest.mark.parametrize("question", _ASKED, ids=[one.variable for one in _ASKED])
def test_each_fault_is_told_with_variable_and_mend(question: Question) -> None:
    denied = _answer(question, "AccessDeniedException")
    assert denied.says.startswith(f"{question.variable}={question.thing}: not allowed: {question.permission}")
    assert question.permission in denied.mend
    assert "throttled" in _answer(question, "ThrottlingException").says
    assert "credentials" in _answer(question, "ExpiredTokenException").mend
    assert "is not there" in _answer(question, "ResourceNotFoundException").says
    assert _answer(question, "InternalFailure").mend.endswith("InternalFailure")

    class Slow:
        def __getattr__(self, name: str) -> Any:
            def times_out(**request: Any) -> None:
                raise ConnectTimeoutError(endpoint_url="x")

            return times_out

    (slow,) = answers([question], lambda service: Slow())
    assert "no answer (ConnectTimeoutError)" in slow.says
    assert slow.mend
