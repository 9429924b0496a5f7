"""DynamoDB, SNS, SQS and EventBridge: one request for each effect."""

from __future__ import annotations

import functools
import json
from typing import Any

from mdlc_assets.resources.outbox import Effect

_SERVICES = {"dynamodb": "dynamodb", "sns": "sns", "sqs": "sqs", "eventbridge": "events"}


@functools.cache
def _client(service: str) -> Any:
    from mdlc_assets.resources.aws import aws_client

    return aws_client(service, attempts=3, seconds=10)


class AwsSender:
    """Sends effects to one service, with the account and region of the environment."""

    def __init__(self, kind: str, client: Any = None) -> None:
        self.kind, self.client = kind, client or _client(_SERVICES[kind])

    def send(self, effect: Effect) -> None:
        """One request; boto3 repeats it when the service is busy."""
        content = {"idempotency_key": effect.key, **effect.payload}
        {"dynamodb": self._item, "sns": self._notice, "sqs": self._message, "eventbridge": self._event}[self.kind](
            effect, content
        )

    def _item(self, effect: Effect, content: dict[str, Any]) -> None:
        from boto3.dynamodb.types import TypeSerializer
        from botocore.exceptions import ClientError

        # DynamoDB takes no floats: numbers go as decimals of their shortest text.
        exact = json.loads(json.dumps(content), parse_float=_decimal)
        item = {name: TypeSerializer().serialize(value) for name, value in exact.items()}
        try:
            self.client.put_item(
                TableName=effect.target["table"],
                Item=item,
                ConditionExpression="attribute_not_exists(idempotency_key)",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def _notice(self, effect: Effect, content: dict[str, Any]) -> None:
        topic = str(effect.target["topic"])
        self.client.publish(
            TopicArn=topic,
            Message=json.dumps(content),
            MessageAttributes={"idempotency_key": {"DataType": "String", "StringValue": effect.key}},
            **_once(topic, effect.key, str(content.get("event", ""))),
        )

    def _message(self, effect: Effect, content: dict[str, Any]) -> None:
        queue = str(effect.target["queue"])
        self.client.send_message(
            QueueUrl=queue,
            MessageBody=json.dumps(content),
            MessageAttributes={"idempotency_key": {"DataType": "String", "StringValue": effect.key}},
            **_once(queue, effect.key, str(content.get("event", ""))),
        )

    def _event(self, effect: Effect, content: dict[str, Any]) -> None:
        entry = {
            "EventBusName": effect.target["bus"],
            "Source": effect.target["source"],
            "DetailType": "Decision",
            "Detail": json.dumps(content),
        }
        answer = self.client.put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise ConnectionError(f"EventBridge did not take it: {answer['Entries'][0].get('ErrorCode')}")


def _decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


def _once(place: str, key: str, group: str) -> dict[str, str]:
    """What makes a FIFO queue or topic drop repeats; events of their own need no order among them."""
    return {"MessageDeduplicationId": key, "MessageGroupId": group or key} if place.endswith(".fifo") else {}
