"""The stream's reader as a Lambda: Kinesis' own event, S3 and DynamoDB over HTTP against moto."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from mdlc_assets.commands import lambda_handler
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import OnlineFeatures, StoreAwayError
from mdlc_assets.features.state import microseconds
from mdlc_assets.realtime.dead_letters import DeadLetters
from mdlc_assets.realtime.lambda_batch import handle_batch
from mdlc_assets.realtime.stream_worker import StreamWorker
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.online_store import OnlineStore
from mdlc_assets.resources.storage import open_storage
from mdlc_assets.resources.streams.dynamodb_checkpoints import DynamoCheckpoints
from mdlc_assets.resources.streams.kinesis import KinesisStream
from mdlc_assets.sourcing.days import raw_day
from mdlc_assets_tests.deploy.recording import allowed, record_permissions
from mdlc_assets_tests.realtime.streaming import DAY, QUICK, Place, entries, event, ids_of


def kinesis_event(sent: list[tuple[str, bytes]]) -> dict[str, Any]:
    """The event that Lambda makes of records of one shard."""
    return {
        "Records": [
            {
                "eventID": f"shardId-000000000000:{4959 * 10**50 + number}",
                "eventSource": "aws:kinesis",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s",
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": key,
                    "sequenceNumber": str(4959 * 10**50 + number),
                    "data": base64.b64encode(data).decode(),
                    "approximateArrivalTimestamp": 1_790_000_000.125,
                },
            }
            for number, (key, data) in enumerate(sent)
        ]
    }


@pytest.fixture
def table(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The online store's table, and the function's environment."""
    name = f"online-{uuid.uuid4().hex}"
    OnlineStore(form="dynamodb", table=name).prepare()
    for variable, value in {
        "MDLC_LIFECYCLE": "payments_fraud",
        "MDLC_LANDING": f"{s3_root}/landing",
        "MDLC_ONLINE_TABLE": name,
    }.items():
        monkeypatch.setenv(variable, value)
    lambda_handler._handler.cache_clear()
    yield name
    lambda_handler._handler.cache_clear()
    boto3.client("dynamodb").delete_table(TableName=name)


def test_a_batch_lands_and_is_learnt_within_the_functions_rights(
    table: str, s3_root: str, payments_fraud: LifecycleDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = kinesis_event(entries([*(event(i) for i in range(30)), b"no event", *(event(i) for i in range(30, 40))]))
    recorded = record_permissions(monkeypatch)
    for _ in range(2):  # Lambda hands batches over at least once
        assert lambda_handler.handle(batch, None) == {"batchItemFailures": []}
    assert recorded, "nothing was recorded"
    assert recorded - allowed("stream", "Role") == set(), "the function's role lacks what it calls"
    feed = LandingZone(root=f"{s3_root}/landing").feed("payments_fraud", "transactions")
    frame = raw_day(payments_fraud, feed.files(DAY), feed.read).frame
    assert ids_of(frame) == list(range(40))
    online = OnlineFeatures(payments_fraud, OnlineStore(form="dynamodb", table=table).store)
    assert sorted(online.store.ids(online.space, microseconds(DAY), microseconds(DAY + timedelta(days=1)))) == list(
        range(40)
    )
    letters = DeadLetters(open_storage(f"{s3_root}/landing"), "payments_fraud")
    assert [letter.record.data for letter in letters.of_day(letters.days()[0])] == [b"no event"]


def test_what_is_away_makes_the_batch_come_again_from_there(
    tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    class Twice:
        def __init__(self) -> None:
            self.asked = 0

        def learn(self, events: Any) -> None:
            self.asked += 1
            if self.asked > 2:
                raise StoreAwayError("away")

    batch = kinesis_event(entries([event(i) for i in range(50)]))
    handler = Place(tmp_path, payments_fraud).handler(Twice())
    answer = handle_batch(handler, batch, at_once=20)
    assert answer == {"batchItemFailures": [{"itemIdentifier": batch["Records"][40]["kinesis"]["sequenceNumber"]}]}


def test_what_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDLC_LIFECYCLE", "payments_fraud")
    monkeypatch.delenv("MDLC_LANDING", raising=False)
    monkeypatch.delenv("MDLC_ONLINE_TABLE", raising=False)
    lambda_handler._handler.cache_clear()
    with pytest.raises(LookupError, match=r"^MDLC_LANDING, MDLC_ONLINE_TABLE: nothing is set\. Mend: "):
        lambda_handler.handle({"Records": []}, None)


def test_the_worker_reads_kinesis_with_checkpoints_in_dynamodb(
    s3_root: str, tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    stream = KinesisStream(f"s-{uuid.uuid4().hex}")
    stream.create(2, timedelta(days=1))
    checkpoints = DynamoCheckpoints(f"c-{uuid.uuid4().hex}", "payments_fraud")
    checkpoints.create()
    stream.put(entries([event(i) for i in range(120)]))
    place = Place(tmp_path, payments_fraud)
    done = StreamWorker(stream, checkpoints, place.handler(), QUICK).run(until_empty=True)
    assert done.landed == done.learnt == 120
    assert ids_of(place.raw()) == place.learnt() == list(range(120))
    assert StreamWorker(stream, checkpoints, place.handler(), QUICK).run(until_empty=True).landed == 0
    stream.put(entries([event(i) for i in range(120, 130)]))
    assert StreamWorker(stream, checkpoints, place.handler(), QUICK).run(until_empty=True).landed == 10
