"""Training jobs on this machine: each a process that runs what stands in for its image."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from mdlc_assets.resources.endpoint_state import ProcessIdentity, start_of
from mdlc_assets.resources.sagemaker.local_images import NoCommandError, command_for
from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, now, page, refusal

KIND = "training-job"
_RUNNER = "mdlc_assets.resources.sagemaker.training_process"
ENDED = ("Completed", "Failed", "Stopped")


class LocalTraining:
    """Create, describe, list, stop."""

    service = "sagemaker"

    def __init__(self, state: LocalState) -> None:
        self.state = state

    def create_training_job(self, request: Document) -> Document:
        """Write the job down and start its process."""
        name = request["TrainingJobName"]
        _refuse_contradictions(request)
        arn = self.state.arn(KIND, name)
        began = now()
        output = f"{request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}/output"
        document = {
            **request,
            "TrainingJobArn": arn,
            # Where it will be; there is something there when the job has completed.
            "ModelArtifacts": {"S3ModelArtifacts": f"{output}/model.tar.gz"},
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "CreationTime": began,
            "LastModifiedTime": began,
            "SecondaryStatusTransitions": [
                {"Status": "Starting", "StartTime": began, "StatusMessage": "Starting the training job"}
            ],
        }
        try:
            image = request["AlgorithmSpecification"].get("TrainingImage", "")
            command = command_for(self.state, image or request["AlgorithmSpecification"]["AlgorithmName"], "train")
            document["command"], document["command_environment"] = list(command.words), command.environment
        except NoCommandError as error:
            # As on AWS, where an image that cannot be pulled fails the job, not the request.
            document["refused"] = str(error)
        taken = refusal(
            "ResourceInUse",
            "Training job names must be unique within an AWS account and region, and a training job with this name "
            f"already exists ({arn})",
        )
        self.state.add(KIND, name, document, taken)
        start_runner(self.state, KIND, name, _RUNNER)
        return {"TrainingJobArn": arn}

    def describe_training_job(self, request: Document) -> Document:
        """The job as it is now."""
        return self._found(request["TrainingJobName"])

    def list_training_jobs(self, request: Document) -> Document:
        """A page of summaries, the newest first."""
        jobs = [self._found(job["TrainingJobName"]) for job in self.state.documents(KIND)]
        found, token = page(jobs, request, "TrainingJobName", "TrainingJob")
        return {"TrainingJobSummaries": found, "NextToken": token}

    def stop_training_job(self, request: Document) -> Document:
        """Ask the job to stop; its process is told with SIGTERM."""
        name = request["TrainingJobName"]
        status = self._found(name)["TrainingJobStatus"]
        if status in ENDED:
            raise refusal(
                "ValidationException", f"The request was rejected because the training job is in status {status}."
            )

        def stop(document: Document) -> None:
            if document["TrainingJobStatus"] not in ENDED:
                document |= {"TrainingJobStatus": "Stopping", "stop": True, "LastModifiedTime": now()}

        self.state.change(KIND, name, stop)
        return {}

    def _found(self, name: str) -> Document:
        return found_job(self.state, KIND, name, "TrainingJobStatus")


def found_job(state: LocalState, kind: str, name: str, status: str) -> Document:
    """A job's document; one whose process is gone without a word has failed."""
    document = state.read(kind, name)
    if document is None:
        raise refusal("ValidationException", "Requested resource not found.")
    runner = document.get("runner")
    if document[status] not in ENDED and runner and not ProcessIdentity(**runner).alive():
        _end_what_is_left(runner["pid"])

        def gave_up(found: Document) -> None:
            # It may have ended well between the two looks.
            if found[status] not in ENDED:
                found[status] = "Failed"
                found["FailureReason"] = "InternalServerError: the process that ran the job is gone."
                found["LastModifiedTime"] = now()
                if kind == KIND:
                    found["SecondaryStatus"] = "Failed"

        document = state.change(kind, name, gave_up) or document
    return document


def _end_what_is_left(leader: int) -> None:
    """End the processes of a runner that was killed: it led a group of its own."""
    if start_of(leader) is None:
        # While the group has members its number is given to nobody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def start_runner(state: LocalState, kind: str, name: str, module: str) -> None:
    """Start the process that sees a job through; it outlives this one."""
    package_root = str(Path(__file__).parents[3])
    with (state.work(kind, name) / "runner.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _start(package_root, module), str(state.root), state.region, name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # Nobody waits for it; its end is read from its document.
    process.returncode = 0

    def note(document: Document) -> None:
        # A job this short may be over already.
        try:
            identity = ProcessIdentity.of(process.pid)
        except ProcessLookupError:
            return
        document["runner"] = {"pid": identity.pid, "started": identity.started}

    state.change(kind, name, note)


def _start(package_root: str, module: str) -> str:
    return f"import sys; sys.path.insert(0, {package_root!r}); from {module} import main; main()"


def _refuse_contradictions(request: Document) -> None:
    """What the service refuses although each field by itself is right."""
    algorithm: dict[str, Any] = request.get("AlgorithmSpecification", {})
    if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
        raise refusal("ValidationException", "Exactly one of TrainingImage and AlgorithmName must be given.")
    limits = request.get("StoppingCondition", {})
    runtime, wait = limits.get("MaxRuntimeInSeconds", 86_400), limits.get("MaxWaitTimeInSeconds")
    if request.get("EnableManagedSpotTraining"):
        if wait is None:
            raise refusal("ValidationException", "MaxWaitTimeInSeconds must be present for managed spot training.")
        if wait < runtime:
            raise refusal(
                "ValidationException",
                f"Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to {runtime}.",
            )
    elif wait is not None:
        raise refusal("ValidationException", "MaxWaitTimeInSeconds must not be given without managed spot training.")
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(names) != len(set(names)):
        raise refusal("ValidationException", f"Channel names must be unique: {json.dumps(names)}")


HANDLERS = (LocalTraining,)
