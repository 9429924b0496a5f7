"""ModelLifecycle, the template: a declaration in, the definitions of all eight stages out."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from mdlc_assets import workflows
from mdlc_assets.declaration import DeclarationError, LifecycleDeclaration, Problem, read_declaration
from mdlc_assets.deployment.assets import deployment_definitions
from mdlc_assets.features.assets import features_definitions
from mdlc_assets.features.declared import features_problems
from mdlc_assets.home import Home
from mdlc_assets.integration.assets import integration_definitions
from mdlc_assets.integration.declared import integration_problems
from mdlc_assets.monitoring.assets import monitoring_definitions
from mdlc_assets.monitoring.declared import monitoring_problems
from mdlc_assets.quality.assets import quality_definitions
from mdlc_assets.quality.declared import quality_problems
from mdlc_assets.realtime.assets import stream_definitions
from mdlc_assets.sourcing.assets import sourcing_definitions
from mdlc_assets.starter import Starter
from mdlc_assets.training.assets import training_definitions
from mdlc_assets.training.declared import training_problems
from mdlc_assets.training.provenance import source_digest

# What a lifecycle that uses another's data leaves to that one.
_DATA_STAGES = (sourcing_definitions, quality_definitions, features_definitions, stream_definitions)
_MODEL_STAGES = (training_definitions, deployment_definitions, monitoring_definitions, integration_definitions)
# The libraries whose word is taken when a declaration is looked at.
_JUDGES = ("polars", "scikit-learn", "xgboost", "xgboost-cpu", "common-expression-language")
_DATA_CHECKS = (quality_problems, features_problems)
_MODEL_CHECKS = (training_problems, monitoring_problems, integration_problems)


@dg.scaffold_with(Starter)
class ModelLifecycle(dg.Component):
    """A model from raw files to decisions, as a Dagster component.

    In YAML: `type: mdlc_assets.ModelLifecycle`, the declaration under `attributes`.
    In Python: `ModelLifecycle(read_declaration(path)).definitions()`.
    """

    def __init__(self, declaration: LifecycleDeclaration, source: str | Path = "declaration") -> None:
        if not found_good(declaration):
            problems = find_problems(declaration)
            if problems:
                raise DeclarationError(source, problems)
            remember_good(declaration)
        self.declaration = declaration

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return LifecycleDeclaration

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> ModelLifecycle:
        return cls(attributes, context.path)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return self.definitions()

    def definitions(self) -> dg.Definitions:
        """Assets, checks, jobs, schedules and sensors of the lifecycle; resources are bound elsewhere."""
        data = () if self.declaration.uses else _DATA_STAGES
        stages = [stage(self.declaration) for stage in (*data, *_MODEL_STAGES)]
        return dg.Definitions.merge(*stages, workflows.workflow_definitions(self.declaration))


def found_good(declaration: LifecycleDeclaration) -> bool:
    """Whether this very declaration passed before, with the same code and libraries."""
    record = _record_of(declaration)
    return record is not None and record.exists()


def remember_good(declaration: LifecycleDeclaration) -> None:
    """Saves the next process the deeper checks, which take seconds: they import what the models are made of."""
    record = _record_of(declaration)
    if record is not None:
        # Without a home, or where it cannot be written, it costs time only.
        with contextlib.suppress(OSError):
            record.parent.mkdir(exist_ok=True)
            record.touch()


def _record_of(declaration: LifecycleDeclaration) -> Path | None:
    """Named by what the verdict depends on; None for a team's own function, whose code may change."""
    if ":" in declaration.model.algorithm and not declaration.model.algorithm.startswith("arn:"):
        return None
    depends_on = f"{declaration.model_dump_json()} {_code_and_libraries()}"
    return Home().root / "checked" / hashlib.sha256(depends_on.encode()).hexdigest()[:24]


@functools.cache
def _code_and_libraries() -> str:
    versions = [source_digest()]
    for name in _JUDGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return " ".join(versions)


def find_problems(declaration: LifecycleDeclaration) -> list[Problem]:
    """What only the stages can see: expressions that do not parse, hyperparameters nobody takes."""
    data = () if declaration.uses else _DATA_CHECKS
    return [problem for check in (*data, *_MODEL_CHECKS) for problem in check(declaration)]


def load_lifecycle(path: Path | str) -> ModelLifecycle:
    """The lifecycle declared in a file. Raises `DeclarationError`."""
    return ModelLifecycle(read_declaration(path), path)
