"""The training workflow, run: to its end, into its failure branch, and waiting for a person."""

from __future__ import annotations

import json
from typing import Any

import boto3
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.export.language import Form
from mdlc_assets.export.places import Places
from mdlc_assets.export.training import training_machine
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets_tests.export.conftest import messages
from mdlc_assets_tests.export.interpreter import Interpreter
from mdlc_assets_tests.resources.sagemaker.plans import training_data

FORMS = pytest.mark.parametrize("form", ["sync", "poll"])


@pytest.fixture(scope="module")
def rows(sagemaker: SageMaker) -> str:
    return training_data(sagemaker).address


@pytest.fixture(scope="module")
def hopeless(sagemaker: SageMaker) -> str:
    """Rows that all have the same label."""
    frame = pl.DataFrame({"amount": [1.0, 2.0], "is_night": [0.0, 1.0], "is_fraud": [0, 0]})
    storage = sagemaker.storage("hopeless")
    path = sagemaker.state().s3_path(storage.location("part-0.parquet"))
    path.parent.mkdir(parents=True)
    frame.write_parquet(path)
    return storage.location("").rstrip("/")


def _from_approval(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The machine from where its job has ended, and the input that it has there."""
    artifact = {"S3ModelArtifacts": "s3://bucket/model.tar.gz"}
    job = {"TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/x", "ModelArtifacts": artifact}
    return document | {"StartAt": "Wait for approval"}, {"as_of": "2018-08-21", "training": job}


def _asked(account: Interpreter, places: Places, running: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    ended = account.until(
        running, lambda now: bool(found.extend(messages(places, "approvals")) or found) or now["status"] != "RUNNING"
    )
    assert found, ended
    return found[0]


@FORMS
def test_it_trains_waits_for_approval_and_creates_the_champion(
    account: Interpreter, places: Places, small: LifecycleDeclaration, rows: str, form: Form
) -> None:
    running = account.start(training_machine(small, places, form), {"as_of": "2018-08-21", "train": rows})
    asked = _asked(account, places, running)
    assert account.states.describe_execution(executionArn=running)["status"] == "RUNNING"
    assert asked["model"].endswith("/output/model.tar.gz")
    assert account.sagemaker.state().s3_path(asked["model"]).stat().st_size > 0
    account.states.send_task_success(
        taskToken=asked["task_token"],
        output=json.dumps({"approved": True, "who": "ann@example.com", "reason": "better on two weeks"}),
    )
    ended = account.ended(running)
    assert ended["status"] == "SUCCEEDED", ended.get("cause")
    champion = boto3.client("ssm").get_parameter(Name=places.champion(small.name))["Parameter"]["Value"]
    model = account.sagemaker.client().describe_model(ModelName=champion)
    assert model["PrimaryContainer"]["ModelDataUrl"] == asked["model"]
    tags = account.sagemaker.client().list_tags(ResourceArn=model["ModelArn"])["Tags"]
    assert {"Key": "mdlc:approved-by", "Value": "ann@example.com"} in tags


@FORMS
def test_a_failed_job_ends_in_the_failure_branch_with_its_reason(
    account: Interpreter, places: Places, small: LifecycleDeclaration, hopeless: str, form: Form
) -> None:
    running = account.start(training_machine(small, places, form), {"as_of": "2018-08-21", "train": hopeless})
    ended = account.ended(running)
    assert ended["status"] == "FAILED"
    assert ended["error"] == ("Mdlc.States.TaskFailed" if form == "sync" else "Mdlc.SageMaker.TrainingJobFailed")
    assert ended["cause"].startswith(
        "AlgorithmError: all 2 training rows have the same label. Mend: train on more days"
    )
    (told,) = messages(places, "told")
    assert "same label" in told["Message"]
    assert account.visited(running)[-2:] == ["Tell of the failure", "Failed"]
    assert messages(places, "approvals") == []


@pytest.mark.parametrize(
    ("answer", "error", "cause"),
    [
        (
            {"approved": False, "who": "ben@example.com", "reason": "too many false alarms"},
            "Mdlc.Rejected",
            "ben@example.com rejected the model: too many false alarms",
        ),
        ({"approved": True}, "Mdlc.Unanswered", "who approved or rejected is not said"),
    ],
)
def test_what_is_not_approved_creates_no_model(
    account: Interpreter,
    places: Places,
    small: LifecycleDeclaration,
    answer: dict[str, Any],
    error: str,
    cause: str,
) -> None:
    running = account.start(*_from_approval(training_machine(small, places, "poll")))
    token = _asked(account, places, running)["task_token"]
    account.states.send_task_success(taskToken=token, output=json.dumps(answer))
    ended = account.ended(running)
    assert (ended["status"], ended["error"]) == ("FAILED", error)
    assert cause in ended["cause"]
    assert "Create the model" not in account.visited(running)


def test_an_approval_that_never_comes_times_out(
    account: Interpreter, places: Places, small: LifecycleDeclaration
) -> None:
    document = training_machine(small, places, "poll")
    document["States"]["Wait for approval"]["TimeoutSeconds"] = 1
    ended = account.ended(account.start(*_from_approval(document)))
    assert (ended["status"], ended["error"]) == ("FAILED", "Mdlc.States.Timeout")


def test_a_busy_service_is_asked_again(
    account: Interpreter, places: Places, small: LifecycleDeclaration, hopeless: str
) -> None:
    document = training_machine(small, places, "poll")
    for state in document["States"].values():
        for retry in state.get("Retry", []):
            retry["IntervalSeconds"] = 1
    account.sagemaker.state().expect_fault("CreateTrainingJob", "ThrottlingException", 1)
    running = account.start(document, {"as_of": "2018-08-21", "train": hopeless})
    assert "same label" in account.ended(running)["cause"]
    history = account.states.get_execution_history(executionArn=running, maxResults=100)["events"]
    refused = [event["taskFailedEventDetails"] for event in history if "taskFailedEventDetails" in event]
    assert [(one["resource"], one["error"]) for one in refused] == [
        ("createTrainingJob", "SageMaker.SageMakerException")
    ]


def test_an_input_that_lacks_something_says_what(
    account: Interpreter, places: Places, small: LifecycleDeclaration
) -> None:
    ended = account.ended(account.start(training_machine(small, places, "sync"), {"as_of": "2018-08-21"}))
    assert (ended["error"], ended["cause"]) == (
        "Mdlc.InputMissing",
        "the input lacks one of as_of, train. Mend: give all of them.",
    )
