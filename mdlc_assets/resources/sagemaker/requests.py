"""The requests of each workflow, as plain dictionaries: the same for AWS and for the local form.

Nothing here talks to anybody. What a request says is decided by what goes in, so that it can be shown whole
(tests/golden) and checked against botocore's service model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_LONGEST_NAME = 63
_LONGEST_MARK = 12
Request = dict[str, Any]


@dataclass(frozen=True)
class Channel:
    """Input of a training job: files below an s3:// address."""

    name: str
    address: str
    content_type: str = "application/x-parquet"


@dataclass(frozen=True)
class Machines:
    """What a job runs on and how long it may."""

    instance_type: str = "ml.m5.xlarge"
    instance_count: int = 1
    volume_gb: int = 30
    max_runtime_seconds: int = 3600
    spot: bool = False
    max_wait_seconds: int | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """A training job. `image` is an address in a registry, or the ARN of a Marketplace algorithm."""

    name: str
    image: str
    role: str
    channels: Sequence[Channel]
    output: str
    hyperparameters: Mapping[str, str]
    machines: Machines = Machines()
    checkpoints: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Names, and the regular expressions that find them in the log."""


@dataclass(frozen=True)
class TransformPlan:
    """A batch transform of all files below `source`, answered file by file below `output`."""

    name: str = ""
    model: str = ""
    source: str = ""
    output: str = ""
    content_type: str = "application/x-parquet"
    accept: str = "application/x-parquet"
    split: bool = False
    """Whether files are cut into requests line by line, or sent whole."""
    machines: Machines = Machines()
    max_payload_mb: int = 50
    concurrent: int = 1
    input_filter: str = ""
    """What of a line the model is sent: `$[1:]` leaves out the first column."""
    output_filter: str = ""
    """Joins each answer to its line and keeps so much of both: `$[0,-1]` is the first column and the answer."""
    tags: Mapping[str, str] = field(default_factory=dict)


def training_request(plan: TrainingPlan) -> Request:
    """`create_training_job`."""
    machines = plan.machines
    image_key = "AlgorithmName" if plan.image.startswith("arn:") else "TrainingImage"
    algorithm: Request = {image_key: plan.image, "TrainingInputMode": "File"}
    if plan.metrics:
        algorithm["MetricDefinitions"] = [{"Name": name, "Regex": text} for name, text in plan.metrics.items()]
    limits = {"MaxRuntimeInSeconds": machines.max_runtime_seconds}
    if machines.spot:
        limits["MaxWaitTimeInSeconds"] = machines.max_wait_seconds or 2 * machines.max_runtime_seconds
    request: Request = {
        "TrainingJobName": plan.name,
        "AlgorithmSpecification": algorithm,
        "RoleArn": plan.role,
        "HyperParameters": dict(plan.hyperparameters),
        "InputDataConfig": [_channel(channel) for channel in plan.channels],
        "OutputDataConfig": {"S3OutputPath": plan.output},
        "ResourceConfig": {
            "InstanceType": machines.instance_type,
            "InstanceCount": machines.instance_count,
            "VolumeSizeInGB": machines.volume_gb,
        },
        "StoppingCondition": limits,
        "EnableManagedSpotTraining": machines.spot,
        "Tags": tags(plan.tags),
    }
    if plan.checkpoints:
        request["CheckpointConfig"] = {"S3Uri": plan.checkpoints}
    if plan.environment:
        request["Environment"] = dict(plan.environment)
    return request


def model_request(
    name: str,
    image: str,
    artifact: str,
    role: str,
    *,
    environment: Mapping[str, str] | None = None,
    tagged: Mapping[str, str] | None = None,
) -> Request:
    """`create_model`."""
    container: Request = {"Image": image, "Mode": "SingleModel", "ModelDataUrl": artifact}
    if environment:
        container["Environment"] = dict(environment)
    return {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": role, "Tags": tags(tagged or {})}


def multi_model_request(
    name: str, image: str, prefix: str, role: str, environment: Mapping[str, str], tagged: Mapping[str, str]
) -> Request:
    """`create_model` of many models: their archives lie below a prefix and are loaded when they are asked for."""
    container: Request = {
        "Image": image,
        "Mode": "MultiModel",
        "ModelDataUrl": f"{prefix.rstrip('/')}/",
        "MultiModelConfig": {"ModelCacheSetting": "Enabled"},
        "Environment": dict(environment),
    }
    return {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": role, "Tags": tags(tagged)}


def transform_request(plan: TransformPlan) -> Request:
    """`create_transform_job`."""
    source = {"S3DataType": "S3Prefix", "S3Uri": plan.source}
    output: Request = {"S3OutputPath": plan.output, "Accept": plan.accept}
    if plan.split:
        output["AssembleWith"] = "Line"
    processing: Request = {}
    if plan.input_filter:
        processing["InputFilter"] = plan.input_filter
    if plan.output_filter:
        processing |= {"JoinSource": "Input", "OutputFilter": plan.output_filter}
    return {
        "TransformJobName": plan.name,
        "ModelName": plan.model,
        "MaxConcurrentTransforms": plan.concurrent,
        "MaxPayloadInMB": plan.max_payload_mb,
        "BatchStrategy": "MultiRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": source},
            "ContentType": plan.content_type,
            "SplitType": "Line" if plan.split else "None",
        },
        "TransformOutput": output,
        "TransformResources": {
            "InstanceType": plan.machines.instance_type,
            "InstanceCount": plan.machines.instance_count,
        },
        **({"DataProcessing": processing} if processing else {}),
        "Tags": tags(plan.tags),
    }


def package_group_request(name: str, description: str, tagged: Mapping[str, str] | None = None) -> Request:
    """`create_model_package_group`."""
    return {
        "ModelPackageGroupName": name,
        "ModelPackageGroupDescription": description[:1024],
        "Tags": tags(tagged or {}),
    }


def package_request(
    group: str,
    image: str,
    artifact: str,
    *,
    description: str,
    metadata: Mapping[str, str],
    metrics_address: str = "",
    commit: str = "",
    project: str = "",
) -> Request:
    """`create_model_package`: a version that waits for its approval."""
    container = {"Image": image, "ModelDataUrl": artifact}
    request: Request = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": description[:1024],
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": ["application/json", "text/csv", "application/x-parquet", "application/x-npy"],
            "SupportedResponseMIMETypes": ["application/json", "text/csv", "application/x-parquet"],
            "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
            "SupportedTransformInstanceTypes": ["ml.m5.xlarge"],
        },
        # No more than 50 properties of 256 characters are taken.
        "CustomerMetadataProperties": {key[:128]: value[:256] for key, value in list(metadata.items())[:50]},
    }
    if metrics_address:
        statistics = {"ContentType": "application/json", "S3Uri": metrics_address}
        request["ModelMetrics"] = {"ModelQuality": {"Statistics": statistics}}
    if commit or project:
        found = {"CommitId": commit, "ProjectId": project}
        request["MetadataProperties"] = {key: value for key, value in found.items() if value}
    return request


def approval_request(arn: str, *, approved: bool, who: str, reason: str) -> Request:
    """`update_model_package`: approve or reject, with who and why."""
    return {
        "ModelPackageArn": arn,
        "ModelApprovalStatus": "Approved" if approved else "Rejected",
        "ApprovalDescription": f"{who}: {reason}"[:1024],
    }


def tags(given: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as AWS takes them, sorted."""
    return [{"Key": key, "Value": value} for key, value in sorted(given.items())]


def job_name(lifecycle: str, what: str, *parts: object) -> str:
    """A job's name: the same for the same parts, so that a run that is repeated finds its job again.

    Underscores become hyphens; the parts go into a mark of twelve digits at the end.
    """
    mark = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:_LONGEST_MARK]
    stem = re.sub(r"[^a-zA-Z0-9]+", "-", f"{lifecycle}-{what}").strip("-")
    return f"{stem[: _LONGEST_NAME - _LONGEST_MARK - 1].rstrip('-')}-{mark}"


def _channel(channel: Channel) -> Request:
    return {
        "ChannelName": channel.name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": channel.address,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
        "ContentType": channel.content_type,
        "InputMode": "File",
    }
