"""What is wrong with a declared model that only its algorithm can see."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.declaration.model import Model
from mdlc_assets.sourcing.cells import TYPES
from mdlc_assets.training.built_in import BUILT_IN
from mdlc_assets.training.built_in_hyperparameters import hyperparameter_problems
from mdlc_assets.training.equivalents import WITH_EQUIVALENT, equivalent
from mdlc_assets.training.estimators import RecipeError, known_hyperparameters, setting_text, takes_directions

_FROM_TABLES = ("supervised", "unsupervised")


def training_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Hyperparameters that the algorithm does not take, machines that cannot train it, features that are not declared,
    directions it cannot keep; slices and costs that cannot be computed."""
    return [
        *_algorithm_problems(lifecycle.model),
        *_feature_problems(lifecycle),
        *_expression_problems(lifecycle),
    ]


def _algorithm_problems(model: Model) -> list[Problem]:
    if model.algorithm in BUILT_IN:
        return _built_in_problems(model)
    if model.algorithm == "container" or model.algorithm.startswith("arn:"):
        # Only the image itself knows what it takes.
        return []
    try:
        known = known_hyperparameters(model.algorithm)
    except RecipeError as error:
        return [_problem_of(error, model.algorithm)]
    if known is None:
        return []
    named = {f"model.hyperparameters.{name}": (name, repr(value)) for name, value in model.hyperparameters.items()}
    if model.search:
        space = model.search.space.items()
        named |= {f"model.search.space.{name}": (name, allowed.spelled()) for name, allowed in space}
    return [
        _unknown(field, value, f"{model.algorithm} does not take it", name, known)
        for field, (name, value) in named.items()
        if name not in known
    ]


def _feature_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    model, declared = lifecycle.model, lifecycle.features.names()
    found: list[Problem] = []
    for i, name in enumerate(model.features):
        if name not in declared:
            found.append(_unknown(f"model.features.{i}", repr(name), "no feature is called so", name, declared))
        elif name in model.features[:i]:
            found.append(Problem(f"model.features.{i}", repr(name), "it is named twice", "name it once"))
    learnt = model.features or declared
    for name, direction in model.monotone.items():
        field = f"model.monotone.{name}"
        if name not in learnt:
            found.append(_unknown(field, repr(direction), "the model learns from no such feature", name, learnt))
        elif not takes_directions(model.algorithm):
            why = f"{model.algorithm} cannot be held to a direction"
            found.append(Problem(field, repr(direction), why, "leave `monotone` out, or take a model of trees"))
    return found


def _unknown(field: str, value: str, why: str, name: str, known: list[str]) -> Problem:
    close = difflib.get_close_matches(name, known, n=1)
    return Problem(field, value, why, f"write {close[0]!r}" if close else f"use one of {', '.join(known)}")


def _built_in_problems(model: Model) -> list[Problem]:
    given = {name: setting_text(value) for name, value in model.hyperparameters.items()}
    found = hyperparameter_problems(model.algorithm, given)
    if model.search:
        why = f"the values of {model.algorithm}, one of SageMaker's own, cannot be searched for"
        mend = "write them as hyperparameters, or search with an algorithm of ours, such as xgboost"
        found.append(Problem("model.search", f"{len(model.search.space)} ranges", why, mend))
    if model.train_on == "sagemaker" and model.calibrate:
        why = f"only the image of {model.algorithm} reads the model: its scores cannot be calibrated"
        mend = "leave `calibrate` out, or use an algorithm of ours, such as xgboost"
        found.append(Problem("model.calibrate.days", str(model.calibrate.days), why, mend))
    if model.train_on == "sagemaker":
        machines = model.sagemaker
        reason = BUILT_IN[model.algorithm].refuse_machine(machines.instance_type, machines.instance_count)
        if reason:
            said = f"{machines.instance_count} of {machines.instance_type}"
            found.append(Problem("model.sagemaker", said, reason, "choose other machines"))
        if BUILT_IN[model.algorithm].shape not in _FROM_TABLES:
            found.append(_not_from_features(model.algorithm))
    elif model.algorithm not in WITH_EQUIVALENT:
        where = f"use one of {', '.join(sorted(WITH_EQUIVALENT))}"
        if BUILT_IN[model.algorithm].shape in _FROM_TABLES:
            where = f"write `train_on: sagemaker`, or {where}"
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
        "make its job by hand (docs/sagemaker.md), or use an algorithm for tables",
    )


def _problem_of(error: RecipeError, algorithm: str) -> Problem:
    message, _, mend = str(error).partition(" Mend: ")
    field, _, rest = message.partition(": ")
    field = field if field.startswith("model.") else f"model.{field}"
    return Problem(field, repr(algorithm), rest.rstrip("."), mend.rstrip("."))


def _expression_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    declared, dataset = lifecycle.model.evaluation, lifecycle.dataset
    # What a training set holds; the label is not among them, since a slice by it would have one class.
    kept = list(dict.fromkeys([dataset.id, dataset.time, lifecycle.model.entity]))
    rows = pl.DataFrame(
        schema={
            **{name: TYPES[dataset.columns[name].type] for name in kept},
            **dict.fromkeys(lifecycle.features.names(), pl.Float64),
        }
    )
    wanted = [(f"model.evaluation.slices.{name}", text, True) for name, text in declared.slices.items()]
    if declared.costs:
        given = {"miss": declared.costs.miss, "false_alarm": declared.costs.false_alarm}
        wanted += [
            (f"model.evaluation.costs.{name}", text, False) for name, text in given.items() if isinstance(text, str)
        ]
    for field, text, condition in wanted:
        try:
            dtype = rows.lazy().select(pl.sql_expr(text).alias("found")).collect_schema()["found"]
        except pl.exceptions.PolarsError as error:
            reason = str(error).strip().splitlines()[0]
            mend = f"use the columns {', '.join(rows.columns)}"
            yield Problem(field, repr(text), f"the expression cannot be computed ({reason})", mend)
            continue
        if condition and dtype != pl.Boolean:
            yield Problem(
                field, repr(text), f"it gives {dtype}, not true or false", "write a condition, such as amount > 100"
            )
        if not condition and not dtype.is_numeric():
            yield Problem(field, repr(text), f"it gives {dtype}, not a number", "write a number or a numeric column")
