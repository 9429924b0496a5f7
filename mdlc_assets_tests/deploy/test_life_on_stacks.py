"""The life cycle on the very resources that the stacks made, which it finds as an installed run does.

Its environment is the one that `dagster.yaml` gives to the task of a run, with the names that the deployed stacks
export. MLflow alone is a file, since moto makes no services. moto's server is a process, reached over HTTP.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from dagster._core.test_utils import environ

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import build_definitions
from mdlc_assets.demo.loop import Loop, Ran
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.features.state import microseconds
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.production import resources_here
from mdlc_assets.realtime.stream_parts import stream_parts
from mdlc_assets.realtime.stream_producer import entries_of_file
from mdlc_assets.realtime.stream_worker import StreamWorker
from mdlc_assets.testing import sample_labels, sample_rows
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.deploy.stacks import PREFIX, REGION, Account, template
from mdlc_assets_tests.moto_server import moto_environment, moto_process

pytestmark = pytest.mark.slow
_NAME, _DAYS, _ROWS = "payments_fraud", 7, 40
_IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/{PREFIX}-sagemaker:1"


@dataclass
class _Installed:
    """A lifecycle on what the stacks made."""

    account: Account
    names: dict[str, str]
    lifecycle: LifecycleDeclaration
    resources: dict[str, Any]
    loop: Loop
    days: list[date]

    def land(self, feed: str, day: date, rows: pl.DataFrame) -> None:
        key = f"landing/{_NAME}/{feed}/{day}.parquet"
        self.account.client("s3").put_object(Bucket=self.names["landing"], Key=key, Body=_parquet(rows))

    def run(self, workflow: str, days: Sequence[date] = (), config: dict[str, Any] | None = None) -> Ran:
        first, last = (days[0], days[-1]) if days else (None, None)
        return self.loop.run(workflow, first, last, config)

    def lives(self, workflow: str, days: Sequence[date] = (), config: dict[str, Any] | None = None) -> None:
        ran = self.run(workflow, days, config)
        assert ran.success, (workflow, ran.error, ran.stopped_by)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Installed]:
    root = tmp_path_factory.mktemp("installed")
    home = Home(root / "home")
    home.prepare()
    with moto_process() as (_, address):
        account = Account(address)
        account.deploy_all()
        exports = account.exports()
        names = {name.removeprefix(f"{PREFIX}-"): value for name, value in exports.items()}
        given = _environment(exports, f"sqlite:///{root}/mlflow.db") | {
            **moto_environment(account.address, REGION),
            # What `mdlc stream` is told beside it; the stacks' own reader is the Lambda, which moto cannot run.
            "MDLC_KINESIS_STREAM": names["stream"],
            "MDLC_STREAM_CHECKPOINTS": names["checkpoints"],
        }
        with environ(given):
            lifecycle = load_lifecycle(_declare(root))
            resources = resources_here(home, os.environ)
            # moto on a machine with other work answers later than a decision would wait.
            resources["online_store"] = resources["online_store"].model_copy(update={"timeout": 60.0})
            definitions = build_definitions([lifecycle], home=home, resource_overrides=resources)
            with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
                loop = Loop(lifecycle.declaration, definitions, resources, instance)
                first = lifecycle.declaration.dataset.start
                days = [first + timedelta(days=i) for i in range(_DAYS + 2)]
                yield _Installed(account, names, lifecycle.declaration, resources, loop, days)


def _declare(folder: Path) -> Path:
    """The shipped declaration, with labels known early, short windows and few trees."""
    text = (SHIPPED / _NAME / "defs.yaml").read_text().replace("delay: 7d", "delay: 2d")
    declared = yaml.safe_load(text)
    model = declared["attributes"]["model"]
    model["hyperparameters"] |= {"n_estimators": 8, "max_depth": 3}
    model["windows"] = {"train_days": 3, "gap_days": 0, "test_days": 1}
    model["gate"]["approval"] = "person"
    path = folder / "defs.yaml"
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    return path


def _environment(exports: dict[str, str], mlflow: str) -> dict[str, str]:
    """What the stack `dagster` gives to a run's container, with the exports of the others in their places."""
    (container,) = template("dagster")["Resources"]["RunTask"]["Properties"]["ContainerDefinitions"]
    known = exports | {f"{PREFIX}-mlflow": mlflow}
    parameters = {"Prefix": PREFIX, "SageMakerImage": _IMAGE, "Address": "dagster.example.com"}

    def filled(value: Any, more: dict[str, str] | None = None) -> str:
        if isinstance(value, str):
            return value
        ((how, what),) = value.items()
        if how == "Ref":
            return parameters[what]
        if how == "Fn::ImportValue":
            return known[filled(what)]
        assert how == "Fn::Sub", value
        text, parts = what if isinstance(what, list) else (what, {})
        found = parameters | {name: filled(part) for name, part in parts.items()}
        return re.sub(r"\$\{(\w+)\}", lambda one: found[one[1]], text)

    return {
        one["Name"]: filled(one["Value"])
        for one in container["Environment"]
        if one["Name"].startswith(("MDLC", "MLFL"))
    }


def _parquet(rows: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    rows.write_parquet(content)
    return content.getvalue()


def test_from_raw_files_to_a_champion(installed: _Installed) -> None:
    for day in installed.days[:_DAYS]:
        events = sample_rows(installed.lifecycle, day, _ROWS)
        installed.land("transactions", day, events)
        installed.land("labels", day, sample_labels(installed.lifecycle, events, seed=day.toordinal()))
    past = installed.days[:_DAYS]
    installed.lives("labels", past)
    installed.lives("history", past)
    installed.lives("train", past[-1:])
    approval = {"version": 1, "reason": "a test", "approver": "ann@example.com", "override": True}
    installed.lives("approve", config={f"{_NAME}__champion": {"config": approval}})
    installed.lives("online_fill")

    s3 = installed.account.client("s3")
    lake = s3.list_objects_v2(Bucket=installed.names["lake"])["Contents"]
    assert f"lake/{_NAME}/features/date={past[-1]}/part-0.parquet" in {one["Key"] for one in lake}
    kept = {one["Key"] for one in s3.list_objects_v2(Bucket=installed.names["models"])["Contents"]}
    assert any(name.startswith("mlflow/") and name.endswith("model/model.ubj") for name in kept), kept
    assert installed.resources["registry"].audit_problems(_NAME) == []
    assert _known_online(installed, past[-1]) == _ROWS


def test_events_of_the_stream_are_scored_and_the_model_is_judged(installed: _Installed) -> None:
    day = installed.days[_DAYS]
    parts = stream_parts(installed.lifecycle, installed.resources)
    events = sample_rows(installed.lifecycle, day, _ROWS)
    parts.stream.put(entries_of_file(installed.lifecycle, f"{day}.parquet", _parquet(events)))
    done = StreamWorker(parts.stream, parts.checkpoints, parts.handler, parts.pace).run(until_empty=True)
    assert (done.landed, done.learnt, done.dead.total()) == (_ROWS, _ROWS, 0)
    assert _known_online(installed, day) == _ROWS, "learnt by the store before any run"
    read = parts.checkpoints.entries().values()
    assert read and all(entry.after and not entry.owner for entry in read), "kept in the stack's table, and let go"

    installed.lives("batch_inference", [day])
    lake = installed.resources["lake"]
    scores, decisions = (lake.table(_NAME, table).read_day(day) for table in ("batch_predictions", "decisions"))
    assert sorted(scores["transaction_id"]) == sorted(decisions["transaction_id"]) == sorted(events["transaction_id"])
    assert scores["model_version"].unique().to_list() == [1]

    installed.land("labels", day, sample_labels(installed.lifecycle, events, seed=day.toordinal()))
    installed.lives("monitor", [day])
    report = lake.documents(_NAME, "closed_loop_report").read_document(day)
    assert report, "the labels judged the champion"
    pages = {
        one["Key"]
        for one in installed.account.client("s3").list_objects_v2(
            Bucket=installed.names["lake"], Prefix="pages/reports"
        )["Contents"]
    }
    assert any(f"{day}" in name for name in pages), pages


def test_a_broken_day_is_stopped_and_told_to_the_topic(installed: _Installed) -> None:
    day, sqs = installed.days[_DAYS + 1], installed.account.client("sqs")
    queue = sqs.create_queue(QueueName="told")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    installed.account.client("sns").subscribe(TopicArn=installed.names["alerts"], Protocol="sqs", Endpoint=arn)
    before, rows = (sample_rows(installed.lifecycle, one, _ROWS) for one in (day - timedelta(days=1), day))
    installed.land("transactions", day, rows.with_columns(before["transaction_id"]))
    ran = installed.run("batch_inference", [day])
    assert not ran.success
    assert "repeated_ids" in {rule for rule, _ in ran.stopped_by}, ran.error
    installed.lives("report", [day])
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(message["Body"])
    assert told["TopicArn"] == installed.names["alerts"]
    assert told["Message"].startswith("repeated_ids: 40 of 40")


def test_the_champion_goes_behind_an_endpoint_as_far_as_moto_goes(installed: _Installed) -> None:
    """moto keeps model, configuration and endpoint; no container runs, so what it answers is not asked."""
    ran = installed.run("real_time_inference")
    sagemaker = installed.account.client("sagemaker")
    (endpoint,) = sagemaker.list_endpoints()["Endpoints"]
    found = sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])
    assert found["EndpointStatus"] == "InService", ran.error
    config = sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    assert model["ExecutionRoleArn"] == installed.names["sagemaker-role"]
    assert model["PrimaryContainer"]["Image"] == _IMAGE
    bucket, _, key = model["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://").partition("/")
    assert bucket == installed.names["models"]
    assert installed.account.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] > 0


def test_nothing_lies_elsewhere(installed: _Installed) -> None:
    buckets = {one["Name"] for one in installed.account.client("s3").list_buckets()["Buckets"]}
    assert buckets == {installed.names[name] for name in ("landing", "lake", "models", "access-logs")}
    tables = set(installed.account.client("dynamodb").list_tables()["TableNames"])
    assert tables == {installed.names[name] for name in ("online", "outbox", "checkpoints")}


def _known_online(installed: _Installed, day: date) -> int:
    online = OnlineFeatures(installed.lifecycle, installed.resources["online_store"].store)
    return len(online.store.ids(online.space, microseconds(day), microseconds(day + timedelta(days=1))))
