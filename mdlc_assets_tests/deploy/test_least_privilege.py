"""Policies name the calls that are made, and no others.

Work: every call that boto3 sends while the platform works on moto's services is recorded, and must be allowed to
the role `work`; what else the role may do must be a call that stands in the code. States: the calls of the exported
machines and the actions of their role are the same set.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
from botocore import xform_name

import mdlc_assets
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.deployment import Autoscaling, Deployment, RealTime
from mdlc_assets.export.package import machines
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.features.online_consistency import compare_day, freshness
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.features.table import feature_table
from mdlc_assets.production import production_resources
from mdlc_assets.resources.alerts import Problem
from mdlc_assets.resources.aws import PERMISSIONS
from mdlc_assets.resources.catalogue import CatalogueEntry
from mdlc_assets.resources.online_store import DynamoStore, OnlineStore
from mdlc_assets.resources.outbox import Acted, Effect, open_outbox
from mdlc_assets.resources.outbox_dynamodb import DynamoOutbox
from mdlc_assets.resources.registry import Candidate
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served
from mdlc_assets.resources.sagemaker.jobs import Jobs, Pace
from mdlc_assets.resources.sagemaker.requests import (
    Channel,
    TrainingPlan,
    TransformPlan,
    training_request,
    transform_request,
)
from mdlc_assets.resources.sagemaker.rollout import Rollout, ask_endpoint
from mdlc_assets.resources.sagemaker.score_drift import publish_score_drift
from mdlc_assets.resources.streams.checkpoints import Progress
from mdlc_assets.resources.streams.dynamodb_checkpoints import DynamoCheckpoints
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.deploy.recording import IMPLIED, allowed, record_permissions
from mdlc_assets_tests.export.test_export import PLACES

_DAY = date(2018, 4, 1)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The permissions of the calls that are sent from now on."""
    return record_permissions(monkeypatch)


@pytest.fixture
def resources(s3_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Production's resources on moto's server."""
    topic = boto3.client("sns").create_topic(Name="least-privilege")["TopicArn"]
    role = "arn:aws:iam::123456789012:role/mdlc-sagemaker"
    for name, value in {
        "MDLC_ALERT_SNS_TOPIC": topic,
        "MDLC_ALERT_CLOUDWATCH": "mdlc",
        "MDLC_SAGEMAKER_ROLE": role,
        "MDLC_SAGEMAKER_BUCKET": f"{s3_root}/sagemaker",
        "MDLC_SAGEMAKER_IMAGE": PLACES.image,
    }.items():
        monkeypatch.setenv(name, value)
    environment = {
        "MDLC_LAKE": f"{s3_root}/lake",
        "MDLC_LANDING": f"{s3_root}/landing",
        "MDLC_PAGES": f"{s3_root}/pages",
        "MDLC_ARTIFACTS": f"{s3_root}/mlflow",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MDLC_SAGEMAKER_ROLE": role,
        "MDLC_ONLINE_TABLE": "least-privilege-online",
    }
    # The stack makes the tables; runs only use them.
    OnlineStore(form="dynamodb", table=environment["MDLC_ONLINE_TABLE"], timeout=20).prepare()
    DynamoOutbox("least-privilege-outbox").create()
    DynamoCheckpoints("least-privilege-checkpoints", "payments_fraud").create()
    yield production_resources(environment)


def test_a_recorded_run_needs_nothing_that_its_role_may_not(
    recorded: set[str], resources: dict[str, Any], payments_fraud: LifecycleDeclaration
) -> None:
    recorded.clear()  # what the fixtures sent
    _work_with_data(resources)
    _work_in_real_time(resources, payments_fraud)
    _work_with_models(resources, payments_fraud)
    assert {"s3:GetObject", "s3:PutObject", "sns:Publish", "sagemaker:CreateTrainingJob"} <= recorded
    assert {"dynamodb:BatchWriteItem", "dynamodb:Query", "dynamodb:PutItem"} <= recorded
    lacking = recorded - allowed("roles", "Work")
    assert lacking == set(), "the role `work` lacks what a run calls"


def test_the_role_of_runs_may_do_nothing_that_no_code_calls() -> None:
    code = "\n".join(path.read_text() for path in Path(mdlc_assets.__file__).parent.rglob("*.py"))
    # `create_{kind}_job` stands for both kinds.
    code += "".join(code.replace("{kind}", kind) for kind in ("training", "transform") if "{kind}" in code)
    unused = []
    for action in sorted(allowed("roles", "Work") - IMPLIED):
        operations = [action, *(operation for operation, permission in PERMISSIONS.items() if permission == action)]
        methods = {xform_name(operation.split(":")[1]) for operation in operations}
        if not any(re.search(rf"\b{method}\b", code) for method in methods):
            unused.append(action)
    assert unused == []


def test_the_machines_role_has_their_calls_and_no_others(payments_fraud: LifecycleDeclaration) -> None:
    scaled = RealTime(autoscaling=Autoscaling(most_workers=4, calls_per_minute=600))
    lifecycle = payments_fraud.model_copy(update={"deployment": Deployment(real_time=scaled)})
    called: set[str] = set()
    for form in ("sync", "poll"):
        for document in machines(lifecycle, PLACES, form).values():  # type: ignore[arg-type]
            for state in document["States"].values():
                called |= _calls(state) if state["Type"] == "Task" else set()
    # What Step Functions itself calls: rules that tell it of ended jobs, and the delivery of its log.
    own = {action for action in allowed("step-functions", "States") if action.startswith(("events:", "logs:"))}
    assert allowed("step-functions", "States") - own - IMPLIED == called


def _calls(state: dict[str, Any]) -> set[str]:
    *_, service, action = state["Resource"].split(":")
    action, _, pattern = action.partition(".")
    service = {"applicationautoscaling": "application-autoscaling"}.get(service, service)
    name = f"{service}:{action[0].upper()}{action[1:]}"
    found = {PERMISSIONS.get(name, name)}
    if pattern == "sync":
        found |= {name.replace("Create", "Describe"), name.replace("Create", "Stop")}
    if service == "sagemaker" and "Tags" in state["Parameters"]:
        found.add("sagemaker:AddTags")
    return found


def _work_with_data(resources: dict[str, Any]) -> None:
    """Lake, landing zone, catalogue, pages, alerts, registry and audit trail."""
    table = resources["lake"].table("payments_fraud", "raw")
    table.write_day(_DAY, pl.DataFrame({"id": [1]}))
    assert table.read([_DAY])["id"].to_list() == [1]
    assert table.has(_DAY)
    table.delete_day(_DAY)
    assert resources["landing"].feed("payments_fraud", "transactions").days() == []
    resources["catalogue"].record(CatalogueEntry("payments_fraud", "raw", "", "team:x", "s3://x", "1d", rows={_DAY: 1}))
    resources["reports"].put("payments_fraud", _DAY, "<p>", {"day": str(_DAY)})
    drift = Problem("inputs", "warn", "Moved.", "why", "Look.", "team:x", str(_DAY), 2.0)
    resources["alerts"].tell("payments_fraud", _DAY, [drift])
    resources["alerts"].tell("payments_fraud", _DAY + timedelta(days=1), [])
    registry = resources["registry"]
    files = {"model/model.json": b"{}", "judged/model.json": b"{}"}
    version = registry.register(
        "payments_fraud", Candidate("2018-06-01", "abc", files, ["a"], {}, {"mdlc.gate": "passed"})
    )
    assert registry.files(version)["model.json"] == b"{}"
    registry.point("payments_fraud", "champion", version)
    registry.record("payments_fraud", "approve", version, "ann", "good")
    assert registry.audit_problems("payments_fraud") == []


def _work_in_real_time(resources: dict[str, Any], lifecycle: LifecycleDeclaration) -> None:
    """The online store filled, asked, compared and fed by the stream; an effect out of the outbox."""
    lake, world = resources["lake"], Simulator(start=_DAY, customers=20, terminals=20)
    store = resources["online_store"].model_copy(update={"timeout": 20.0}).store
    assert isinstance(store, DynamoStore)
    events = world.transactions(_DAY).sort("event_time", "transaction_id")
    lake.table("payments_fraud", "validated").write_day(_DAY, events)
    lake.table("payments_fraud", "features").write_day(_DAY, feature_table(lifecycle, events, None, _DAY, _DAY))
    assert fill_store(lifecycle, lake, store).events == events.height
    online = OnlineFeatures(lifecycle, store)
    online.learn(events[:1])
    online.learn_labels(world.labels(_DAY)[:1])
    assert compare_day(lifecycle, lake, store, _DAY, most=3).wrong == {}
    assert freshness(lifecycle, lake, store).days_behind == []
    lake.table("payments_fraud", "validated").write_day(_DAY, events[1:])
    assert fill_store(lifecycle, lake, store).removed == 1
    outbox = open_outbox("dynamodb:least-privilege-outbox")
    outbox.put([Acted("d", [Effect("d-0", {"to": "sns", "topic": "arn"}, {})])])
    (claimed,) = outbox.claim(1.0, 60.0)
    outbox.delivered(claimed.key)
    checkpoints = DynamoCheckpoints("least-privilege-checkpoints", "payments_fraud")
    checkpoints.greet("a", 60.0)
    lease = checkpoints.take("0", "a", 60.0)
    assert lease is not None and checkpoints.workers() == ["a"]
    checkpoints.release(checkpoints.write(lease, 60.0, Progress(0, 1, ""), after="1"))
    checkpoints.leave("a")
    assert checkpoints.entries()["0"].after == "1"


def _work_with_models(resources: dict[str, Any], lifecycle: LifecycleDeclaration) -> None:
    """A training job, a transform, and a first endpoint that scales."""
    service = resources["sagemaker"]
    storage = service.storage("least")
    content = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(content)
    storage.write("train/rows.parquet", content.getvalue())
    jobs = Jobs(service.client(), Pace(0.01, 0.05))
    plan = TrainingPlan(
        "least-privilege",
        service.own_image(),
        service.role_arn(),
        [Channel("train", storage.location("train"))],
        storage.location("models"),
        {},
    )
    jobs.train(training_request(plan))
    scaled = RealTime(autoscaling=Autoscaling(most_workers=4, calls_per_minute=600))
    served = Served(1, storage.location("model.tar.gz"), "digest")
    endpoint = EndpointPlan("least_privilege", scaled, served, service.own_image(), service.role_arn())
    outcome = Rollout(service, Pace(0.01, 0.05), lambda text: None).run(endpoint)
    assert outcome.verdict == "deployed"
    with pytest.raises(json.JSONDecodeError):  # moto's answer is made up
        ask_endpoint(service, "least_privilege", {"instances": []})
    publish_score_drift(service, "least_privilege", 0.1)
    model = endpoint.model(served)
    jobs.transform(transform_request(TransformPlan("least-privilege", model, storage.location("in"), "s3://x/out")))
