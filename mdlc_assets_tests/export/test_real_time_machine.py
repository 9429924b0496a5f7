"""The endpoint's workflow, run: it serves, it is changed over, a model that does not start is no success."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.export.places import PlaceError, Places
from mdlc_assets.export.real_time import real_time_machine
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.requests import model_request
from mdlc_assets_tests.deployment.models import fit_model
from mdlc_assets_tests.export.interpreter import Interpreter


@pytest.fixture
def endpoint(account: Interpreter, places: Places, small: LifecycleDeclaration) -> Iterator[str]:
    yield "payments-fraud"
    account.sagemaker.client().delete_endpoint(EndpointName="payments-fraud")


def _champion(
    account: Interpreter, places: Places, small: LifecycleDeclaration, seed: int, spoilt: bool = False
) -> str:
    service, name = account.sagemaker, f"{places.prefix}-{seed}"
    files = fit_model(seed).files()
    content = packed(files | ({"model.ubj": b"{ spoilt"} if spoilt else {}))
    service.storage(places.prefix).write(f"{seed}.tar.gz", content)
    artifact = service.storage(places.prefix).location(f"{seed}.tar.gz")
    service.client().create_model(**model_request(name, places.image, artifact, places.role))
    boto3.client("ssm").put_parameter(Name=places.champion(small.name), Value=name, Type="String", Overwrite=True)
    return name


def _serving(account: Interpreter, endpoint: str) -> str:
    client = account.sagemaker.client()
    config = client.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    return client.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]["ModelName"]


@pytest.mark.slow
def test_it_serves_is_changed_over_and_keeps_what_served(
    account: Interpreter, places: Places, small: LifecycleDeclaration, endpoint: str
) -> None:
    document = real_time_machine(small, places, "poll")
    document["States"]["Watch the alarms"]["Seconds"] = 1
    first = _champion(account, places, small, 0)
    ended = account.ended(account.start(document, {}))
    assert ended["status"] == "SUCCEEDED", ended.get("cause")
    assert _serving(account, endpoint) == first

    second = _champion(account, places, small, 1)
    running = account.start(document, {})
    assert account.ended(running)["status"] == "SUCCEEDED"
    assert "Change the endpoint over" in account.visited(running)
    assert _serving(account, endpoint) == second

    _champion(account, places, small, 2, spoilt=True)
    ended = account.ended(account.start(document, {}))
    assert (ended["status"], ended["error"]) == ("FAILED", "Mdlc.RolledBack")
    assert "SageMaker took the rollout back" in ended["cause"]
    assert _serving(account, endpoint) == second

    # An alarm that goes off after the rollout.
    alarm = f"{endpoint}-rollout-errors"
    _champion(account, places, small, 3)
    account.sagemaker.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    ended = account.ended(account.start(document, {}))
    assert (ended["status"], ended["error"]) == ("FAILED", "Mdlc.Alarmed")
    assert alarm in ended["cause"]


def test_a_lifecycle_without_an_endpoint_has_no_such_machine(places: Places, small: LifecycleDeclaration) -> None:
    none = small.model_copy(update={"deployment": small.deployment.model_copy(update={"real_time": None})})
    with pytest.raises(PlaceError, match=r"deployment\.real_time: payments_fraud declares no endpoint\. Mend"):
        real_time_machine(none, places, "sync")
