"""Checks of the AWS services that the environment names: each is asked by a call that changes nothing.

Where only writing is allowed, what is sent is such that the service must refuse it: a subject that is too long, a
figure that is no number. That it refuses the content shows that it took the address and the permission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mdlc_assets.resources.aws import DENIED, EXPIRED, THROTTLED

_NOTHING = "mdlc-doctor-asks-for-nothing"
_ABSENT = ("ResourceNotFoundException", "NotFound", "NotFoundException")
# Kinesis answers so to questions that come too often.
BUSY = THROTTLED | {"LimitExceededException"}
_DOMAINS = {"sns": "SNS", "dynamodb": "DynamoDB", "kinesis": "Kinesis", "cloudwatch": "CloudWatch"}


@dataclass(frozen=True)
class Question:
    """A call that changes nothing, about the thing that a variable names. `refused` are the answers that are good."""

    variable: str
    thing: str
    service: str
    method: str
    permission: str
    request: Mapping[str, Any]
    refused: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Answer:
    """What came of it; `mend` is empty when all is well."""

    service: str
    says: str
    mend: str = ""


def questions(environment: Mapping[str, str], lifecycles: Sequence[str]) -> list[Question]:
    """What there is to ask; nothing about what the environment does not name."""
    asked = []
    if topic := environment.get("MDLC_ALERT_SNS_TOPIC"):
        request = {"TopicArn": topic, "Subject": _NOTHING * 5, "Message": _NOTHING}
        refused = ("InvalidParameter", "InvalidParameterException")
        asked.append(Question("MDLC_ALERT_SNS_TOPIC", topic, "sns", "publish", "sns:Publish", request, refused))
    if namespace := environment.get("MDLC_ALERT_CLOUDWATCH"):
        figure = {"MetricName": _NOTHING, "Value": float("nan")}
        asked.append(
            Question(
                "MDLC_ALERT_CLOUDWATCH",
                namespace,
                "cloudwatch",
                "put_metric_data",
                "cloudwatch:PutMetricData",
                {"Namespace": namespace, "MetricData": [figure]},
                ("InvalidParameterValue", "InvalidParameterValueException"),
            )
        )
    if (place := environment.get("MDLC_OUTBOX", "")).startswith("dynamodb:"):
        table = place.removeprefix("dynamodb:")
        asked.append(_query("MDLC_OUTBOX", table, "state", IndexName="due"))
    if table := environment.get("MDLC_STREAM_CHECKPOINTS", ""):
        asked.append(_query("MDLC_STREAM_CHECKPOINTS", table, "application"))
    if pattern := environment.get("MDLC_KINESIS_STREAM", ""):
        for name in dict.fromkeys(pattern.replace("{lifecycle}", lifecycle) for lifecycle in lifecycles):
            permission = "kinesis:DescribeStreamSummary"
            request = {"StreamName": name}
            asked.append(
                Question("MDLC_KINESIS_STREAM", name, "kinesis", "describe_stream_summary", permission, request)
            )
    return asked


def _query(variable: str, table: str, key: str, **more: str) -> Question:
    request = {
        "TableName": table,
        "KeyConditionExpression": "#k = :k",
        "ExpressionAttributeNames": {"#k": key},
        "ExpressionAttributeValues": {":k": {"S": _NOTHING}},
        "Limit": 1,
        **more,
    }
    return Question(variable, table, "dynamodb", "query", "dynamodb:Query", request)


def answers(asked: Sequence[Question], client_of: Callable[[str], Any]) -> Iterator[Answer]:
    """One answer for each service: that all is well, or one for each thing that is not."""
    for service in dict.fromkeys(one.service for one in asked):
        ours = [one for one in asked if one.service == service]
        wrong = [found for one in ours if (found := _ask(one, client_of(service)))]
        yield from wrong
        if not wrong:
            names = ", ".join(one.thing.rsplit(":", 1)[-1] for one in ours)
            yield Answer(service, f"{_DOMAINS[service]} answers for {names}")


def _ask(question: Question, client: Any) -> Answer | None:
    from botocore.exceptions import BotoCoreError, ClientError

    about = f"{question.variable}={question.thing}"
    try:
        getattr(client, question.method)(**question.request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in question.refused:
            return None
        return Answer(question.service, *_said(question, about, code))
    except BotoCoreError as error:
        said = f"{about}: no answer ({type(error).__name__})"
        return Answer(question.service, said, "check the region and the way to AWS (endpoint of the VPC, proxy)")
    return None


def _said(question: Question, about: str, code: str) -> tuple[str, str]:
    if code in EXPIRED:
        return f"{about}: the credentials are refused: {code}", "renew the credentials that boto3 finds"
    if code in DENIED:
        mend = f"allow {question.permission} on it to the role; deploy/cloudformation/roles.yaml has it"
        return f"{about}: not allowed: {question.permission}", mend
    if code in _ABSENT:
        return f"{about}: is not there", f"deploy the stack that makes it, or correct {question.variable}"
    if code in BUSY:
        return f"{about}: throttled: {code}", "try again; if it stays so, raise the account's limit"
    return f"{about}: {code}", f"see what AWS says of {question.permission}: {code}"
