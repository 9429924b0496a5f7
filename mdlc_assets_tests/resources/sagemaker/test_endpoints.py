"""Endpoints by SageMaker's requests: shown whole, checked by botocore's model, carried out here, sent to AWS."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from botocore.validate import ParamValidator

from mdlc_assets.declaration.deployment import Autoscaling, MultiModel, RealTime, RolloutAlarms, Serverless
from mdlc_assets.resources.endpoint_state import read_state
from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.constraints import broken_constraints
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served
from mdlc_assets.resources.sagemaker.jobs import Pace
from mdlc_assets.resources.sagemaker.multi_model import MultiModelPlan
from mdlc_assets.resources.sagemaker.rollout import PeriodError, Rollout, ask_endpoint, served_version
from mdlc_assets.resources.sagemaker.score_drift import publish_score_drift, score_drift_request
from mdlc_assets_tests.deployment.models import FEATURES, fit_model

GOLDEN = Path(__file__).parent / "golden_endpoint_requests.json"
NAME = "card_fraud"
QUICK = Pace(0.1, 0.3, 5.0)
CANARY = RealTime(
    strategy="canary",
    share=0.1,
    bake=timedelta(minutes=10),
    alarms=RolloutAlarms(error_rate=0.01, p99_ms=200, score_drift=0.3, named=["chargebacks"]),
    shadow=True,
    capture=0.2,
    workers=2,
    autoscaling=Autoscaling(most_workers=6, calls_per_minute=6000),
)
SHARED = RealTime(multi_model=MultiModel(endpoint="shared-models", most_loaded=20))


def plan(declared: RealTime, version: int = 3, **changes: Any) -> EndpointPlan:
    usual: dict[str, Any] = {
        "lifecycle": NAME,
        "declared": declared,
        "served": Served(version, f"s3://bucket/models/{version}/model.tar.gz", f"digest{version}"),
        "image": "000000000000.dkr.ecr.us-east-1.amazonaws.com/mdlc-assets:1",
        "role": "arn:aws:iam::000000000000:role/mdlc",
        "capture_to": "s3://bucket/capture",
        "tagged": {"mdlc:lifecycle": NAME},
    }
    if declared.multi_model:
        return MultiModelPlan(**{**usual, "prefix": "s3://bucket/multi-model/shared-models", **changes})
    return EndpointPlan(**{**usual, **changes})


def requests_of(wanted: EndpointPlan) -> list[tuple[str, str, dict[str, Any]]]:
    """(service, method, request) of all that a rollout sends."""
    sent = [("cloudwatch", "put_metric_alarm", request) for request in wanted.alarm_requests()]
    sent += [("sagemaker", "create_model", request) for request in wanted.models()]
    sent.append(("sagemaker", "create_endpoint_config", wanted.config_request()))
    sent.append(("sagemaker", "create_endpoint", wanted.create_request()))
    sent.append(("sagemaker", "update_endpoint", wanted.update_request()))
    sent += [("application-autoscaling", method, request) for method, request in wanted.scaling_requests()]
    return sent


def test_the_requests_are_those_on_record() -> None:
    shadow = Served(4, "s3://bucket/models/4/model.tar.gz", "digest4")
    linear = RealTime(strategy="linear", share=0.25, bake=timedelta(minutes=5))
    shown = {
        "canary with shadow, capture, autoscaling": requests_of(plan(CANARY, shadow=shadow)),
        "linear": requests_of(plan(linear)),
        "all at once": requests_of(plan(RealTime(bake=timedelta(minutes=3)))),
        "serverless": requests_of(plan(RealTime(serverless=Serverless(memory_mb=3072)))),
        "multi-model": requests_of(plan(SHARED)),
    }
    assert json.loads(json.dumps(shown)) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    "declared",
    [
        CANARY,
        RealTime(),
        RealTime(strategy="linear", share=0.5, bake=timedelta(hours=1)),
        RealTime(serverless=Serverless()),
        SHARED,
    ],
)
def test_aws_would_take_each_request(declared: RealTime) -> None:
    session = botocore.session.Session()
    for service, method, request in requests_of(plan(declared)):
        model = session.get_service_model(service)
        operation = next(name for name in model.operation_names if botocore.xform_name(name) == method)
        shape = model.operation_model(operation).input_shape
        assert not ParamValidator().validate(request, shape).has_errors(), request
        assert list(broken_constraints(request, shape)) == []


def test_what_is_not_served_any_more_goes_with_the_package_that_a_rollout_made_for_it(
    stubs: dict[str, Stubber],
) -> None:
    """Packages of other names are the registry's, and stay."""
    sagemaker, arn = stubs["sagemaker"], {"ModelArn": "arn:" + "0" * 20, "CreationTime": 0}
    sagemaker.add_response("list_endpoint_configs", {"EndpointConfigs": []}, {"NameContains": "card-fraud-v"})
    bought, packaged = "card-fraud-v1-bought", "card-fraud-v2-packaged"
    listed = [{"ModelName": name, **arn} for name in (bought, packaged)]
    sagemaker.add_response("list_models", {"Models": listed}, {"NameContains": "card-fraud-v"})
    packages = {
        bought: f"arn:aws:sagemaker:us-east-1:000000000000:model-package/{bought}",
        packaged: "arn:aws:sagemaker:us-east-1:000000000000:model-package/card-fraud/2",
    }
    for name, package in packages.items():
        described = {"ModelName": name, **arn, "PrimaryContainer": {"ModelPackageName": package}}
        sagemaker.add_response("describe_model", described, {"ModelName": name})
        sagemaker.add_response("delete_model", {}, {"ModelName": name})
        if name == bought:
            sagemaker.add_response("delete_model_package", {}, {"ModelPackageName": name})
    Rollout(_Stubbed(form="aws"), QUICK, lambda text: None).clean_up(plan(RealTime()), set())


def test_the_same_is_called_the_same_and_anything_else_otherwise() -> None:
    assert plan(CANARY).config == plan(CANARY).config
    others = [plan(CANARY, 4), plan(CANARY.model_copy(update={"workers": 3})), plan(RealTime())]
    assert len({plan(CANARY).config, *(other.config for other in others)}) == 4


class _Stubbed(SageMaker):
    """The resource with boto3's clients in the hands of Stubber."""

    form: str = "aws"  # type: ignore[assignment]

    def client(self, service: str = "sagemaker") -> Any:  # type: ignore[override]
        return _CLIENTS[service]


_CLIENTS: dict[str, Any] = {}


@pytest.fixture
def stubs() -> Iterator[dict[str, Stubber]]:
    keys = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    made = {}
    for service in ("sagemaker", "cloudwatch", "application-autoscaling"):
        _CLIENTS[service] = boto3.client(service, **keys)
        made[service] = Stubber(_CLIENTS[service])
        made[service].activate()
    yield made
    for stub in made.values():
        stub.assert_no_pending_responses()


def _described(config: str, status: str) -> dict[str, Any]:
    return {
        "EndpointName": "card-fraud",
        "EndpointArn": "arn:aws:sagemaker:us-east-1:000000000000:endpoint/card-fraud",
        "EndpointConfigName": config,
        "EndpointStatus": status,
        "CreationTime": 0,
        "LastModifiedTime": 0,
    }


def test_on_aws_an_alarm_takes_the_new_version_back_and_its_remains_are_deleted(stubs: dict[str, Stubber]) -> None:
    declared = RealTime(strategy="canary", bake=timedelta(minutes=5), alarms=RolloutAlarms(p99_ms=50))
    wanted = plan(declared)
    name = {"EndpointName": "card-fraud"}
    sagemaker, cloudwatch = stubs["sagemaker"], stubs["cloudwatch"]
    sagemaker.add_response("describe_endpoint", _described("card-fraud-v2-before", "InService"), name)
    for alarm in wanted.alarm_requests():
        cloudwatch.add_response("put_metric_alarm", {}, alarm)
    sagemaker.add_response("create_model", {"ModelArn": "arn:aws:sagemaker:x" + "0" * 20}, wanted.models()[0])
    # Throttled once: asked again.
    sagemaker.add_client_error("create_endpoint_config", "ThrottlingException", "Rate exceeded")
    created = {"EndpointConfigArn": "arn:aws:sagemaker:x" + "0" * 20}
    sagemaker.add_response("create_endpoint_config", created, wanted.config_request())
    sagemaker.add_response("describe_endpoint", _described("card-fraud-v2-before", "InService"), name)
    arn = {"EndpointArn": _described("", "")["EndpointArn"]}
    sagemaker.add_response("update_endpoint", arn, wanted.update_request())
    heard = score_drift_request(NAME, 0.4)
    for _ in range(2):
        cloudwatch.add_response("put_metric_data", {}, heard)
    for status in ("Updating", "RollingBack", "InService"):
        sagemaker.add_response("describe_endpoint", _described("card-fraud-v2-before", status), name)
    alarmed = {"AlarmName": "card-fraud-rollout-p99", "StateValue": "ALARM", "StateReason": "p99 was 80000"}
    cloudwatch.add_response(
        "describe_alarms",
        {"MetricAlarms": [alarmed]},
        {"AlarmNames": ["card-fraud-rollout-errors", "card-fraud-rollout-p99"], "StateValue": "ALARM"},
    )
    before_that = {"Tags": [{"Key": "mdlc:previous-config", "Value": "card-fraud-v1-first"}]}
    sagemaker.add_response("list_tags", before_that, {"ResourceArn": arn["EndpointArn"]})
    configs = ["card-fraud-v1-first", "card-fraud-v2-before", wanted.config]
    about = {"CreationTime": 0}
    listed = [{"EndpointConfigName": c, "EndpointConfigArn": "arn:" + "0" * 20, **about} for c in configs]
    sagemaker.add_response("list_endpoint_configs", {"EndpointConfigs": listed}, {"NameContains": "card-fraud-v"})
    for config, model in zip(configs, ("card-fraud-v1-a", "card-fraud-v2-b", wanted.model(wanted.served)), strict=True):
        described = {**about, "EndpointConfigArn": "arn:" + "0" * 20, "EndpointConfigName": config}
        described["ProductionVariants"] = [{"VariantName": "live", "ModelName": model}]
        sagemaker.add_response("describe_endpoint_config", described, {"EndpointConfigName": config})
        if config == wanted.config:
            sagemaker.add_response("delete_endpoint_config", {}, {"EndpointConfigName": config})
    models = ["card-fraud-v1-a", "card-fraud-v2-b", wanted.model(wanted.served)]
    listed = [{"ModelName": m, "ModelArn": "arn:" + "0" * 20, **about} for m in models]
    sagemaker.add_response("list_models", {"Models": listed}, {"NameContains": "card-fraud-v"})
    described = {"ModelName": models[-1], "ModelArn": "arn:" + "0" * 20, **about, "PrimaryContainer": {"Image": "x"}}
    sagemaker.add_response("describe_model", described, {"ModelName": models[-1]})
    sagemaker.add_response("delete_model", {}, {"ModelName": models[-1]})

    pauses: list[float] = []
    stubbed = _Stubbed(form="aws")
    rollout = Rollout(stubbed, Pace(0.01, 0.02, 5.0, pauses.append), lambda text: None)
    # While it moves, the alarms hear what SageMaker does not measure.
    outcome = rollout.run(wanted, lambda: publish_score_drift(stubbed, NAME, 0.4, QUICK))
    assert (outcome.verdict, outcome.config) == ("rolled back", "card-fraud-v2-before")
    assert outcome.why == ("version 3 was rolled back: the alarm card-fraud-rollout-p99 went off: p99 was 80000")


def test_a_period_that_cloudwatch_does_not_take_is_refused_before_anything_is_sent(stubs: dict[str, Stubber]) -> None:
    wanted = plan(RealTime(bake=timedelta(minutes=5), alarms=RolloutAlarms(period=timedelta(seconds=45))))
    with pytest.raises(PeriodError, match=r"CloudWatch takes no period of 45 s\. Mend: write 10s"):
        Rollout(_Stubbed(form="aws"), QUICK).run(wanted)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[SageMaker]:
    sagemaker = SageMaker(root=str(tmp_path))
    yield sagemaker
    Endpoints(root=str(tmp_path / "endpoints")).stop(NAME)


def _served(sagemaker: SageMaker, version: int, spoilt: bool = False) -> Served:
    files = fit_model(version).files()
    if spoilt:
        files["model.ubj"] = b"{ spoilt"
    storage = sagemaker.storage("models")
    storage.write(f"{version}.tar.gz", packed(files))
    return Served(version, storage.location(f"{version}.tar.gz"), str(version))


def test_here_the_same_requests_shift_traffic_roll_back_and_clean_up(local: SageMaker, tmp_path: Path) -> None:
    alarms = RolloutAlarms(named=["chargebacks"], period=timedelta(seconds=1))
    declared = RealTime(
        strategy="canary",
        share=0.5,
        bake=timedelta(seconds=2),
        alarms=alarms,
        health_seconds=120,
        autoscaling=Autoscaling(most_workers=3, calls_per_minute=1e6),
    )
    told: list[str] = []
    cloudwatch, client = local.client("cloudwatch"), local.client("sagemaker")
    chargebacks = {
        "AlarmName": "chargebacks",
        "MetricName": "Chargebacks",
        "Namespace": "Shop",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 9,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch.put_metric_alarm(**chargebacks)

    def roll_out(version: int, spoilt: bool = False) -> Any:
        wanted = plan(declared, served=_served(local, version, spoilt), image=local.own_image())
        return Rollout(local, QUICK, told.append).run(wanted)

    # Corrupt, and nothing serves yet: nothing stays behind.
    first = roll_out(4, spoilt=True)
    assert (first.verdict, first.config) == ("refused", "")
    assert "the model cannot be loaded" in first.why
    assert client.list_endpoints()["Endpoints"] == client.list_endpoint_configs()["EndpointConfigs"] == []
    assert client.list_models()["Models"] == []

    assert roll_out(1).verdict == "deployed"
    assert served_version(local, NAME) == 1
    again = roll_out(1)
    assert (again.verdict, again.config) == ("unchanged", again.before)
    row = {"instances": [dict.fromkeys(FEATURES, 0.5)]}
    assert ask_endpoint(local, NAME, row)["model_version"] == 1
    with pytest.raises(ClientError, match="Received client error \\(400\\)"):
        local.client("sagemaker-runtime").invoke_endpoint(EndpointName="card-fraud", Body=b"{}")

    # The supervisor is killed: whoever asks next finds the endpoint mended.
    folder = tmp_path / "endpoints" / NAME
    read_state(folder).supervisor.signal(signal.SIGKILL)
    second = roll_out(2)
    assert (second.verdict, second.before) == ("deployed", again.config)

    cloudwatch.set_alarm_state(AlarmName="chargebacks", StateValue="ALARM", StateReason="too many")
    third = roll_out(3)
    assert (third.verdict, third.config) == ("refused", second.config)
    assert "the alarm chargebacks is on already: too many" in third.why
    assert served_version(local, NAME) == 2

    configs = [found["EndpointConfigName"] for found in client.list_endpoint_configs()["EndpointConfigs"]]
    assert sorted(configs) == sorted([again.config, second.config])
    assert len(client.list_models()["Models"]) == 2
    assert any("deleted the endpoint configuration card-fraud-v3" in text for text in told)
    assert json.loads((folder / "scaling.json").read_text())["most"] == 3


def test_moto_takes_what_it_knows_of_them(s3_root: str) -> None:
    wanted = plan(CANARY)
    clients = {service: boto3.client(service) for service in ("sagemaker", "cloudwatch", "application-autoscaling")}
    for service, method, request in requests_of(wanted):
        # moto has no deployment configuration: see shared/SAGEMAKER.md.
        if method != "update_endpoint":
            getattr(clients[service], method)(**request)
    found = clients["sagemaker"].describe_endpoint(EndpointName="card-fraud")
    assert (found["EndpointConfigName"], found["EndpointStatus"]) == (wanted.config, "InService")
    alarms = clients["cloudwatch"].describe_alarms(AlarmNamePrefix="card-fraud")["MetricAlarms"]
    assert {alarm["MetricName"] for alarm in alarms} == {"ScoreDrift", "Invocation5XXErrors", "ModelLatency"}
    target = clients["application-autoscaling"].describe_scalable_targets(ServiceNamespace="sagemaker")
    assert target["ScalableTargets"][0]["MaxCapacity"] == 6
