"""The stack of the decision service: its role may do what the service does, and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import date
from pathlib import Path

import boto3
import httpx
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.home import Home
from mdlc_assets.production import resources_here
from mdlc_assets.realtime.serve import service_app, service_state
from mdlc_assets.realtime.service import ServiceState
from mdlc_assets.resources.outbox_dynamodb import DynamoOutbox
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.deploy.recording import IMPLIED, allowed, record_permissions
from mdlc_assets_tests.deploy.stacks import template
from mdlc_assets_tests.realtime.parts import an_event, approve, register

_DAY = date(2018, 6, 1)
_TABLE, _OUTBOX = "decided-online", "decided-outbox"


def _acting(lifecycle: LifecycleDeclaration, topic: str) -> LifecycleDeclaration:
    """Whatever comes is told to a topic."""
    told = {"words": "Tell.", "do": [{"to": "sns", "topic": topic}]}
    rules = [{"name": "all", "when": "amount >= 0.0", "decide": "tell", "reason": "All are told."}]
    decisions = {"rules": rules, "actions": {"tell": told, "leave": "Nothing."}, "otherwise": "leave"}
    return lifecycle.model_copy(update={"decisions": Decisions.model_validate(decisions)})


def test_the_role_is_what_the_service_calls(
    s3_root: str, payments_fraud: LifecycleDeclaration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {
        "MDLC_LAKE": f"{s3_root}/lake",
        "MDLC_LANDING": f"{s3_root}/landing",
        "MDLC_PAGES": f"{s3_root}/pages",
        "MDLC_ARTIFACTS": f"{s3_root}/mlflow",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MDLC_ONLINE_TABLE": _TABLE,
        "MDLC_OUTBOX": f"dynamodb:{_OUTBOX}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    home = Home(tmp_path / "home")
    home.prepare()
    topic = boto3.client("sns").create_topic(Name="decided")["TopicArn"]
    lifecycle, resources = _acting(payments_fraud, topic), resources_here(home, environment)
    # Moto takes longer than a decision would wait.
    store = resources["online_store"].model_copy(update={"timeout": 20.0})
    store.prepare()
    DynamoOutbox(_OUTBOX).create()
    world = Simulator(start=_DAY, customers=20, terminals=20)
    OnlineFeatures(lifecycle, store.store).learn(world.transactions(_DAY).sort("event_time", "transaction_id"))
    version = register(resources["registry"], lifecycle, 1)
    approve(resources["registry"], lifecycle, version)

    recorded = record_permissions(monkeypatch)
    source = OnlineFeatures(lifecycle, store.store)
    state = service_state(
        lifecycle,
        resources["registry"],
        source,
        home.captured_decisions / lifecycle.name,
        resources["outboxes"].open(lifecycle.name),
        at_hand=True,
        store_there=lambda: store.store.newest(source.space) is not None,
        captured=f"{s3_root}/captured",
    )
    asyncio.run(_decide_one(state, recorded))
    captured = boto3.resource("s3").Bucket("mdlc-test").objects.filter(Prefix="some/prefix/captured/payments_fraud/")
    assert len(list(captured)) == 1

    may = allowed("decisions", "Role") - IMPLIED
    # What decisions set in motion is allowed by the policy that the team names.
    assert recorded - {"sns:Publish"} - may == set(), "the role lacks what the service calls"
    assert may - recorded == set(), "the role may what the service never calls"


async def _decide_one(state: ServiceState, recorded: set[str]) -> None:
    """One event answered, and its effect delivered, by the app as it runs in a task."""
    app, asked = service_app(state, "t"), json.dumps(an_event(10**6))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://s") as client:
        assert (await client.get("/ready")).status_code == 200
        assert (await client.post("/decisions", content=asked)).status_code == 401
        answer = await client.post("/decisions", content=asked, headers={"Authorization": "Bearer t"})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["degraded"], answer.json()["decision"]) == (False, "tell")
        until = time.monotonic() + 60
        while "sns:Publish" not in recorded:
            assert time.monotonic() < until, recorded
            await asyncio.sleep(0.05)


def test_its_container_runs_a_command_that_there_is_with_all_that_it_reads() -> None:
    properties = template("decisions")["Resources"]["Task"]["Properties"]
    (container,) = properties["ContainerDefinitions"]
    command = [part for part in container["Command"] if isinstance(part, str)]
    given = {one["Name"] for one in [*container["Environment"], *container["Secrets"]]}
    assert command[:2] == ["mdlc", "serve"]
    for option in command[2::2]:
        assert option in CliRunner().invoke(main, ["serve", "--help"]).output
    run = template("dagster")["Resources"]["RunTask"]["Properties"]["ContainerDefinitions"][0]
    of_runs = {one["Name"] for one in run["Environment"]}
    assert given - {"MDLC_TOKEN"} <= of_runs, "it reads where runs write"
