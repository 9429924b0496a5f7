"""An endpoint whose declaration says something else now, on moto: what goes, and what stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration.deployment import RealTime, Serverless
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan
from mdlc_assets.resources.sagemaker.rollout import MoveError, Rollout
from mdlc_assets_tests.resources.sagemaker.test_endpoints import CANARY, QUICK, plan

ALONE = RealTime()
SCALED = RealTime(autoscaling=CANARY.autoscaling)
Names = tuple[list[str], list[str], list[str]]


@pytest.fixture
def service(s3_root: str) -> SageMaker:
    return SageMaker(form="aws", region="us-east-1")


def _there(service: SageMaker) -> Names:
    """Endpoints, configurations and models of the lifecycle."""
    client = service.client()
    listed: list[tuple[Callable[..., dict[str, list[dict[str, str]]]], str, str]] = [
        (client.list_endpoints, "Endpoints", "EndpointName"),
        (client.list_endpoint_configs, "EndpointConfigs", "EndpointConfigName"),
        (client.list_models, "Models", "ModelName"),
    ]
    endpoints, configs, models = (
        [one[key] for one in ask()[part] if one[key].startswith("card-fraud")] for ask, part, key in listed
    )
    return endpoints, configs, models


def _served(service: SageMaker, told: list[str], wanted: EndpointPlan) -> Rollout:
    rollout = Rollout(service, QUICK, told.append)
    assert rollout.run(wanted).verdict == "deployed"
    assert _there(service) == (["card-fraud"], [wanted.config], [wanted.model(wanted.served)])
    return rollout


def test_what_is_left_goes_whole_and_somebody_elses_stays(service: SageMaker) -> None:
    told: list[str] = []
    wanted = plan(ALONE)
    rollout = _served(service, told, wanted)
    scaling = service.client("application-autoscaling")
    for method, request in plan(SCALED).scaling_requests():
        getattr(scaling, method)(**request)
    assert not rollout.retire(replace(wanted, lifecycle="card-fraud"))
    assert _there(service)[0] == ["card-fraud"]
    assert rollout.retire(wanted)
    assert _there(service) == ([], [], [])
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    assert "deleted the endpoint card-fraud, its configurations and its models" in told
    # One that was killed before its end is run again.
    assert not rollout.retire(wanted)


def test_an_endpoint_on_instances_is_not_made_serverless_and_nothing_is_left_of_the_try(service: SageMaker) -> None:
    rollout = _served(service, [], plan(ALONE))
    before = _there(service)
    with pytest.raises(MoveError, match=r"card-fraud runs on instances .*Mend: leave serverless out"):
        rollout.run(plan(RealTime(serverless=Serverless()), version=4))
    assert _there(service) == before
    assert rollout.retire(plan(ALONE))
    serverless = plan(RealTime(serverless=Serverless()), version=4)
    _served(service, [], serverless)
    assert rollout.run(serverless).verdict == "unchanged"
    assert rollout.retire(serverless)


def test_one_that_nothing_deploys_any_more_is_taken_down_by_a_command(
    service: SageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MDLC_LAKE", "MDLC_LANDING", "MDLC_PAGES", "MDLC_ARTIFACTS"):
        monkeypatch.setenv(name, f"s3://mdlc-test/{name}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MDLC_SAGEMAKER_ROLE", "arn:aws:iam::123456789012:role/mdlc")
    tagged = {"mdlc:lifecycle": "payments_fraud"}
    Rollout(service, QUICK, print).run(replace(plan(ALONE), lifecycle="payments_fraud", tagged=tagged))
    line = ["--home", str(tmp_path / "home"), "stop", "--lifecycle", "payments_fraud"]
    ran = CliRunner().invoke(main, [*line, "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout) == {"lifecycle": "payments_fraud", "done": True}
    assert "deleted the endpoint payments-fraud, its configurations and its models" in ran.stderr
    assert service.client().list_endpoints()["Endpoints"] == []
    assert CliRunner().invoke(main, line).stdout == "There is no endpoint of payments_fraud.\n"
