"""What is wrong with a declared model that only its algorithm can see."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.sourcing.cells import TYPES


def training_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Hyperparameters that the algorithm does not take, features that are not declared, directions it cannot keep;
    slices and costs that cannot be computed."""
    return [*_model_problems(lifecycle), *_expression_problems(lifecycle)]


def _model_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    from mdlc_assets.training.algorithms import known_hyperparameters, takes_directions

    model = lifecycle.model
    named = {f"model.hyperparameters.{name}": (name, repr(value)) for name, value in model.hyperparameters.items()}
    if model.search:
        space = model.search.space.items()
        named |= {f"model.search.space.{name}": (name, allowed.spelled()) for name, allowed in space}
    known = known_hyperparameters(model.algorithm) if named else []
    found = [
        _unknown(field, value, f"{model.algorithm} does not take it", name, known)
        for field, (name, value) in named.items()
        if name not in known
    ]
    declared = lifecycle.features.names()
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


def _expression_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    declared, dataset = lifecycle.model.evaluation, lifecycle.dataset
    # What a training set holds; the label is not among them, since a slice by it would have one class.
    kept = [dataset.id, dataset.time, lifecycle.model.entity]
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
