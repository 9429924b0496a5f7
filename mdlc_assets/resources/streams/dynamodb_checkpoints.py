"""Checkpoints in a DynamoDB table, by conditional writes; see checkpoints.py for what they promise.

One table serves all applications: partition key `application`, sort key `item` (`shard#...` or `worker#...`), text.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from mdlc_assets.resources.streams.checkpoints import (
    ENDED,
    Entry,
    Lease,
    LeaseLostError,
    Progress,
    after_of,
    position_of,
)
from mdlc_assets.resources.streams.kinesis import away_errors


class DynamoCheckpoints:
    """The rows of `application` in the table `table`."""

    def __init__(self, table: str, application: str, resource: Any = None) -> None:
        import boto3

        from mdlc_assets.resources.aws import explained, limits

        self.application, self.name = application, table
        self.resource = resource or boto3.resource("dynamodb", config=limits())
        explained(self.resource.meta.client)
        self.table = self.resource.Table(table)

    def create(self) -> None:
        """Make the table where it is not there."""
        try:
            self.resource.create_table(
                TableName=self.name,
                KeySchema=[
                    {"AttributeName": "application", "KeyType": "HASH"},
                    {"AttributeName": "item", "KeyType": "RANGE"},
                ],
                AttributeDefinitions=[
                    {"AttributeName": name, "AttributeType": "S"} for name in ("application", "item")
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        except self.resource.meta.client.exceptions.ResourceInUseException:
            return
        self.table.wait_until_exists()

    def entries(self) -> dict[str, Entry]:
        found = {}
        for item in self._items("shard#"):
            shard, position = item["item"].removeprefix("shard#"), item["position"]
            progress = Progress(int(item["behind_ms"]), int(item["events"]), item["event_time"])
            found[shard] = Entry(
                *(shard, item["owner"], float(item["until"]), after_of(position), position == ENDED),
                *(float(item["seen"]), progress),
            )
        return found

    def take(self, shard: str, owner: str, seconds: float) -> Lease | None:
        now = time.time()
        row = self._update(
            f"shard#{shard}",
            "SET #owner = :owner, #token = if_not_exists(#token, :none) + :one, #until = :until, #seen = :now, "
            "#position = if_not_exists(#position, :empty), behind_ms = if_not_exists(behind_ms, :none), "
            "events = if_not_exists(events, :none), event_time = if_not_exists(event_time, :empty)",
            "attribute_not_exists(#until) OR #until < :now OR #owner = :empty OR #owner = :owner",
            {
                ":owner": owner,
                ":none": 0,
                ":one": 1,
                ":until": _number(now + seconds),
                ":now": _number(now),
                ":empty": "",
            },
        )
        if row is None:
            return None
        return Lease(shard, owner, int(row["token"]), after_of(row["position"]), row["position"] == ENDED)

    def write(
        self, lease: Lease, seconds: float, progress: Progress, *, after: str | None = None, ended: bool = False
    ) -> Lease:
        now, position = time.time(), position_of(after, ended)
        values = {
            ":until": _number(now + seconds),
            ":now": _number(now),
            ":behind": progress.behind_ms,
            ":events": progress.events,
            ":time": progress.event_time,
            ":token": lease.token,
            ":owner": lease.owner,
        }
        change = "SET #until = :until, #seen = :now, behind_ms = :behind, events = :events, event_time = :time"
        condition = "#token = :token AND #owner = :owner"
        if position:
            values[":position"] = position
            change, condition = f"{change}, #position = :position", f"{condition} AND #position < :position"
        if self._update(f"shard#{lease.shard}", change, condition, values) is None:
            raise LeaseLostError(lease.shard)
        return Lease(lease.shard, lease.owner, lease.token, after or lease.after, ended or lease.ended)

    def release(self, lease: Lease) -> None:
        self._update(
            f"shard#{lease.shard}",
            "SET #owner = :empty, #until = :none",
            "#token = :token AND #owner = :owner",
            {":empty": "", ":none": 0, ":token": lease.token, ":owner": lease.owner},
        )

    def greet(self, owner: str, seconds: float) -> None:
        with away_errors(self.name):
            self.table.put_item(Item={**self._key(f"worker#{owner}"), "until": _number(time.time() + seconds)})

    def leave(self, owner: str) -> None:
        with away_errors(self.name):
            self.table.delete_item(Key=self._key(f"worker#{owner}"))

    def workers(self) -> list[str]:
        now = time.time()
        return sorted(i["item"].removeprefix("worker#") for i in self._items("worker#") if float(i["until"]) >= now)

    def _key(self, item: str) -> dict[str, str]:
        return {"application": self.application, "item": item}

    def _items(self, prefix: str) -> list[dict[str, Any]]:
        from boto3.dynamodb.conditions import Key

        asked: dict[str, Any] = {
            "KeyConditionExpression": Key("application").eq(self.application) & Key("item").begins_with(prefix),
            "ConsistentRead": True,
        }
        found: list[dict[str, Any]] = []
        with away_errors(self.name):
            while True:
                page = self.table.query(**asked)
                found += page["Items"]
                if "LastEvaluatedKey" not in page:
                    return found
                asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _update(self, item: str, change: str, condition: str, values: dict[str, Any]) -> dict[str, Any] | None:
        """The item afterwards; None when the condition did not hold."""
        names = [name for name in ("owner", "token", "until", "seen", "position") if f"#{name}" in change + condition]
        try:
            with away_errors(self.name):
                return self.table.update_item(
                    Key=self._key(item),
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={f"#{name}": name for name in names},
                    ExpressionAttributeValues=values,
                    ReturnValues="ALL_NEW",
                )["Attributes"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return None
            raise


def _number(value: float) -> Decimal:
    return Decimal(f"{value:.3f}")
