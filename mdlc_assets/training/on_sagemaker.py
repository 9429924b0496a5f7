"""Fits a candidate as training jobs of SageMaker: writes the channels, runs the jobs, reads the models back.

The platform's own image trains both models of a candidate in one job (channels `train` and `refit`). AWS's
built-in algorithms know one training channel, so each model is a job.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Model
from mdlc_assets.resources.sagemaker.archives import ArchiveError, unpacked
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import Jobs
from mdlc_assets.resources.sagemaker.requests import (
    Channel,
    Machines,
    TrainingPlan,
    TransformPlan,
    job_name,
    model_request,
    training_request,
    transform_request,
)
from mdlc_assets.training.algorithms import FittedModel, ModelFileError, load_model
from mdlc_assets.training.built_in import BUILT_IN, BuiltIn
from mdlc_assets.training.candidate import Fitted
from mdlc_assets.training.estimators import setting_text
from mdlc_assets.training.windows import Protocol

_PARQUET = "application/x-parquet"


@dataclass(frozen=True)
class FittedThere:
    """A candidate, and the jobs that made it."""

    fitted: Fitted
    jobs: tuple[str, ...]
    """Their ARNs."""
    billed_seconds: int


@dataclass(frozen=True)
class Staged:
    """A channel that was written, its rows' digest included."""

    channel: Channel
    file: str
    digest: str


def fit_candidate_there(
    service: SageMaker, lifecycle: LifecycleDeclaration, rows: pl.DataFrame, plan: Protocol, as_of: date, run_id: str
) -> FittedThere:
    """As `fit_candidate`, on SageMaker. Its input is deleted afterwards; the lake has it.

    A run that is repeated finds its jobs again. Raises `JobFailedError` with the reason, and stops what it
    started when it is stopped itself.
    """
    parts = {"train": rows.filter(pl.col("part") == "train")}
    if plan.refit != plan.train:
        day = pl.col(lifecycle.dataset.time).dt.date()
        parts["refit"] = rows.filter(day.is_between(plan.refit.first, plan.refit.last))
    model, storage = lifecycle.model, service.storage(f"{lifecycle.name}/jobs")
    built_in = BUILT_IN.get(model.algorithm)
    staged = [_stage(service, lifecycle, built_in, part, frame) for part, frame in parts.items()]
    # AWS's images know a channel `train` only.
    groups = [[one] for one in staged] if built_in else [staged]
    trained: dict[str, FittedModel] = {}
    arns, billed = [], 0
    try:
        for group in groups:
            described = Jobs(service.client()).train(_request(service, lifecycle, built_in, group, as_of, run_id))
            files = _files(service, described["ModelArtifacts"]["S3ModelArtifacts"])
            trained |= _models(files, [one.channel.name for one in group], lifecycle.features.names(), model)
            arns.append(described["TrainingJobArn"])
            billed += described.get("BillableTimeInSeconds", 0)
    finally:
        for one in staged:
            storage.delete(one.file)
    fitted = Fitted(trained["train"], trained.get("refit", trained["train"]))
    return FittedThere(fitted, tuple(arns), billed)


def score_there(
    service: SageMaker,
    model: Model,
    artifact: str,
    rows: pl.DataFrame,
    features: Sequence[str],
    name: str,
) -> np.ndarray:
    """The scores of rows by a batch transform of a model at an s3:// address, for images that only AWS runs.

    The model, the input and the answers are deleted afterwards.
    """
    storage, client = service.storage(f"transforms/{name}"), service.client()
    jobs = Jobs(client)
    built_in = BUILT_IN.get(model.algorithm)
    bare = built_in is not None or model.algorithm.startswith("arn:")
    frame = rows.select(features)
    storage.write("input/rows", _csv(frame) if bare else _parquet(frame))
    plan = TransformPlan(
        job_name(name, "transform", artifact, hashlib.sha256(storage.read("input/rows")).hexdigest()),
        name,
        storage.location("input"),
        storage.location("output"),
        content_type="text/csv" if bare else _PARQUET,
        accept="application/jsonlines" if bare else _PARQUET,
        split=bare,
        machines=_machines(model),
    )
    jobs.ensure(
        "create_model",
        model_request(name, image_of(service, model, built_in), artifact, service.role_arn()),
        taken="already existing",
    )
    try:
        jobs.transform(transform_request(plan))
        answer = storage.read("output/rows.out")
    finally:
        client.delete_model(ModelName=name)
        storage.delete("input/rows")
    storage.delete("output/rows.out")
    if not bare:
        return pl.read_parquet(answer)["score"].to_numpy()
    return np.array([_score_in(json.loads(line)) for line in answer.splitlines() if line.strip()], dtype=np.float64)


def image_of(service: SageMaker, model: Model, built_in: BuiltIn | None) -> str:
    """The image that trains a model, or the ARN of a Marketplace algorithm."""
    if built_in is not None:
        return built_in.image(model.sagemaker.image_region or service.region_name())
    if model.algorithm.startswith("arn:"):
        return model.algorithm
    return model.sagemaker.image or service.own_image()


def job_hyperparameters(model: Model, label: str, features: int) -> dict[str, str]:
    """The hyperparameters of a training job: all of them strings."""
    given = {name: setting_text(value) for name, value in model.hyperparameters.items()}
    built_in = BUILT_IN.get(model.algorithm)
    if built_in is not None:
        return given | ({"feature_dim": str(features)} if built_in.dimension else {})
    if model.algorithm.startswith("arn:") or model.sagemaker.image:
        return given
    return given | {
        "mdlc_algorithm": model.algorithm,
        "mdlc_label": label,
        "mdlc_seed": str(model.seed),
        "mdlc_standardise": json.dumps(model.standardise),
    }


def _request(
    service: SageMaker,
    lifecycle: LifecycleDeclaration,
    built_in: BuiltIn | None,
    staged: list[Staged],
    as_of: date,
    run_id: str,
) -> dict[str, Any]:
    model, storage = lifecycle.model, service.storage(f"{lifecycle.name}/jobs")
    name = job_name(
        lifecycle.name, as_of.isoformat(), run_id, lifecycle.fingerprint("model"), *(one.digest for one in staged)
    )
    hyperparameters = job_hyperparameters(model, lifecycle.labels.column, len(lifecycle.features.names()))
    # The same for each run, so that training goes on where a spot machine was taken away.
    checkpoints = storage.location(f"checkpoints/{lifecycle.fingerprint('model')}") if model.sagemaker.spot else ""
    channels = [one.channel for one in staged]
    if built_in is not None:
        channels = [dataclasses.replace(channels[0], name="train")]
    return training_request(
        TrainingPlan(
            name,
            image_of(service, model, built_in),
            service.role_arn(),
            channels,
            storage.location("models"),
            hyperparameters,
            _machines(model),
            checkpoints=checkpoints,
            tags={"mdlc:lifecycle": lifecycle.name, "mdlc:as-of": as_of.isoformat(), "mdlc:run": run_id},
        )
    )


def _stage(
    service: SageMaker, lifecycle: LifecycleDeclaration, built_in: BuiltIn | None, part: str, rows: pl.DataFrame
) -> Staged:
    """Write the rows of a channel as its algorithm wants them: features in order, the label where it looks for it."""
    model, label = lifecycle.model, lifecycle.labels.column
    features = lifecycle.features.names()
    bare = built_in is not None or model.algorithm.startswith("arn:")
    if bare:
        labelled = built_in is None or built_in.shape == "supervised"
        content = _csv(rows.select([label, *features] if labelled else features))
        kind = built_in.content_type("text/csv") if built_in else "text/csv"
    else:
        content, kind = _parquet(rows.select([*features, label])), _PARQUET
    digest = hashlib.sha256(content).hexdigest()
    folder = f"input/{part}-{digest[:16]}"
    file = f"{folder}/rows.{'csv' if bare else 'parquet'}"
    storage = service.storage(f"{lifecycle.name}/jobs")
    storage.write(file, content)
    return Staged(Channel(part, storage.location(folder), kind), file, digest)


def _files(service: SageMaker, address: str) -> dict[str, bytes]:
    try:
        return unpacked(service.read(address))
    except (ArchiveError, FileNotFoundError) as error:
        raise ModelFileError(f"the job's model at {address} cannot be read: {error}") from None


def _models(files: dict[str, bytes], parts: list[str], features: list[str], model: Model) -> dict[str, FittedModel]:
    """The models in an archive by part: the last part's at its root, an earlier one's in `judged`."""
    if "model.json" not in files:
        raise ModelFileError(
            f"{model.algorithm} wrote {', '.join(sorted(files)[:5]) or 'nothing'}, which only its own image reads. "
            "Mend: score it by a transform (mdlc_assets.training.on_sagemaker.score_there), or write model.json."
        )
    found = {}
    for part in parts:
        prefix = "judged/" if part == "train" and len(parts) > 1 else ""
        mine = {
            name.removeprefix(prefix): content
            for name, content in files.items()
            if name.startswith(prefix) and "/" not in name.removeprefix(prefix)
        }
        read = load_model(mine)
        if len(read.features) != len(features):
            raise ModelFileError(f"the job's model has {len(read.features)} features, the declaration {len(features)}")
        # A table without names gave the model numbers for names.
        found[part] = dataclasses.replace(read, features=features)
    return found


def _machines(model: Model) -> Machines:
    asked = model.sagemaker
    return Machines(
        asked.instance_type,
        asked.instance_count,
        asked.volume_gb,
        int(asked.max_runtime.total_seconds()),
        asked.spot,
        int(asked.wait.total_seconds()) if asked.spot else None,
    )


def _parquet(rows: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    rows.write_parquet(written)
    return written.getvalue()


def _csv(rows: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    rows.write_csv(written, include_header=False)
    return written.getvalue()


def _score_in(answer: Any) -> float:
    """The score in one line of a built-in algorithm's answer."""
    if isinstance(answer, int | float):
        return float(answer)
    for key in ("score", "distance_to_cluster", "predicted_label"):
        if key in answer:
            return float(answer[key])
    raise ModelFileError(f"the image's answer holds no score, only {', '.join(answer)}")
