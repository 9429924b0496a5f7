"""Effects reach the far end once, whatever it does: real SQLite, moto over HTTP, a real webhook server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mdlc_assets.declaration.actions import DynamoTable, EventBus, Folder, Queue, Topic, Webhook
from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.integration.effects import LEASE_SECONDS, acted, deliver_due
from mdlc_assets.resources.actions.aws import AwsSender, _client
from mdlc_assets.resources.actions.webhook import signature
from mdlc_assets.resources.outbox import Effect, Outbox, SqliteOutbox
from mdlc_assets.resources.outbox_dynamodb import DynamoOutbox
from mdlc_assets_tests.resources.actions.webhooks import Far, far_end


def effect(target: Any, key: str = "d1-0") -> Effect:
    return Effect(key, target.model_dump(), {"decision_id": "d1", "event": 7, "score": 0.93, "decision": "block"})


@pytest.fixture
def aws(s3_root: str) -> Iterator[None]:
    """The environment of moto's server."""
    _client.cache_clear()
    yield
    _client.cache_clear()


@pytest.fixture(params=["sqlite", "dynamodb"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Outbox:
    if request.param == "sqlite":
        return SqliteOutbox(tmp_path / "outbox.db")
    request.getfixturevalue("aws")
    made = DynamoOutbox(f"outbox-{tmp_path.name}")
    made.create()
    return made


@pytest.fixture
def far() -> Iterator[Far]:
    with far_end() as server:
        yield server


def decisions(*targets: Any) -> Decisions:
    return Decisions.model_validate(
        {
            "rules": [{"name": "r", "when": "score > 0.5", "decide": "block", "reason": "high"}],
            "otherwise": "allow",
            "actions": {
                "allow": "Let it pass.",
                "block": {"words": "Refuse it.", "do": [target.model_dump() for target in targets]},
            },
        }
    )


def put(outbox: Outbox, declared: Decisions, decision_id: str = "d1") -> int:
    found = acted(declared, decision_id, "block", {"event": 7, "score": 0.93})
    assert found is not None
    return outbox.put([found])


def test_a_decision_acts_once_however_often_it_is_made(outbox: Outbox, tmp_path: Path) -> None:
    declared = decisions(Folder(to="file", folder=str(tmp_path / "done")), Folder(to="file", folder=str(tmp_path)))
    assert acted(declared, "d0", "allow", {}) is None
    assert [put(outbox, declared), put(outbox, declared)] == [1, 0]
    assert deliver_due(outbox) == (2, 0)
    assert put(outbox, declared) == 0
    assert deliver_due(outbox) == (0, 0)
    assert json.loads((tmp_path / "done" / "d1-0.json").read_text())["event"] == 7
    assert outbox.counts() == {"due": 0, "delivered": 2, "dead": 0}


def test_what_a_killed_process_claimed_goes_out_after_its_lease_under_the_same_key(outbox: Outbox, far: Far) -> None:
    put(outbox, decisions(Webhook(to="webhook", url=far.url)))
    now = 1_000_000.0
    assert [one.key for one in outbox.claim(now, LEASE_SECONDS)] == ["d1-0"]  # ... and the process dies here
    assert outbox.claim(now + LEASE_SECONDS - 1, LEASE_SECONDS) == []
    assert deliver_due(outbox, clock=lambda: now + LEASE_SECONDS + 1) == (1, 0)
    assert far.keys == ["d1-0"]


def test_killed_between_sending_and_marking_the_same_key_goes_out_again(far: Far, tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    put(outbox, decisions(Webhook(to="webhook", url=far.url)))
    program = (
        "import os, sys, time; from pathlib import Path\n"
        "from mdlc_assets.integration.effects import LEASE_SECONDS, deliver_due\n"
        "from mdlc_assets.resources.outbox import SqliteOutbox\n"
        "outbox = SqliteOutbox(Path(sys.argv[1]))\n"
        "outbox.delivered = lambda key: os.kill(os.getpid(), 9)\n"
        "deliver_due(outbox)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "outbox.db")], timeout=60, check=False)
    assert ended.returncode == -9
    assert far.keys == ["d1-0"]
    assert deliver_due(outbox) == (0, 0)  # its lease holds
    assert deliver_due(outbox, clock=lambda: time.time() + LEASE_SECONDS + 1) == (1, 0)
    assert far.keys == ["d1-0", "d1-0"]
    assert outbox.counts() == {"due": 0, "delivered": 1, "dead": 0}


def test_a_far_end_that_fails_is_tried_again_and_takes_one_effect(outbox: Outbox, far: Far) -> None:
    far.plan = [503, "hang up", 500]
    put(outbox, decisions(Webhook(to="webhook", url=far.url)))
    assert deliver_due(outbox, clock=lambda: 1e6) == (0, 1)  # three attempts in a row
    assert deliver_due(outbox, clock=lambda: 1e6) == (0, 0)  # it has a pause
    assert deliver_due(outbox, clock=lambda: 1e6 + 60) == (1, 0)
    assert far.keys == ["d1-0"] * 4
    assert outbox.counts()["delivered"] == 1


def test_a_slow_far_end_is_given_up_and_a_refusal_is_for_good(far: Far, tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    far.plan = ["slow", 410]
    put(outbox, decisions(Webhook(to="webhook", url=far.url, timeout_seconds=0.2)))
    assert deliver_due(outbox) == (0, 1)
    assert len(far.seen) == 2
    assert outbox.counts() == {"due": 0, "delivered": 0, "dead": 1}


def test_a_far_end_that_is_dead_is_waited_for(far: Far, tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    put(outbox, decisions(Webhook(to="webhook", url="http://127.0.0.1:9/nobody")))
    assert deliver_due(outbox) == (0, 1)
    assert outbox.counts()["due"] == 1


def test_a_webhook_is_signed(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDLC_WEBHOOK_SECRET", "secret")
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    put(outbox, decisions(Webhook(to="webhook", url=far.url)))
    deliver_due(outbox)
    headers, body = far.seen[0]
    assert headers["x-mdlc-signature"] == signature("secret", headers["x-mdlc-timestamp"], body)
    assert headers["x-mdlc-signature"] != signature("other", headers["x-mdlc-timestamp"], body)


def test_a_table_takes_an_item_once(aws: None) -> None:
    client = boto3.client("dynamodb")
    client.create_table(
        TableName="blocked",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "idempotency_key", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "idempotency_key", "KeyType": "HASH"}],
    )
    sender = AwsSender("dynamodb")
    for _ in range(2):
        sender.send(effect(DynamoTable(to="dynamodb", table="blocked")))
    items = client.scan(TableName="blocked")["Items"]
    assert [(item["event"]["N"], item["score"]["N"]) for item in items] == [("7", "0.93")]


def test_queue_topic_and_bus_take_a_message_with_its_key(aws: None) -> None:
    sqs, sns, events = boto3.client("sqs"), boto3.client("sns"), boto3.client("events")
    fifo = sqs.create_queue(QueueName="once.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    plain = sqs.create_queue(QueueName="plain")["QueueUrl"]
    address = sqs.get_queue_attributes(QueueUrl=plain, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="news")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=address, Attributes={"RawMessageDelivery": "true"})
    events.put_rule(Name="all", EventPattern=json.dumps({"source": ["mdlc.decisions"]}))
    events.put_targets(Rule="all", Targets=[{"Id": "q", "Arn": address}])
    for _ in range(2):
        AwsSender("sqs").send(effect(Queue(to="sqs", queue=fifo)))
    AwsSender("sns").send(effect(Topic(to="sns", topic=topic)))
    AwsSender("eventbridge").send(effect(EventBus(to="eventbridge")))
    once = sqs.receive_message(QueueUrl=fifo, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(message["Body"])["idempotency_key"] for message in once] == ["d1-0"]
    others = [json.loads(m["Body"]) for m in sqs.receive_message(QueueUrl=plain, MaxNumberOfMessages=10)["Messages"]]
    assert {one.get("detail", one)["idempotency_key"] for one in others} == {"d1-0"}
    assert len(others) == 2
