"""What `mdlc export` writes: right by the language's schema, and the same requests as the platform's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator
from click.testing import CliRunner
from moto.events.models import EventPattern
from statelint.linter import Linter

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.deployment import Autoscaling, Deployment, MultiModel, RealTime
from mdlc_assets.declaration.evaluation import Calibrate
from mdlc_assets.declaration.model import Search
from mdlc_assets.export.language import Form
from mdlc_assets.export.package import files, machines
from mdlc_assets.export.places import PlaceError, Places
from mdlc_assets.resources.sagemaker.constraints import broken_constraints
from mdlc_assets.resources.sagemaker.requests import TrainingPlan, training_request
from mdlc_assets_tests.deploy.stacks import lint_problems

FORMS = pytest.mark.parametrize("form", ["sync", "poll"])
PLACES = Places(
    "eu-west-1",
    "arn:aws:iam::123456789012:role/mdlc-sagemaker",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mdlc-assets:1.0",
    "s3://mdlc-models",
    "s3://mdlc-lake/lake",
)
GIVEN = {
    "MDLC_SAGEMAKER_ROLE": PLACES.role,
    "MDLC_SAGEMAKER_BUCKET": PLACES.bucket,
    "MDLC_SAGEMAKER_IMAGE": PLACES.image,
    "AWS_REGION": PLACES.region,
}


@pytest.fixture(scope="module")
def scaled(payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    """A lifecycle whose endpoint scales, on spot machines: every kind of state."""
    real_time = RealTime(autoscaling=Autoscaling(most_workers=4, calls_per_minute=600))
    trained = payments_fraud.model.sagemaker.model_copy(update={"spot": True})
    return payments_fraud.model_copy(
        update={
            "deployment": Deployment(real_time=real_time),
            "model": payments_fraud.model.model_copy(update={"sagemaker": trained}),
        }
    )


@FORMS
def test_every_machine_is_right_by_the_schema(scaled: LifecycleDeclaration, form: Form) -> None:
    found = machines(scaled, PLACES, form)
    assert list(found) == [f"mdlc-payments-fraud-{what}" for what in ("training", "batch", "real-time")]
    for document in found.values():
        assert Linter.validate(json.dumps(document)) == []
    stack = files(scaled, PLACES, form)["template.json"]
    assert lint_problems(json.dumps(stack)) == []


def test_the_validators_see_what_moto_lets_pass(scaled: LifecycleDeclaration) -> None:
    document = machines(scaled, PLACES, "sync")["mdlc-payments-fraud-training"]
    del document["States"]["Create the model"]
    assert any("Create the model" in problem for problem in Linter.validate(json.dumps(document)))
    document["States"]["Train"]["Timeout"] = 60
    stack = {"Resources": {"M": {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"Definition": document}}}}
    stack["Resources"]["M"]["Properties"]["RoleArn"] = PLACES.role_named("states")
    assert any("Timeout" in problem for problem in lint_problems(json.dumps(stack)))


@FORMS
def test_every_call_is_one_that_its_service_takes(scaled: LifecycleDeclaration, form: Form) -> None:
    session = botocore.session.Session()
    named = {"applicationautoscaling": "application-autoscaling"}
    for document in machines(scaled, PLACES, form).values():
        for name, state in document["States"].items():
            if state["Type"] != "Task":
                continue
            *_, service, action = state["Resource"].split(":")
            action = action.split(".")[0]
            model = session.get_service_model(named.get(service, service))
            operation = model.operation_model(action[0].upper() + action[1:])
            request = _resolved(state["Parameters"])
            if service == "sqs":
                request["MessageBody"] = json.dumps(request["MessageBody"])
            report = ParamValidator().validate(request, operation.input_shape)
            assert not report.has_errors(), (name, report.generate_report())
            assert list(broken_constraints(request, operation.input_shape)) == [], name
            assert state["TimeoutSeconds"] > 0
            assert state["Catch"][0]["ErrorEquals"] == ["States.ALL"], name


def test_names_stay_within_what_sagemaker_takes(payments_fraud: LifecycleDeclaration) -> None:
    long = payments_fraud.model_copy(update={"name": "a_rather_long_name_of_forty_one_letters_x"})
    for document in machines(long, PLACES, "poll").values():
        for state in document["States"].values():
            for key, value in state.get("Parameters", {}).items():
                if key.endswith("Name.$") and value.startswith("States.Format"):
                    stem = value.removeprefix("States.Format('").split("{}")[0]
                    assert len(stem) + 32 <= 63, (key, value)


def test_the_training_job_is_the_platforms_own(scaled: LifecycleDeclaration) -> None:
    state = machines(scaled, PLACES, "sync")["mdlc-payments-fraud-training"]["States"]["Train"]
    made = training_request(TrainingPlan("x", PLACES.image, PLACES.role, [], "x", {}))
    assert set(_resolved(state["Parameters"])) == set(made) | {"CheckpointConfig"}
    assert state["Parameters"]["HyperParameters"]["mdlc_algorithm"] == "xgboost"
    assert state["TimeoutSeconds"] == state["Parameters"]["StoppingCondition"]["MaxWaitTimeInSeconds"] + 3600


def test_the_command_writes_the_files_and_says_what_is_missing(tmp_path: Path) -> None:
    runner, command = CliRunner(), ["export", "step-functions", "payments_fraud", "--to", str(tmp_path / "out")]
    ran = runner.invoke(main, command, env=GIVEN)
    assert ran.exit_code == 0, ran.output
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted(ran.output.replace(f"{tmp_path}/out/", "").split())
    assert len(written) == 6
    starts = json.loads((tmp_path / "out" / "mdlc-payments-fraud-batch.starts.json").read_text())
    schedule = starts["create_schedule"]
    assert schedule["Target"]["Arn"].endswith(":stateMachine:mdlc-payments-fraud-batch")
    assert schedule["ScheduleExpression"] == "cron(0 10 * * ? *)"
    ran = runner.invoke(main, command, env=GIVEN | {"MDLC_SAGEMAKER_ROLE": ""})
    assert (ran.exit_code, "--role: nothing is given. Mend:" in ran.output) == (2, True)
    ran = runner.invoke(main, command, env=GIVEN | {"MDLC_SAGEMAKER_BUCKET": "mdlc-models"})
    assert "bucket: this is no address on S3 (found 'mdlc-models'). Mend: write s3://bucket/prefix." in ran.output


def test_schedule_and_rule_are_taken_by_their_services(s3_root: str, payments_fraud: LifecycleDeclaration) -> None:
    written = files(payments_fraud, PLACES, "sync")
    schedule = written["mdlc-payments-fraud-batch.starts.json"]["create_schedule"]
    scheduler, events = boto3.client("scheduler"), boto3.client("events")
    scheduler.create_schedule(**schedule)
    found = scheduler.get_schedule(Name=schedule["Name"])
    assert (found["State"], found["Target"]["Arn"]) == ("DISABLED", PLACES.machine("mdlc-payments-fraud-batch"))
    starts = written["mdlc-payments-fraud-real-time.starts.json"]
    events.put_rule(**starts["put_rule"])
    assert events.put_targets(**starts["put_targets"])["FailedEntryCount"] == 0
    pattern = EventPattern.load(starts["put_rule"]["EventPattern"])
    changed = {
        **{
            "id": "1",
            "account": "123456789012",
            "region": "eu-west-1",
            "time": "2018-08-21T00:00:00Z",
            "resources": [],
        },
        **{"source": "aws.ssm", "detail-type": "Parameter Store Change"},
        "detail": {"name": PLACES.champion("payments_fraud"), "operation": "Update"},
    }
    assert pattern.matches_event(changed)
    changed["detail"]["name"] = PLACES.champion("another")  # type: ignore[index]
    assert not pattern.matches_event(changed)


_SEARCH = {"trials": 3, "judge_days": 2, "space": {"max_depth": {"integer": [2, 4]}}}


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (
            {"algorithm": "arn:aws:sagemaker:eu-west-1:123456789012:algorithm/fraud-9", "train_on": "sagemaker"},
            r"model\.algorithm: arn.*fraud-9 makes model packages.*Mend",
        ),
        ({"algorithm": "factorization-machines"}, r"model\.algorithm: factorization-machines is sent RecordIO.*Mend"),
        ({"search": Search.model_validate(_SEARCH)}, r"model\.search: a state machine trains once, not 3 times.*Mend"),
        ({"calibrate": Calibrate(method="platt", days=2)}, r"model\.calibrate: .* holds no days out.*Mend"),
    ],
)
def test_what_only_runs_do_is_refused(payments_fraud: LifecycleDeclaration, update: dict[str, Any], said: str) -> None:
    model = payments_fraud.model.model_copy(update=update)
    with pytest.raises(PlaceError, match=said):
        machines(payments_fraud.model_copy(update={"model": model}), PLACES, "sync")


def test_a_shared_endpoint_is_refused(payments_fraud: LifecycleDeclaration) -> None:
    shared = Deployment(real_time=RealTime(multi_model=MultiModel(endpoint="shared-models")))
    with pytest.raises(PlaceError, match=r"real_time\.multi_model: .*found 'shared-models'.*Mend"):
        machines(payments_fraud.model_copy(update={"deployment": shared}), PLACES, "sync")


def _resolved(value: Any) -> Any:
    """A payload template with something in place of each reference."""
    if isinstance(value, dict):
        return {
            key.removesuffix(".$"): _stand_in(key) if key.endswith(".$") else _resolved(part)
            for key, part in value.items()
        }
    return [_resolved(part) for part in value] if isinstance(value, list) else value


def _stand_in(key: str) -> str:
    return "s3://bucket/key" if key.startswith(("S3", "ModelDataUrl")) else "something"
