"""Training jobs that really run: to their end, stopped, interrupted, too long, failing, killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mdlc_assets.resources.sagemaker.archives import unpacked
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import JobFailedError, Jobs, Pace, ServiceError
from mdlc_assets.resources.sagemaker.requests import Channel, Machines, training_request
from mdlc_assets.training.algorithms import load_model
from mdlc_assets_tests.resources.sagemaker.plans import XGBOOST, training_plan

_SLOW = {**XGBOOST, "n_estimators": "100000", "n_jobs": "1", "mdlc_checkpoint_rounds": "50"}


@pytest.fixture
def service(tmp_path: Path) -> SageMaker:
    return SageMaker(root=str(tmp_path))


def _jobs(service: SageMaker) -> Jobs:
    return Jobs(service.client(), Pace(first_seconds=0.05, longest_seconds=0.2, throttled_seconds=2))


def _until(seen: Callable[[], Any], seconds: float = 180) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = seen()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


def _processes(root: Path) -> list[str]:
    """Command lines of processes that work for a state folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            about = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
        except OSError:
            continue
        if str(root).encode() in about and int(path.name) != os.getpid():
            found.append(path.name)
    return found


def test_a_job_runs_to_its_end_and_is_described_as_aws_does(service: SageMaker) -> None:
    plan = training_plan(service, tags={"mdlc:lifecycle": "x"}, metrics={"seconds": '"seconds": ([0-9.]+)'})
    found = _jobs(service).train(training_request(plan))
    assert found["TrainingJobStatus"] == found["SecondaryStatus"] == "Completed"
    steps = [step["Status"] for step in found["SecondaryStatusTransitions"]]
    assert steps == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert found["TrainingEndTime"] >= found["TrainingStartTime"] >= found["CreationTime"]
    assert found["FinalMetricDataList"][0]["MetricName"] == "seconds"
    files = unpacked(service.read(found["ModelArtifacts"]["S3ModelArtifacts"]))
    assert load_model(files).features == ["amount", "is_night"]
    assert service.storage("out").names("") == ["job/output/model.tar.gz", "job/output/output.tar.gz"]
    client = service.client()
    assert client.list_tags(ResourceArn=found["TrainingJobArn"])["Tags"] == [{"Key": "mdlc:lifecycle", "Value": "x"}]
    # botocore's own waiter and paginator see it too, from another client over the same folder.
    client.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="job")
    pages = client.get_paginator("list_training_jobs").paginate(NameContains="jo")
    assert [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]] == ["job"]


def test_names_are_taken_once(service: SageMaker) -> None:
    request = training_request(training_plan(service))
    _jobs(service).train(request)
    with pytest.raises(ClientError, match="must be unique within an AWS account") as refused:
        service.client().create_training_job(**request)
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"
    with pytest.raises(service.client().exceptions.ResourceInUse):
        service.client().create_training_job(**request)
    with pytest.raises(ClientError, match="Requested resource not found"):
        service.client().describe_training_job(TrainingJobName="other")
    with pytest.raises(ClientError, match="the training job is in status Completed"):
        service.client().stop_training_job(TrainingJobName="job")


def test_stopping_keeps_the_checkpoint_and_no_model(service: SageMaker) -> None:
    plan = training_plan(service, hyperparameters=_SLOW, checkpoints=service.storage().location("ck"))
    client = service.client()
    client.create_training_job(**training_request(plan))
    _until(lambda: service.storage("ck").names(""))
    client.stop_training_job(TrainingJobName="job")
    found = _until(lambda: _ended(client, "job"))
    assert found["TrainingJobStatus"] == "Stopped"
    assert service.storage("out").names("") == []
    assert _until(lambda: not _processes(Path(service.root)))


def test_spot_training_goes_on_from_its_checkpoint(service: SageMaker) -> None:
    rounds = {**XGBOOST, "n_estimators": "5000", "n_jobs": "1", "mdlc_checkpoint_rounds": "100"}
    plain = _jobs(service).train(training_request(training_plan(service, "plain", hyperparameters=rounds)))
    machines = Machines(spot=True, max_runtime_seconds=300, max_wait_seconds=600)
    plan = training_plan(
        service, "spot", hyperparameters=rounds, machines=machines, checkpoints=service.storage().location("ck")
    )
    service.client().create_training_job(**training_request(plan))
    _until(lambda: service.storage("ck").names(""))
    service.state().change("training-job", "spot", lambda job: job.update(interrupt=True))
    found = _until(lambda: _ended(service.client(), "spot"))
    steps = [step["Status"] for step in found["SecondaryStatusTransitions"]]
    assert found["TrainingJobStatus"] == "Completed", found
    assert steps == [
        "Starting",
        "Downloading",
        "Training",
        "Interrupted",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    models = [load_model(unpacked(service.read(job["ModelArtifacts"]["S3ModelArtifacts"]))) for job in (plain, found)]
    assert models[0].digest() == models[1].digest()


def test_training_that_takes_too_long_is_ended(service: SageMaker) -> None:
    plan = training_plan(service, hyperparameters=_SLOW, machines=Machines(max_runtime_seconds=3))
    with pytest.raises(
        JobFailedError, match=r"job job stopped: MaxRuntimeExceeded\. Mend: raise `model.sagemaker.max_"
    ):
        _jobs(service).train(training_request(plan))
    assert service.storage("out").names("") == []
    assert _until(lambda: not _processes(Path(service.root)))


def test_what_nobody_waits_for_is_stopped(service: SageMaker) -> None:
    request = training_request(training_plan(service, hyperparameters=_SLOW))
    with pytest.raises(ServiceError, match=r"has not ended after 1 s and was stopped\. Mend: allow it more time"):
        _jobs(service).train(request, patience_seconds=1)
    assert _until(lambda: _ended(service.client(), "job"))["TrainingJobStatus"] == "Stopped"

    asked = threading.Event()

    def interrupted(seconds: float) -> None:
        asked.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Jobs(service.client(), Pace(sleep=interrupted)).train({**request, "TrainingJobName": "second"})
    assert asked.is_set()
    assert _until(lambda: _ended(service.client(), "second"))["TrainingJobStatus"] == "Stopped"
    assert _until(lambda: not _processes(Path(service.root)))


def test_throttling_is_waited_out_or_told(service: SageMaker) -> None:
    state = service.state()
    state.expect_fault("CreateTrainingJob", "ThrottlingException", 2)
    state.expect_fault("DescribeTrainingJob", "ThrottlingException", 2)
    assert _jobs(service).train(training_request(training_plan(service)))["TrainingJobStatus"] == "Completed"
    state.expect_fault("CreateTrainingJob", "ThrottlingException", 1000)
    with pytest.raises(
        ServiceError, match=r"throttled sagemaker:CreateTrainingJob for 2 s .* Mend: run fewer jobs at once"
    ):
        _jobs(service).train(training_request(training_plan(service, "other")))
    with pytest.raises(ClientError, match="Requested resource not found"):
        service.client().describe_training_job(TrainingJobName="other")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"channels": [Channel("train", "s3://mdlc-local/nowhere")]},
            r'No S3 objects found under S3 URL "s3://mdlc-local/nowhere".* Mend: check that the channel',
        ),
        (
            {"image": "somebody/else:1"},
            "nothing on this machine stands in for the image somebody/else:1. Mend: give its",
        ),
        ({"hyperparameters": {**XGBOOST, "max_dept": "3"}}, "hyperparameters.max_dept: xgboost does not take it"),
        (
            {"hyperparameters": {"mdlc_algorithm": "xgbost"}},
            "'xgbost' does not train in this process. Mend: use one of",
        ),
        (
            {"hyperparameters": {**XGBOOST, "mdlc_label": "fraud"}},
            "the training rows have no column fraud. Mend: give the",
        ),
        (
            {"machines": Machines(instance_count=2, max_runtime_seconds=300)},
            "the job has 2 machines. Mend: set InstanceC",
        ),
        (
            {
                "hyperparameters": {
                    "mdlc_algorithm": "mdlc_assets_tests.training.own_functions:fit_something_own",
                    "mdlc_label": "is_fraud",
                }
            },
            "gave a builtins.object, which no format that runs no code can hold. Mend: return a classifier",
        ),
    ],
)
def test_failures_say_why(service: SageMaker, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(JobFailedError, match=said):
        _jobs(service).train(training_request(training_plan(service, **changes)))
    assert service.storage("out").names("") == []


def test_a_failed_job_is_followed_by_another(service: SageMaker) -> None:
    request = training_request(training_plan(service, channels=[Channel("train", "s3://mdlc-local/in/train")]))
    service.storage("in").delete("train/part-0.parquet")
    with pytest.raises(JobFailedError, match="No S3 objects"):
        _jobs(service).train(request)
    training_plan(service)
    assert _jobs(service).train(request)["TrainingJobName"] == "job-2"


def test_a_runner_that_is_killed_leaves_nothing_running(service: SageMaker) -> None:
    service.client().create_training_job(**training_request(training_plan(service, hyperparameters=_SLOW)))
    _until(lambda: service.client().describe_training_job(TrainingJobName="job")["SecondaryStatus"] == "Training")
    runner = _until(lambda: service.state().read("training-job", "job").get("runner"))
    os.kill(runner["pid"], signal.SIGKILL)
    found = _until(lambda: _ended(service.client(), "job"))
    assert (found["TrainingJobStatus"], found["FailureReason"][:19]) == ("Failed", "InternalServerError")
    assert _until(lambda: not _processes(Path(service.root)))


@pytest.mark.parametrize(
    ("request_changes", "said"),
    [
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds must be present"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}}, "must not be given without"),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "Exactly one of TrainingImage and AlgorithmName"),
    ],
)
def test_contradictions_are_refused(service: SageMaker, request_changes: dict[str, Any], said: str) -> None:
    request = {**training_request(training_plan(service)), **request_changes}
    with pytest.raises(ClientError, match=said):
        service.client().create_training_job(**request)
    assert service.client().list_training_jobs()["TrainingJobSummaries"] == []


def test_a_teams_own_container_and_function(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; root = pathlib.Path(os.environ['MDLC_ML_ROOT']);"
        "assert sys.argv[1] == 'train' and not any(n.startswith('AWS_') for n in os.environ);"
        "(root / 'model' / 'weights.txt').write_text((root / 'input/config/hyperparameters.json').read_text())"
    )
    service = SageMaker(root=str(tmp_path), commands={"team/image:1": [sys.executable, "-c", code]})
    plan = training_plan(service, image="team/image:1", hyperparameters={"depth": "3"})
    found = _jobs(service).train(training_request(plan))
    files = unpacked(service.read(found["ModelArtifacts"]["S3ModelArtifacts"]))
    assert files == {"weights.txt": b'{"depth": "3"}'}
    own = {
        "mdlc_algorithm": "mdlc_assets_tests.training.own_functions:fit_forest",
        "mdlc_label": "is_fraud",
        "trees": "4",
    }
    found = _jobs(service).train(training_request(training_plan(service, "function", hyperparameters=own)))
    model = load_model(unpacked(service.read(found["ModelArtifacts"]["S3ModelArtifacts"])))
    assert len(model.estimator.estimators_) == 4


def _ended(client: Any, name: str) -> Any:
    found = client.describe_training_job(TrainingJobName=name)
    return found if found["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None
