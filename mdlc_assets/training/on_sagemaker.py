"""Fits a candidate as training jobs of SageMaker: writes the channels, runs the jobs, reads the models back.

The platform's own image trains both models of a candidate in one job (channels `train` and `refit`). Other
images know one training channel, so each model is a job.
"""

from __future__ import annotations

import dataclasses
import hashlib
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
    training_request,
)
from mdlc_assets.resources.sagemaker.transforms import ServedBy, transformed
from mdlc_assets.training.algorithms import FittedModel, ModelFileError, load_model
from mdlc_assets.training.built_in import BUILT_IN, BuiltIn
from mdlc_assets.training.candidate import Fitted, calibrated, model_features, without_held_out
from mdlc_assets.training.estimators import directions, setting_text
from mdlc_assets.training.foreign import ForeignModel, Scorer
from mdlc_assets.training.recordio import CONTENT_TYPE as RECORDS
from mdlc_assets.training.recordio import recordio
from mdlc_assets.training.search import search, with_hyperparameters
from mdlc_assets.training.sets import refuse_untrainable
from mdlc_assets.training.windows import Protocol
from mdlc_assets.training.wire import csv_bytes, is_bare, parquet_bytes, reads_records_only, wire_of

_PARQUET = "application/x-parquet"


@dataclass(frozen=True)
class FittedThere:
    """A candidate, and the jobs that made it."""

    fitted: Fitted
    jobs: tuple[str, ...]
    """Their ARNs, without those of a search's trials."""
    billed_seconds: int
    """Of all jobs, trials included."""


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

    A run that is repeated finds its jobs again. Each trial of a search is a job of its own; calibration is arithmetic
    on what comes back. Raises `TrainingDataError` before a job is paid for, `JobFailedError` with the reason, and stops
    what it started when it is stopped itself.
    """
    spans = {"train": (rows.filter(pl.col("part") == "train"), plan.train)}
    if plan.refit != plan.train:
        day = pl.col(lifecycle.dataset.time).dt.date()
        spans["refit"] = (rows.filter(day.is_between(plan.refit.first, plan.refit.last)), plan.refit)
    parts, held = {}, {}
    for part, (frame, span) in spans.items():
        refuse_untrainable(lifecycle, frame, span)
        parts[part], held[part] = without_held_out(lifecycle, frame, span)
    with _Trainer(service, lifecycle, as_of, run_id) as trainer:
        found = search(lifecycle, spans["train"][0], model_features(lifecycle), trainer.trial)
        trainer.jobs.clear()
        model = with_hyperparameters(lifecycle.model, found.best) if found else lifecycle.model
        trained = {part: calibrated(lifecycle, one, held[part]) for part, one in trainer.train(model, parts).items()}
        fitted = Fitted(trained["train"], trained.get("refit", trained["train"]), found)
        return FittedThere(fitted, tuple(trainer.jobs), trainer.billed_seconds)


class _Trainer:
    """Trains as jobs; what it staged is deleted at its end."""

    def __init__(self, service: SageMaker, lifecycle: LifecycleDeclaration, as_of: date, run_id: str) -> None:
        self.service, self.lifecycle, self.as_of, self.run_id = service, lifecycle, as_of, run_id
        self.jobs: list[str] = []
        self.billed_seconds = 0
        self._files: set[str] = set()

    def __enter__(self) -> _Trainer:
        return self

    def __exit__(self, *error: object) -> None:
        storage = self.service.storage(f"{self.lifecycle.name}/jobs")
        for file in self._files:
            storage.delete(file)

    def trial(self, model: Model, rows: pl.DataFrame) -> FittedModel:
        """One set of hyperparameters, tried by a job."""
        return self.train(model, {"train": rows})["train"]

    def train(self, model: Model, parts: dict[str, pl.DataFrame]) -> dict[str, FittedModel]:
        """A model for each part: of one job for all, or of one for each where the image knows one channel only."""
        lifecycle = self.lifecycle.model_copy(update={"model": model})
        built_in = BUILT_IN.get(model.algorithm)
        staged = []
        for part, frame in parts.items():
            staged.append(_stage(self.service, lifecycle, built_in, part, frame))
            self._files.add(staged[-1].file)
        trained: dict[str, FittedModel] = {}
        for group in [[one] for one in staged] if _other_image(model) else [staged]:
            request = _request(self.service, lifecycle, built_in, group, self.as_of, self.run_id)
            described = Jobs(self.service.client()).train(request)
            archive = _archive(self.service, described["ModelArtifacts"]["S3ModelArtifacts"])
            image = image_of(self.service, model, built_in)
            names = [one.channel.name for one in group]
            trained |= _models(archive, names, model_features(lifecycle), model, image)
            self.jobs.append(described["TrainingJobArn"])
            self.billed_seconds += described.get("BillableTimeInSeconds", 0)
        return trained


def scorer_there(service: SageMaker, lifecycle: LifecycleDeclaration) -> Scorer:
    """Who scores the foreign models of a lifecycle: a batch transform for each table of rows."""

    def score(model: ForeignModel, rows: pl.DataFrame) -> np.ndarray:
        mark = hashlib.sha256(model.digest().encode()).hexdigest()[:12]
        return score_there(service, lifecycle.model, model, rows, f"{lifecycle.name}-{mark}".replace("_", "-"))

    return score


def score_there(service: SageMaker, model: Model, kept: ForeignModel, rows: pl.DataFrame, name: str) -> np.ndarray:
    """The scores of rows by a batch transform. The model, the input and the answers are deleted afterwards."""
    wire = wire_of(kept)
    how = wire.transform(TransformPlan(machines=machines_of(model)))
    files = [("rows", wire.body(rows, kept.features))]
    with transformed(service, name, ServedBy(kept.image, kept.estimator), how, files) as done:
        return wire.scores(done.read("rows"), rows.height, kept.image)


def image_of(service: SageMaker, model: Model, built_in: BuiltIn | None) -> str:
    """The image that trains a model, or the ARN of a Marketplace algorithm."""
    if built_in is not None:
        return built_in.image(model.sagemaker.image_region or service.region_name())
    if model.algorithm.startswith("arn:"):
        return model.algorithm
    return model.sagemaker.image or service.own_image()


def job_hyperparameters(model: Model, label: str, features: Sequence[str]) -> dict[str, str]:
    """The hyperparameters of a training job, directions included: all of them strings."""
    named = {**model.hyperparameters, **directions(model, features)}
    given = {name: setting_text(value) for name, value in named.items()}
    built_in = BUILT_IN.get(model.algorithm)
    if built_in is not None:
        return given | ({"feature_dim": str(len(features))} if built_in.dimension else {})
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
    hyperparameters = job_hyperparameters(model, lifecycle.labels.column, model_features(lifecycle))
    # The same for each run, so that training goes on where a spot machine was taken away.
    checkpoints = storage.location(f"checkpoints/{lifecycle.fingerprint('model')}") if model.sagemaker.spot else ""
    channels = [one.channel for one in staged]
    if _other_image(model):
        channels = [dataclasses.replace(channels[0], name="train")]
    return training_request(
        TrainingPlan(
            name,
            image_of(service, model, built_in),
            service.role_arn(),
            channels,
            storage.location("models"),
            hyperparameters,
            machines_of(model),
            checkpoints=checkpoints,
            tags={"mdlc:lifecycle": lifecycle.name, "mdlc:as-of": as_of.isoformat(), "mdlc:run": run_id},
        )
    )


def _stage(
    service: SageMaker, lifecycle: LifecycleDeclaration, built_in: BuiltIn | None, part: str, rows: pl.DataFrame
) -> Staged:
    """Write the rows of a channel as its algorithm wants them: features in order, the label where it looks for it."""
    model, label = lifecycle.model, lifecycle.labels.column
    features = model_features(lifecycle)
    if reads_records_only(model.algorithm):
        content, kind, ending = recordio(rows.select(features).to_numpy(), rows[label].to_numpy()), RECORDS, "recordio"
    elif is_bare(model.algorithm):
        labelled = built_in is None or built_in.shape == "supervised"
        content = csv_bytes(rows.select([label, *features] if labelled else features))
        kind, ending = built_in.content_type("text/csv") if built_in else "text/csv", "csv"
    else:
        content, kind, ending = parquet_bytes(rows.select([*features, label])), _PARQUET, "parquet"
    digest = hashlib.sha256(content).hexdigest()
    folder = f"input/{part}-{digest[:16]}"
    file = f"{folder}/rows.{ending}"
    storage = service.storage(f"{lifecycle.name}/jobs")
    storage.write(file, content)
    return Staged(Channel(part, storage.location(folder), kind), file, digest)


def _archive(service: SageMaker, address: str) -> bytes:
    try:
        return service.read(address)
    except FileNotFoundError:
        raise ModelFileError(f"the job wrote no model to {address}. Mend: see its log.") from None


def _models(archive: bytes, parts: list[str], features: list[str], model: Model, image: str) -> dict[str, FittedModel]:
    """The models in an archive by part: the last part's at its root, an earlier one's in `judged`."""
    try:
        files = unpacked(archive)
    except ArchiveError as error:
        raise ModelFileError(str(error)) from None
    if "model.json" not in files:
        return {part: ForeignModel(model.algorithm, features, archive, image=image) for part in parts}
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


def machines_of(model: Model) -> Machines:
    """The declared machines, as a request asks for them."""
    asked = model.sagemaker
    return Machines(
        asked.instance_type,
        asked.instance_count,
        asked.volume_gb,
        int(asked.max_runtime.total_seconds()),
        asked.spot,
        int(asked.wait.total_seconds()) if asked.spot else None,
    )


def _other_image(model: Model) -> bool:
    """Whether another image than the platform's own trains it, which knows a channel `train` only."""
    return is_bare(model.algorithm) or bool(model.sagemaker.image)
