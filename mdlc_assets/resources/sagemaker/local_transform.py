"""Batch transform on this machine: each job serves its model, sends it the files, and goes away."""

from __future__ import annotations

from mdlc_assets.resources.sagemaker.local_images import NoCommandError, command_for
from mdlc_assets.resources.sagemaker.local_models import KIND as MODEL
from mdlc_assets.resources.sagemaker.local_models import container_of
from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, now, page, refusal
from mdlc_assets.resources.sagemaker.local_training import ENDED, found_job, start_runner
from mdlc_assets.resources.sagemaker.transform_filters import FilterError, Filters

KIND = "transform-job"
_RUNNER = "mdlc_assets.resources.sagemaker.transform_process"
# What the service allows for all requests under way together.
_LARGEST_TOGETHER_MB = 100


class LocalTransform:
    """Create, describe, list, stop."""

    service = "sagemaker"

    def __init__(self, state: LocalState) -> None:
        self.state = state

    def create_transform_job(self, request: Document) -> Document:
        """Write the job down and start its process."""
        name = request["TransformJobName"]
        model = self.state.read(MODEL, request["ModelName"])
        if model is None:
            raise refusal(
                "ValidationException", f'Could not find model "{self.state.arn(MODEL, request["ModelName"])}".'
            )
        megabytes, together = request.get("MaxPayloadInMB", 6), request.get("MaxConcurrentTransforms", 1)
        if megabytes > _LARGEST_TOGETHER_MB or megabytes * together > _LARGEST_TOGETHER_MB:
            raise refusal(
                "ValidationException",
                f"MaxConcurrentTransforms * MaxPayloadInMB must be at most {_LARGEST_TOGETHER_MB}.",
            )
        try:
            Filters.of(request)
        except FilterError as error:
            raise refusal("ValidationException", str(error)) from None
        container = container_of(self.state, model)
        document = {
            **request,
            "TransformJobArn": self.state.arn(KIND, name),
            "TransformJobStatus": "InProgress",
            "CreationTime": now(),
            "artifact": container.get("ModelDataUrl", ""),
            "model_environment": container.get("Environment", {}),
        }
        try:
            command = command_for(self.state, container.get("Image", ""), "serve")
            document["command"], document["command_environment"] = list(command.words), command.environment
        except NoCommandError as error:
            document["refused"] = str(error)
        taken = refusal(
            "ResourceInUse",
            f"Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({document['TransformJobArn']})",
        )
        self.state.add(KIND, name, document, taken)
        start_runner(self.state, KIND, name, _RUNNER)
        return {"TransformJobArn": document["TransformJobArn"]}

    def describe_transform_job(self, request: Document) -> Document:
        """The job as it is now."""
        return found_job(self.state, KIND, request["TransformJobName"], "TransformJobStatus")

    def list_transform_jobs(self, request: Document) -> Document:
        """A page of summaries, the newest first."""
        names = [job["TransformJobName"] for job in self.state.documents(KIND)]
        jobs = [found_job(self.state, KIND, name, "TransformJobStatus") for name in names]
        found, token = page(jobs, request, "TransformJobName", "TransformJob")
        return {"TransformJobSummaries": found, "NextToken": token}

    def stop_transform_job(self, request: Document) -> Document:
        """Ask the job to stop; what it has not written is not written."""
        name = request["TransformJobName"]
        status = found_job(self.state, KIND, name, "TransformJobStatus")["TransformJobStatus"]
        if status in ENDED:
            raise refusal(
                "ValidationException", f"The request was rejected because the transform job is in status {status}."
            )

        def stop(document: Document) -> None:
            if document["TransformJobStatus"] not in ENDED:
                document |= {"TransformJobStatus": "Stopping", "stop": True}

        self.state.change(KIND, name, stop)
        return {}


HANDLERS = (LocalTransform,)
