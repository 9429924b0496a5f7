"""Makes a model of an image, or of a Marketplace algorithm, which AWS lets be used by way of a package only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from botocore.exceptions import ClientError

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.resources.sagemaker.jobs import Jobs
from mdlc_assets.resources.sagemaker.requests import Request, model_request, tags

_PATIENCE_SECONDS = 1800.0


@dataclass(frozen=True)
class MadeModel:
    """The names of what was made."""

    model: str
    package: str = ""


def marketplace_package_request(name: str, algorithm: str, artifact: str) -> Request:
    """`create_model_package` of what a Marketplace algorithm has trained."""
    source = {"AlgorithmName": algorithm, "ModelDataUrl": artifact}
    return {"ModelPackageName": name, "SourceAlgorithmSpecification": {"SourceAlgorithms": [source]}}


def package_model_request(
    name: str, package: str, role: str, tagged: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> Request:
    """`create_model` of a package; what comes from the Marketplace runs without a network."""
    container: Request = {"ModelPackageName": package}
    if environment:
        container["Environment"] = dict(environment)
    return {
        "ModelName": name,
        "PrimaryContainer": container,
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": True,
        "Tags": tags(tagged),
    }


def made_package(jobs: Jobs, name: str, algorithm: str, artifact: str) -> str:
    """The ARN of a package, once AWS has looked at it. Raises `ServiceError` when it is refused."""
    request = marketplace_package_request(name, algorithm, artifact)
    jobs.ensure("create_model_package", request, taken="already exist")
    end, pause = time.monotonic() + _PATIENCE_SECONDS, jobs.pace.first_seconds
    while True:
        found = jobs.call("describe_model_package", {"ModelPackageName": name})
        status = found["ModelPackageStatus"]
        if status == "Completed":
            return found["ModelPackageArn"]
        if status == "Failed" or time.monotonic() > end:
            raise ServiceError(
                f"the model package {name} of {algorithm} is {status}. Mend: see its status details at SageMaker; "
                "the subscription to the algorithm must be in force."
            )
        jobs.pace.sleep(pause)
        pause = min(pause * 1.5, jobs.pace.longest_seconds)


def made_model(
    jobs: Jobs, service: SageMaker, name: str, image: str, artifact: str, environment: Mapping[str, str]
) -> MadeModel:
    """Create the model `name`; for an ARN its package too, of the same name."""
    if not image.startswith("arn:"):
        request = model_request(name, image, artifact, service.role_arn(), environment=environment)
        jobs.ensure("create_model", request, taken="already exist")
        return MadeModel(name)
    package = made_package(jobs, name, image, artifact)
    made = package_model_request(name, package, service.role_arn(), {})
    try:
        jobs.ensure("create_model", made, taken="already exist")
    except (ClientError, ServiceError):
        with contextlib.suppress(ClientError, ServiceError):
            jobs.gone("delete_model_package", {"ModelPackageName": name})
        raise
    return MadeModel(name, name)


def unmade_model(jobs: Jobs, made: MadeModel) -> None:
    """Delete what was made."""
    jobs.gone("delete_model", {"ModelName": made.model})
    if made.package:
        jobs.gone("delete_model_package", {"ModelPackageName": made.package})
