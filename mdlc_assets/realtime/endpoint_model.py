"""The endpoint of a lifecycle as what the decision service scores with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.deployment.approved import approved_versions
from mdlc_assets.deployment.asking import address_of
from mdlc_assets.realtime.serving import RefusedError, ServedModel
from mdlc_assets.resources.registry import Registry, Version
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_scores import EndpointScores
from mdlc_assets.resources.sagemaker.faults import AnswerError
from mdlc_assets.training.foreign import ForeignModel, load_any_model


def endpoint_model(
    sagemaker: SageMaker,
) -> Callable[[Registry, LifecycleDeclaration, Version], ServedModel]:
    """A loader for `Changeover`: the champion as the endpoint serves it.

    While the endpoint changes over, its answers are of the version before; they name it, and it must have been
    approved like any other. Raises `RefusedError` for a model that does not say which version answers.
    """

    def load(registry: Registry, lifecycle: LifecycleDeclaration, version: Version) -> ServedModel:
        name, names = lifecycle.name, lifecycle.features.names()
        model = load_any_model(registry.files(version))
        if isinstance(model, ForeignModel):
            raise RefusedError(f"version {version.version} runs in an image that names no version in its answers")
        if strange := [feature for feature in model.features if feature not in names]:
            raise RefusedError(f"version {version.version} needs {strange[0]}, which is not declared any more")
        address = address_of(sagemaker, lifecycle)
        seconds = lifecycle.deployment.service.fallback.model_ms / 1e3
        scores = EndpointScores(sagemaker, address.endpoint, seconds, address.target)
        approved = approved_versions(registry, name)

        def ask(rows: np.ndarray) -> tuple[np.ndarray, int]:
            found, answered = scores.ask(model.features, rows)
            # One that was approved since then comes with the next look at the registry.
            if answered not in approved:
                raise AnswerError(f"version {answered} answered, which nobody approved")
            return found, answered

        columns = np.array([names.index(feature) for feature in model.features])
        return ServedModel(version.version, model.features, columns, lambda rows: ask(rows)[0], None, ask)

    return load
