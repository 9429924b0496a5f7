"""The online store in a DynamoDB table: for any number of machines.

One table holds everything, told apart by the first word of the partition key `pk`:

    item|<space>|<column>|<entity>    `sk` instant and id: an event of an entity; `data`, `mark`
    event|<space>|<id>                an event's locator; `instant`, `due`, `places`, `label`, `known_at`
    version|<space>|<feed>|<entity>   `sk` instant: what is known of an entity from then on; `content`
    note|<name>                       `content`

The event writer updates the locator first and learns a label from it; the label writer updates it first too, and learns
the places. Each changes only its own attributes of an item. So whichever comes between the other's calls, an event
that is there has its label when both are through, and both may be called again.

Items go by TTL when no window reaches them any more. The index `by_day` finds the events of a day, in shards so that
no partition of it takes all writes of a day.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from mdlc_assets.resources.aws import aws_client
from mdlc_assets.resources.online_store.dynamodb_batches import get_all, write_all
from mdlc_assets.resources.online_store.items import (
    Entity,
    EventItems,
    Identity,
    Label,
    Place,
    Row,
    StoreAwayError,
    edge_of,
    key_of,
    mark_of,
)

_ALONE = b"\0"
_SHARDS = 8
_WRITERS = 16
_DAY = 86_400_000_000
_UNMATCHED_DAYS = 90  # how long a label is kept whose event never comes
INDEX = "by_day"


class DynamoStore:
    """The store in `table`. A read has one try within `timeout` seconds; a write that AWS refuses for now has more."""

    def __init__(self, table: str, timeout: float = 1.0, *, region: str = "", endpoint_url: str = "") -> None:
        self.table, self.timeout = table, timeout
        self.region, self.endpoint_url = region, endpoint_url

    def put(self, space: str, events: Sequence[EventItems]) -> None:
        """Take events in; those that are there already become what they are now."""
        with self._away():
            self._each(lambda event: self._put_event(space, event), events)
            self._note_newest(space, events)

    def fill(self, space: str, events: Sequence[EventItems], labels: Mapping[Identity, Label]) -> None:
        """Take whole events in with their labels, many at a time: for who fills from the lake."""
        with self._away():
            before = self._locators(space, [event.id for event in events])
            writes = []
            for event in events:
                writes += self._deletes(space, event.id, before.get(event.id, {}), event)
                label = labels.get(event.id)
                locator = {**_locator_key(space, event.id), **_locator_values(space, event)}
                if label is not None and label.label is not None:
                    locator |= _label_values(label)
                writes.append({"PutRequest": {"Item": locator}})
                mark = mark_of(label.label, label.known_at, event.due) if label else 0
                for place, data in event.items.items():
                    item = {**_item_key(space, place, event), "data": {"B": data}, "ttl": _ttl(event)}
                    writes.append({"PutRequest": {"Item": {**item, "mark": {"N": str(mark)}}}})
            write_all(self._writer, self.table, writes, self._pool)
            self._note_newest(space, events)

    def put_labels(self, space: str, labels: Sequence[Label], *, replace: bool = False) -> None:
        """Note labels, whether or not their events are there yet. Of several for one event that known last stays,
        unless the others are to be replaced."""
        with self._away():
            self._each(lambda label: self._put_label(space, label, replace=replace), labels)

    def query(self, space: str, column: str, entity: Entity, after: int, until: int) -> list[Row]:
        """An entity's events later than `after` up to and with `until`, in order of instant and id."""
        asked: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ProjectionExpression": "sk, #d, mark",
            "ExpressionAttributeNames": {"#d": "data"},
            "ExpressionAttributeValues": {
                ":pk": {"S": f"item|{space}|{column}|{_name(entity)}"},
                ":first": {"B": edge_of(after + 1)},
                ":last": {"B": edge_of(until + 1)},
            },
            "ConsistentRead": True,
        }
        with self._away():
            return [
                (item["sk"]["B"], item["data"]["B"], int(item["mark"]["N"]) if "mark" in item else 0)
                for item in self._pages(asked)
                if "data" in item  # a label that came before its event
            ]

    def put_versions(self, space: str, feed: str, versions: Iterable[tuple[Entity, int, str]]) -> None:
        """Take in what is known of entities: entity, from when on, and the attributes as JSON."""
        writes = [
            {"PutRequest": {"Item": {**_version_key(space, feed, entity, known_at), "content": {"S": content}}}}
            for entity, known_at, content in versions
        ]
        with self._away():
            write_all(self._writer, self.table, writes, self._pool)

    def version(self, space: str, feed: str, entity: Entity, instant: int) -> str | None:
        """What was known of an entity at an instant; None before the first version."""
        key = _version_key(space, feed, entity, instant)
        with self._away():
            found = self._reader.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND sk <= :sk",
                ExpressionAttributeValues={":pk": key["pk"], ":sk": key["sk"]},
                ScanIndexForward=False,
                Limit=1,
                ConsistentRead=True,
            )["Items"]
        return found[0]["content"]["S"] if found else None

    def ids(self, space: str, first: int, last: int) -> list[Identity]:
        """The events from the instant `first` to before `last`, those of the last moments perhaps not yet."""
        days = range(first // _DAY, (last - 1) // _DAY + 1)
        found = []
        with self._away():
            for day in (f"{space}|{day}|{shard}" for day in days for shard in range(_SHARDS)):
                asked = {
                    "TableName": self.table,
                    "IndexName": INDEX,
                    "KeyConditionExpression": "#day = :day AND instant BETWEEN :first AND :last",
                    "ExpressionAttributeNames": {"#day": "day"},
                    "ExpressionAttributeValues": {
                        ":day": {"S": day},
                        ":first": {"N": str(first)},
                        ":last": {"N": str(last - 1)},
                    },
                }
                found += [_identity(item["pk"]["S"].split("|", 2)[2]) for item in self._pages(asked, self._writer)]
        return found

    def remove(self, space: str, ids: Iterable[Identity]) -> int:
        """Take events away, with their labels; gives how many there were."""
        with self._away():
            before = self._locators(space, list(ids))
            writes = []
            for identity, locator in before.items():
                writes += self._deletes(space, identity, locator, None)
                writes.append({"DeleteRequest": {"Key": _locator_key(space, identity)}})
            write_all(self._writer, self.table, writes, self._pool)
        return len(before)

    def sweep(self, space: str, before: int) -> int:
        """Nothing: what is out of reach goes by its TTL."""
        return 0

    def clear(self, space: str) -> None:
        """Nothing: what nobody asks for any more goes by its TTL."""

    def newest(self, space: str) -> int | None:
        """The instant of the newest event; None when there is none."""
        found = self._get(f"newest|{space}")
        return int(found["instant"]["N"]) if found else None

    def note(self, name: str) -> dict[str, Any] | None:
        """What was noted under a name."""
        found = self._get(f"note|{name}")
        return json.loads(found["content"]["S"]) if found else None

    def write_note(self, name: str, content: dict[str, Any]) -> None:
        """Note something under a name, in the place of what was there."""
        item = {**_key(f"note|{name}"), "content": {"S": json.dumps(content)}}
        with self._away():
            self._writer.put_item(TableName=self.table, Item=item)

    def make_table(self, tags: Mapping[str, str]) -> None:
        """Make the table, paid by request, with its index and TTL; where it is there already, do nothing."""
        with self._away():
            client = self._writer
            try:
                client.create_table(
                    TableName=self.table,
                    BillingMode="PAY_PER_REQUEST",
                    AttributeDefinitions=[
                        {"AttributeName": name, "AttributeType": kind}
                        for name, kind in (("pk", "S"), ("sk", "B"), ("day", "S"), ("instant", "N"))
                    ],
                    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                    GlobalSecondaryIndexes=[
                        {
                            "IndexName": INDEX,
                            "KeySchema": [
                                {"AttributeName": "day", "KeyType": "HASH"},
                                {"AttributeName": "instant", "KeyType": "RANGE"},
                            ],
                            "Projection": {"ProjectionType": "KEYS_ONLY"},
                        }
                    ],
                    Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                )
            except client.exceptions.ResourceInUseException:
                return
            client.get_waiter("table_exists").wait(TableName=self.table, WaiterConfig={"Delay": 2})
            client.update_time_to_live(
                TableName=self.table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"}
            )

    def _put_event(self, space: str, event: EventItems) -> None:
        values = _locator_values(space, event)
        before = self._update(_locator_key(space, event.id), values, returned="ALL_OLD")
        write_all(self._writer, self.table, self._deletes(space, event.id, before, event), None)
        label, known_at = _number(before, "label"), _number(before, "known_at")
        for place, data in event.items.items():
            values = {"data": {"B": data}, "ttl": _ttl(event)}
            if label is not None:
                values["mark"] = {"N": str(mark_of(label, known_at, event.due))}
            self._update(_item_key(space, place, event), values)

    def _put_label(self, space: str, label: Label, *, replace: bool) -> None:
        until = int(time.time()) + _UNMATCHED_DAYS * 86_400
        key, condition = _locator_key(space, label.id), "attribute_not_exists(known_at) OR known_at <= :known_at"
        values = _label_values(label)
        if "known_at" not in values:
            condition = "attribute_not_exists(known_at)"
        try:
            now = self._update(
                key,
                values,
                returned="ALL_NEW",
                condition="" if replace else condition,
                gone=[name for name in ("label", "known_at") if name not in values] if replace else [],
                unless_there={"ttl": {"N": str(until)}},
            )
        except self._writer.exceptions.ConditionalCheckFailedException:
            # One that is known later stays. Its own items may lack it, where its writer was killed.
            now = self._locators(space, [label.id]).get(label.id, {})
        if "places" not in now:
            return
        mark = mark_of(_number(now, "label"), _number(now, "known_at"), int(now["due"]["N"]))
        event = EventItems(label.id, int(now["instant"]["N"]), 0, {})
        for place in _places(now):
            self._update(_item_key(space, place, event), {"mark": {"N": str(mark)}, "ttl": now["ttl"]})

    def _update(
        self,
        key: dict[str, Any],
        values: Mapping[str, Any],
        *,
        returned: str = "NONE",
        condition: str = "",
        gone: Sequence[str] = (),
        unless_there: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Set some attributes of an item, which is made where it is not there."""
        kept = unless_there or {}
        sets = [f"#{name} = :{name}" for name in values] + [f"#{n} = if_not_exists(#{n}, :{n})" for n in kept]
        expression = ("SET " + ", ".join(sets)) + (" REMOVE " + ", ".join(f"#{n}" for n in gone) if gone else "")
        asked: dict[str, Any] = {
            "TableName": self.table,
            "Key": key,
            "UpdateExpression": expression,
            "ExpressionAttributeNames": {f"#{name}": name for name in (*values, *kept, *gone)},
            "ExpressionAttributeValues": {f":{name}": value for name, value in {**values, **kept}.items()},
            "ReturnValues": returned,
        }
        if condition:
            asked["ConditionExpression"] = condition
        return self._writer.update_item(**asked).get("Attributes", {})

    def _deletes(
        self, space: str, identity: Identity, locator: Mapping[str, Any], now: EventItems | None
    ) -> list[dict[str, Any]]:
        """Requests that take away where an event lay and lies no more."""
        if "places" not in locator:
            return []
        before = EventItems(identity, int(locator["instant"]["N"]), 0, {})
        kept = set(now.items) if now is not None and now.instant == before.instant else set()
        gone = [place for place in _places(locator) if place not in kept]
        return [{"DeleteRequest": {"Key": _item_key(space, place, before)}} for place in gone]

    def _locators(self, space: str, ids: Sequence[Identity]) -> dict[Identity, dict[str, Any]]:
        found = get_all(self._writer, self.table, [_locator_key(space, identity) for identity in ids])
        return {_identity(item["pk"]["S"].split("|", 2)[2]): item for item in found}

    def _note_newest(self, space: str, events: Sequence[EventItems]) -> None:
        if not events:
            return
        newest = {"instant": {"N": str(max(event.instant for event in events))}}
        with suppress(self._writer.exceptions.ConditionalCheckFailedException):
            self._update(
                _key(f"newest|{space}"), newest, condition="attribute_not_exists(instant) OR instant < :instant"
            )

    def _get(self, name: str) -> dict[str, Any] | None:
        with self._away():
            return self._reader.get_item(TableName=self.table, Key=_key(name), ConsistentRead=True).get("Item")

    def _pages(self, asked: Mapping[str, Any], client: Any = None) -> Iterator[dict[str, Any]]:
        """All items of a query, page by page."""
        more: dict[str, Any] = {}
        while True:
            page = (client or self._reader).query(**asked, **more)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _each(self, work: Callable[[Any], None], things: Sequence[Any]) -> None:
        """Side by side; the first failure is raised once all are through."""
        list(self._pool.map(work, things))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_WRITERS, "online-store")

    @cached_property
    def _reader(self) -> Any:
        return self._client(1)

    @cached_property
    def _writer(self) -> Any:
        return self._client(5)

    def _client(self, attempts: int) -> Any:
        from botocore.config import Config

        settings = Config(region_name=self.region or None, max_pool_connections=2 * _WRITERS)
        return aws_client(
            "dynamodb",
            attempts=attempts,
            seconds=self.timeout / 2,
            endpoint_url=self.endpoint_url or None,
            config=settings,
        )

    @contextmanager
    def _away(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise StoreAwayError(
                f"the online store, DynamoDB table {self.table!r}, did not answer: {error}. Mend: see that the table "
                "is there (`OnlineStore.prepare` makes it), that the role may use it, and that it can be reached."
            ) from error


def _key(name: str, place: bytes = _ALONE) -> dict[str, Any]:
    return {"pk": {"S": name}, "sk": {"B": place}}


def _name(of: Entity) -> str:
    return f"i{of}" if isinstance(of, int) else f"s{of}"


def _identity(name: str) -> Identity:
    return int(name[1:]) if name[0] == "i" else name[1:]


def _item_key(space: str, place: Place, event: EventItems) -> dict[str, Any]:
    return _key(f"item|{space}|{place[0]}|{_name(place[1])}", key_of(event.instant, event.id))


def _locator_key(space: str, identity: Identity) -> dict[str, Any]:
    return _key(f"event|{space}|{_name(identity)}")


def _version_key(space: str, feed: str, entity: Entity, known_at: int) -> dict[str, Any]:
    return _key(f"version|{space}|{feed}|{_name(entity)}", edge_of(known_at))


def _locator_values(space: str, event: EventItems) -> dict[str, Any]:
    shard = zlib.crc32(_name(event.id).encode()) % _SHARDS
    return {
        "instant": {"N": str(event.instant)},
        "due": {"N": str(event.due)},
        "places": {"S": json.dumps(list(event.items))},
        "day": {"S": f"{space}|{event.instant // _DAY}|{shard}"},
        "ttl": _ttl(event),
    }


def _label_values(label: Label) -> dict[str, Any]:
    named = {"label": label.label, "known_at": label.known_at}
    return {name: {"N": str(value)} for name, value in named.items() if value is not None}


def _places(locator: Mapping[str, Any]) -> list[Place]:
    return [(column, entity) for column, entity in json.loads(locator["places"]["S"])]


def _number(item: Mapping[str, Any], name: str) -> int | None:
    return int(item[name]["N"]) if name in item else None


def _ttl(event: EventItems) -> dict[str, str]:
    """In seconds: as long after now as windows reach, so that old events that are brought in do not go at once."""
    return {"N": str(max(event.instant // 1_000_000, int(time.time())) + event.kept // 1_000_000)}
