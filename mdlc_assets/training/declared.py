"""What is wrong with a declared model that only its algorithm can see."""

from __future__ import annotations

import difflib

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.declaration.model import Model
from mdlc_assets.training.built_in import BUILT_IN
from mdlc_assets.training.built_in_hyperparameters import hyperparameter_problems
from mdlc_assets.training.equivalents import WITH_EQUIVALENT, equivalent
from mdlc_assets.training.estimators import RecipeError, known_hyperparameters, setting_text


def training_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Hyperparameters that the algorithm does not take, and machines that cannot train it."""
    model = lifecycle.model
    if model.algorithm in BUILT_IN:
        return _built_in_problems(model)
    if model.algorithm == "container" or model.algorithm.startswith("arn:"):
        # Only the image itself knows what it takes.
        return []
    try:
        known = known_hyperparameters(model.algorithm)
    except RecipeError as error:
        return [_problem_of(error, model.algorithm)]
    found = []
    for name, value in model.hyperparameters.items():
        if known is not None and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            found.append(
                Problem(
                    f"model.hyperparameters.{name}",
                    repr(value),
                    f"{model.algorithm} does not take it",
                    f"write {close[0]!r}" if close else f"use one of {', '.join(known)}",
                )
            )
    return found


def _built_in_problems(model: Model) -> list[Problem]:
    given = {name: setting_text(value) for name, value in model.hyperparameters.items()}
    found = hyperparameter_problems(model.algorithm, given)
    if model.train_on == "sagemaker":
        machines = model.sagemaker
        reason = BUILT_IN[model.algorithm].refuse_machine(machines.instance_type, machines.instance_count)
        if reason:
            said = f"{machines.instance_count} of {machines.instance_type}"
            found.append(Problem("model.sagemaker", said, reason, "choose other machines"))
        if BUILT_IN[model.algorithm].shape not in ("supervised", "unsupervised"):
            found.append(_not_from_features(model.algorithm))
    elif model.algorithm not in WITH_EQUIVALENT:
        where = f"write `train_on: sagemaker`, or use one of {', '.join(sorted(WITH_EQUIVALENT))}"
        found.append(Problem("model.algorithm", repr(model.algorithm), "it trains only on SageMaker", where))
    else:
        try:
            equivalent(model.algorithm, model.hyperparameters)
        except RecipeError as error:
            found.append(_problem_of(error, model.algorithm))
    return found


def _not_from_features(name: str) -> Problem:
    shape = BUILT_IN[name].shape
    return Problem(
        "model.algorithm",
        repr(name),
        f"it learns from {shape}, not from a table of features",
        "start its job with mdlc_assets.training.requests, or use an algorithm for tables",
    )


def _problem_of(error: RecipeError, algorithm: str) -> Problem:
    message, _, mend = str(error).partition(" Mend: ")
    field, _, rest = message.partition(": ")
    field = field if field.startswith("model.") else f"model.{field}"
    return Problem(field, repr(algorithm), rest.rstrip("."), mend.rstrip("."))
