"""The outbox in a DynamoDB table: partition key `key`, and the index `due` (partition key `state`, sort key `due_at`).

A decision's mark and its effects are written in one transaction, on the condition that the mark is not there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mdlc_assets.resources.outbox import Acted, Effect

_INDEX = "due"


class DynamoOutbox:
    """An outbox that many processes share."""

    at_hand = False

    def __init__(self, table: str, client: Any = None) -> None:
        from mdlc_assets.resources.aws import aws_client

        self.table, self.client = table, client or aws_client("dynamodb")

    def create(self) -> None:
        """Make the table, for tests; in production CloudFormation does."""
        attributes = [("key", "S"), ("state", "S"), ("due_at", "N")]
        self.client.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in attributes],
            KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": _INDEX,
                    "KeySchema": [
                        {"AttributeName": "state", "KeyType": "HASH"},
                        {"AttributeName": "due_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        self.client.get_waiter("table_exists").wait(TableName=self.table)

    def put(self, acted: Sequence[Acted]) -> int:
        from botocore.exceptions import ClientError

        new = 0
        for one in acted:
            items: list[dict[str, Any]] = [{"key": {"S": f"acted#{one.decision_id}"}}]
            items += [
                {
                    "key": {"S": effect.key},
                    "target": {"S": json.dumps(dict(effect.target))},
                    "payload": {"S": json.dumps(dict(effect.payload))},
                    "state": {"S": "due"},
                    "attempts": {"N": "0"},
                    "due_at": {"N": "0"},
                }
                for effect in one.effects
            ]
            writes = [
                {"Put": {"TableName": self.table, "Item": item, "ConditionExpression": "attribute_not_exists(#k)",
                         "ExpressionAttributeNames": {"#k": "key"}}}
                for item in items
            ]  # fmt: skip
            try:
                self.client.transact_write_items(TransactItems=writes)
                new += 1
            except ClientError as error:
                reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
                if "ConditionalCheckFailed" not in reasons:
                    raise
        return new

    def claim(self, now: float, lease_seconds: float, most: int = 20) -> list[Effect]:
        found = self.client.query(
            TableName=self.table,
            IndexName=_INDEX,
            KeyConditionExpression="#s = :due AND due_at <= :now",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={":due": {"S": "due"}, ":now": {"N": repr(now)}},
            Limit=most,
        )["Items"]
        claimed = (self._claim_one(item["key"]["S"], now, now + lease_seconds) for item in found)
        return [effect for effect in claimed if effect is not None]

    def _claim_one(self, key: str, now: float, until: float) -> Effect | None:
        from botocore.exceptions import ClientError

        try:
            item = self.client.update_item(
                TableName=self.table,
                Key={"key": {"S": key}},
                UpdateExpression="SET due_at = :until ADD attempts :one",
                ConditionExpression="#s = :due AND due_at <= :now",
                ExpressionAttributeNames={"#s": "state"},
                ExpressionAttributeValues={
                    ":until": {"N": repr(until)},
                    ":now": {"N": repr(now)},
                    ":due": {"S": "due"},
                    ":one": {"N": "1"},
                },
                ReturnValues="ALL_NEW",
            )["Attributes"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return None  # another process was quicker
            raise
        return Effect(
            key, json.loads(item["target"]["S"]), json.loads(item["payload"]["S"]), int(item["attempts"]["N"])
        )

    def delivered(self, key: str) -> None:
        self._mark(key, "delivered", "", 0.0)

    def failed(self, key: str, error: str, again_at: float | None) -> None:
        self._mark(key, "dead" if again_at is None else "due", error[:300], again_at or 0.0)

    def _mark(self, key: str, state: str, error: str, due_at: float) -> None:
        from botocore.exceptions import ClientError

        try:
            self.client.update_item(
                TableName=self.table,
                Key={"key": {"S": key}},
                UpdateExpression="SET #s = :state, #e = :error, due_at = :at",
                ConditionExpression="#s = :due",
                ExpressionAttributeNames={"#s": "state", "#e": "error"},
                ExpressionAttributeValues={
                    ":state": {"S": state},
                    ":error": {"S": error},
                    ":at": {"N": repr(due_at)},
                    ":due": {"S": "due"},
                },
            )
        except ClientError as failure:
            # Somebody else delivered it after the lease was over.
            if failure.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def counts(self) -> dict[str, int]:
        return {state: self._count(state) for state in ("due", "delivered", "dead")}

    def _count(self, state: str) -> int:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName=_INDEX,
            Select="COUNT",
            KeyConditionExpression="#s = :state",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={":state": {"S": state}},
        )
        return sum(page["Count"] for page in pages)
