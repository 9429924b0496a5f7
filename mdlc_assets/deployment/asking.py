"""Asks the endpoint of a lifecycle, whatever stands behind it: our server, a shared one, or a foreign image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import AnswerError
from mdlc_assets.resources.sagemaker.multi_model import targets, version_of
from mdlc_assets.resources.sagemaker.rollout import ask_endpoint, ask_endpoint_raw, served_version
from mdlc_assets.training.algorithms import FeatureError, FittedModel, ModelFileError
from mdlc_assets.training.foreign import ForeignModel
from mdlc_assets.training.wire import wire_of


@dataclass(frozen=True)
class Address:
    """The endpoint of a lifecycle, the model on it where it has many, and the version that answers."""

    endpoint: str
    target: str
    version: int | None


def address_of(sagemaker: SageMaker, lifecycle: LifecycleDeclaration) -> Address:
    """Where a lifecycle's model is asked; without a version where nothing serves."""
    declared = lifecycle.deployment.real_time
    if declared and declared.multi_model:
        endpoint = declared.multi_model.endpoint
        target = targets(sagemaker, endpoint).get(lifecycle.name, "")
        return Address(endpoint, target, version_of(target))
    return Address(lifecycle.name, "", served_version(sagemaker, lifecycle.name))


def probe(sagemaker: SageMaker, endpoint: str, features: list[str], target: str) -> None:
    """A row of zeros gets one score in 0 to 1, or `AnswerError`."""
    body = {"columns": features, "data": [[0.0] * len(features)]}
    scores = ask_endpoint(sagemaker, endpoint, body, target)["scores"]
    if len(scores) != 1 or not 0 <= scores[0] <= 1:
        raise AnswerError("a probe row did not get one score in 0 to 1")


def endpoint_scores(
    sagemaker: SageMaker, address: Address, model: FittedModel, rows: pl.DataFrame
) -> tuple[np.ndarray, int | None]:
    """The endpoint's scores of rows, and the version that it says gave them. Raises `ServiceError`."""
    if not isinstance(model, ForeignModel):
        body = {"columns": model.features, "data": [list(row) for row in rows.select(model.features).rows()]}
        content = ask_endpoint(sagemaker, address.endpoint, body, address.target)
        return np.array(content["scores"]), content["model_version"]
    wire = wire_of(model)
    try:
        sent = wire.body(rows, model.features)
        answer = ask_endpoint_raw(sagemaker, address.endpoint, sent, wire.content_type, wire.accept)
        return wire.scores(answer, rows.height, model.image), address.version
    except (FeatureError, ModelFileError) as error:
        raise AnswerError(str(error)) from None
