"""Each call of each piece of work on AWS throttled, denied, or not answered: waited out, or told with what to do.

The work runs on moto's services over HTTP; a fault takes the place of an answer below boto3's own retries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import polars as pl
import pytest
from botocore.exceptions import ResponseStreamingError
from mlflow.store.artifact.s3_artifact_repo import _cached_get_s3_client

from mdlc_assets.declaration import read_declaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.home import Home
from mdlc_assets.operations.backup import back_up, restore
from mdlc_assets.resources.actions.aws import AwsSender, _client
from mdlc_assets.resources.alerts import Alerts, Problem
from mdlc_assets.resources.aws import permission_of, whole_body
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.online_store import DynamoStore
from mdlc_assets.resources.outbox import Acted, Effect
from mdlc_assets.resources.outbox_dynamodb import DynamoOutbox
from mdlc_assets.resources.registry import Candidate, Registry
from mdlc_assets.resources.storage import S3Storage
from mdlc_assets.resources.streams.checkpoints import Progress
from mdlc_assets.resources.streams.dynamodb_checkpoints import DynamoCheckpoints
from mdlc_assets.resources.streams.kinesis import KinesisStream
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.deploy.recording import IMPLIED, allowed
from mdlc_assets_tests.moto_server import moto_environment
from mdlc_assets_tests.realtime.streaming import entries, event
from mdlc_assets_tests.resources.aws_answers import Faults, answer_first
from mdlc_assets_tests.resources.sagemaker.test_client_faults import permissions_put_to_faults

LIFECYCLE = read_declaration(SHIPPED / "payments_fraud" / "defs.yaml")
DAY = date(2018, 6, 1)
SIGNED = {"eventbridge": "events", "cloudwatch": "monitoring"}


@pytest.fixture(scope="module")
def faults(_moto_address: str) -> Iterator[Faults]:
    """Every client that is made from now on asks for its answers here first; nobody sleeps between attempts."""
    found = Faults()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in moto_environment(_moto_address).items():
            patch.setenv(name, value)
        answer_first(patch, found)
        # MLflow leaves it to the environment how its client tries again, and keeps the client.
        patch.setenv("AWS_RETRY_MODE", "standard")
        _cached_get_s3_client.cache_clear()
        bucket = boto3.resource("s3").Bucket("faults")
        bucket.create()
        KinesisStream("faults").create(1, timedelta(hours=24))
        DynamoStore("faults-online", timeout=20).make_table({})
        DynamoCheckpoints("faults-checkpoints", "cards").create()
        DynamoOutbox("faults-outbox").create()
        boto3.client("dynamodb").create_table(
            TableName="faults-acts",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "idempotency_key", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "idempotency_key", "KeyType": "HASH"}],
        )
        boto3.client("events").create_event_bus(Name="faults")
        _client.cache_clear()
        yield found
        found.begin()
        bucket.objects.all().delete()
        bucket.delete()
        _client.cache_clear()
        _cached_get_s3_client.cache_clear()


def _files(root: Path) -> Any:
    """Lake, landing zone, storage of models and pages."""
    name = uuid4().hex
    storage, table = S3Storage(f"s3://faults/{name}"), Lake(root="s3://faults/lake").table(name, "raw")
    storage.write("transactions/2018-06-01.parquet", b"x")
    feed = LandingZone(root="s3://faults").feed(name, "transactions")
    table.write_day(DAY, pl.DataFrame({"id": [1, 2]}))
    told = [feed.days(), table.days(), table.has(DAY), table.read_day(DAY)["id"].to_list()]
    told += [storage.create("once", b"1"), storage.read("once"), storage.modified("once") > 0]
    table.delete_day(DAY)
    return [*told, table.days()]


def _online(root: Path) -> Any:
    """The online store: an event learnt, its label, features asked for, filled and removed."""
    store = DynamoStore("faults-online", timeout=20)
    online = OnlineFeatures(LIFECYCLE, store)
    online.space = uuid4().hex
    world = Simulator(start=DAY, customers=20, terminals=20)
    events = world.transactions(DAY).sort("event_time", "transaction_id")[:2]
    online.learn(events)
    online.learn_labels(world.labels(DAY)[:1])
    vector = online.features_of(events.row(1, named=True)).tolist()
    store.write_note(f"{online.space}/note", {"day": "x"})
    first, last = 0, 2**60
    midnight = int(events["event_time"].dt.epoch("us")[0] // 86_400_000_000 * 86_400_000_000)
    ids = store.ids(online.space, midnight, midnight + 86_400_000_000)
    assert first < midnight < last
    return vector, store.note(f"{online.space}/note"), len(ids), store.remove(online.space, ids)


def _stream(root: Path) -> Any:
    """Records put and read, with the checkpoints of who reads them."""
    stream, checkpoints = KinesisStream("faults", attempts=3), DynamoCheckpoints("faults-checkpoints", uuid4().hex)
    number = uuid4().int % 10**9
    stream.put(entries([event(number)]))
    (shard,) = [one for one in stream.shards() if not one.closed]
    lease = checkpoints.take(shard.name, "me", 60)
    assert lease
    checkpoints.greet("me", 60)
    batch = stream.read(shard.name, None, 10_000)
    lease = checkpoints.write(lease, 60, Progress(0, 1, ""), after=batch.records[-1].sequence)
    there = [checkpoints.workers(), [one.owner for one in checkpoints.entries().values()]]
    checkpoints.release(lease)
    checkpoints.leave("me")
    return [*there, any(str(number).encode() in record.data for record in batch.records)]


def _outbox(root: Path) -> Any:
    """Effects kept, claimed, and told of."""
    outbox, stem = DynamoOutbox("faults-outbox"), uuid4().hex
    outbox.put([Acted(stem, [Effect(f"{stem}#{n}", {}, {}, 0) for n in range(2)])])
    claimed = sorted((effect for effect in outbox.claim(1.0, 60.0)), key=lambda effect: effect.key)
    mine = [effect for effect in claimed if effect.key.startswith(stem)]
    outbox.delivered(mine[0].key)
    outbox.failed(mine[1].key, "no", None)
    return len(mine), outbox.counts()["due"]


def _acts(root: Path) -> Any:
    """One effect by each service of AWS."""
    topic = boto3.client("sns").create_topic(Name="faults")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="faults")["QueueUrl"]
    targets = {
        "dynamodb": {"table": "faults-acts"},
        "sns": {"topic": topic},
        "sqs": {"queue": queue},
        "eventbridge": {"bus": "faults", "source": "mdlc"},
    }
    for kind, target in targets.items():
        AwsSender(kind).send(Effect(uuid4().hex, {"kind": kind, **target}, {"event": "1"}, 0))


def _alerts(root: Path) -> Any:
    """A problem told by SNS and counted by CloudWatch, and its end."""
    topic = boto3.client("sns").create_topic(Name="faults")["TopicArn"]
    alerts = Alerts(root=f"s3://faults/{uuid4().hex}", sns_topic=topic, cloudwatch_namespace="faults")
    problem = Problem("inputs", "warn", "Moved.", "why", "Look.", "team:x", str(DAY), 2.0)
    told = alerts.tell("cards", DAY, [problem]), alerts.tell("cards", DAY + timedelta(days=1), [])
    # One that cannot be sent stops nothing else, and is on record.
    if unsent := alerts.unsent("cards"):
        raise RuntimeError("; ".join(unsent))
    return told


def _backup(root: Path) -> Any:
    """A home backed up and brought back."""
    home, place = Home(root / uuid4().hex), f"s3://faults/{uuid4().hex}"
    home.root.mkdir(parents=True)
    (home.root / "a.txt").write_text("a")
    made = back_up(home, place)
    (home.root / "a.txt").unlink()
    return made.files, restore(home, place).files, (home.root / "a.txt").read_text()


def _registry(root: Path) -> Any:
    """A version registered and read again, by MLflow's own client of S3."""
    registry = Registry(tracking_uri=f"sqlite:///{root.parent}/faults.db", artifact_root="s3://faults/registry")
    version = registry.register("cards", Candidate(str(DAY), uuid4().hex, {"model/model.json": b"{}"}, ["a"], {}, {}))
    return sorted(registry.files(version))


WORK: dict[str, Callable[[Path], Any]] = {
    "files": _files,
    "online store": _online,
    "stream": _stream,
    "outbox": _outbox,
    "actions": _acts,
    "alerts": _alerts,
    "backup": _backup,
    "registry": _registry,
}
# What only the tests' own preparations ask.
PREPARED = ("CreateTopic", "CreateQueue", "GetQueueUrl")


def _calls(faults: Faults, work: str, root: Path) -> tuple[Any, list[str]]:
    faults.begin()
    outcome = WORK[work](root)
    return outcome, [name for name in dict.fromkeys(faults.calls) if name.split(".")[1] not in PREPARED]


@pytest.mark.parametrize("work", WORK)
def test_what_passes_is_waited_out_at_each_call(faults: Faults, work: str, tmp_path: Path) -> None:
    expected, calls = _calls(faults, work, tmp_path)
    assert len(calls) >= 2
    for name in calls:
        for fault in ("throttled", "silent"):
            faults.begin(fault, name)
            if work == "online store" and name in _ASKED_ONCE:
                # A decision does not wait for a second try: the rules decide by themselves.
                with pytest.raises(Exception, match="Mend: "):
                    WORK[work](tmp_path)
                continue
            assert WORK[work](tmp_path) == expected, (name, fault)
            assert faults.calls.count(name) >= 2, (name, fault)


@pytest.mark.parametrize("work", WORK)
def test_what_lasts_is_told_with_the_permission_or_the_limit(faults: Faults, work: str, tmp_path: Path) -> None:
    _, calls = _calls(faults, work, tmp_path)
    words = {
        "throttled": r"Mend: do less at once, or ask AWS for a higher rate of {}",
        "denied": r"Mend: give the role {}; deploy/cloudformation/roles\.yaml has all that is needed",
        "silent": r"{} was not answered\. Mend: see that this machine reaches AWS",
    }
    for name in calls:
        service, operation = name.split(".")
        permission = re.escape(permission_of(SIGNED.get(service, service), operation))
        for fault, text in words.items():
            if (work, fault) == ("registry", "silent"):
                # MLflow does not say of which call.
                text = r"Mend: see that this machine reaches S3, which did not answer\."
            faults.begin(fault, name, lasts=True)
            with pytest.raises(Exception) as told:
                WORK[work](tmp_path)
            chain = " ".join(str(one) for one in (told.value, told.value.__cause__, told.value.__context__) if one)
            assert re.search(text.replace("{}", permission), chain), (name, fault, chain)


def test_every_call_that_runs_may_make_is_put_to_faults(faults: Faults, tmp_path: Path) -> None:
    """The policies name the calls that are made, so that none is forgotten here."""
    put = permissions_put_to_faults(tmp_path)
    for work in WORK:
        for name in _calls(faults, work, tmp_path)[1]:
            service, operation = name.split(".")
            put.add(permission_of(SIGNED.get(service, service), operation))
    may = allowed("roles", "Work") | allowed("decisions", "Role") | allowed("stream", "Role")
    assert may - put - IMPLIED - _ASKED_BY_AWS == set()


# The Lambda's own: AWS asks for it before and beside the handler.
_ASKED_BY_AWS = {
    *("kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:ListStreams", "sqs:SendMessage"),
    *("logs:CreateLogStream", "logs:PutLogEvents", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
    *("ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses"),
    "ec2:UnassignPrivateIpAddresses",
}
_ASKED_ONCE = ("dynamodb.Query", "dynamodb.GetItem")


def test_a_body_that_breaks_off_is_read_again_and_not_for_ever() -> None:
    class Body:
        def __init__(self, whole: bool) -> None:
            self.whole = whole

        def read(self) -> bytes:
            if not self.whole:
                raise ResponseStreamingError(error="cut off")
            return b"whole"

    bodies = iter([Body(False), Body(False), Body(True)])
    assert whole_body(lambda: {"Body": next(bodies)}) == b"whole"
    asked: list[int] = []
    with pytest.raises(ResponseStreamingError):
        whole_body(lambda: {"Body": asked.append(1) or Body(False)})
    assert len(asked) == 5
