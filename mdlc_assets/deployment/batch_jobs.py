"""A run's days scored by one transform job: machines are there while it runs, and every day is read back whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.deployment.predictions import predictions_of
from mdlc_assets.resources.registry import Version
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import Pace
from mdlc_assets.resources.sagemaker.requests import Machines, TransformPlan
from mdlc_assets.resources.sagemaker.transforms import ServedBy, transformed
from mdlc_assets.training.algorithms import FittedModel
from mdlc_assets.training.foreign import ForeignModel
from mdlc_assets.training.wire import BARE_CSV, wire_of


def served_by(service: SageMaker, model: FittedModel, files: Mapping[str, bytes], version: int) -> ServedBy:
    """The image that serves a registered model, with the archive it reads."""
    environment = {"MDLC_MODEL_VERSION": str(version)}
    if isinstance(model, ForeignModel):
        return ServedBy(model.image, model.estimator, environment)
    return ServedBy(service.own_image(), packed(dict(files)), {**environment, **BARE_CSV})


def score_days_there(
    service: SageMaker,
    lifecycle: LifecycleDeclaration,
    version: Version,
    model: FittedModel,
    files: Mapping[str, bytes],
    days: Sequence[date],
    read: Callable[[date], pl.DataFrame],
    write: Callable[[date, pl.DataFrame], object],
    kept: Sequence[str],
    tell: Callable[[str], None],
) -> Iterator[tuple[date, pl.DataFrame]]:
    """Writes each day and gives it with its predictions, as `score_days` does; nothing before the job has completed.

    Raises `JobFailedError` with the reason, `ModelFileError` for an answer that does not fit.
    """
    declared, wire = lifecycle.deployment.batch, wire_of(model)
    plan = wire.transform(
        TransformPlan(
            machines=Machines(declared.instance_type, declared.instance_count),
            # A file that cannot be cut is sent whole.
            max_payload_mb=declared.payload_mb if wire.lines else 100 // declared.concurrent,
            concurrent=declared.concurrent,
            tags={"mdlc:lifecycle": lifecycle.name, "mdlc:version": str(version.version)},
        )
    )
    beside: dict[date, pl.DataFrame] = {}

    def bodies() -> Iterator[tuple[str, bytes]]:
        for day in days:
            rows = read(day)
            beside[day] = rows.select(kept)
            if rows.height:
                yield day.isoformat(), wire.body(rows, model.features)

    by = served_by(service, model, files, version.version)
    patience = declared.max_runtime.total_seconds()
    pace = Pace(longest_seconds=1.0 if service.form == "local" else 30.0)
    with transformed(service, lifecycle.name, by, plan, bodies(), patience_seconds=patience, pace=pace) as done:
        tell(f"scored by {done.arn}" if done.arn else "there was nothing to score, so no job was started")
        for day in days:
            rows = beside[day]
            answer = done.read(day.isoformat()) if rows.height else b""
            scores = wire.scores(answer, rows.height, by.image) if rows.height else np.empty(0)
            scored = predictions_of(rows, scores, version.version)
            write(day, scored)
            yield day, scored
