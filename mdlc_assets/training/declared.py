"""What is wrong with a declared model that only its algorithm can see."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.sourcing.cells import TYPES


def training_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Hyperparameters that the algorithm does not take; slices and costs that cannot be computed."""
    return [*_hyperparameter_problems(lifecycle), *_expression_problems(lifecycle)]


def _hyperparameter_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    from mdlc_assets.training.algorithms import known_hyperparameters

    given = lifecycle.model.hyperparameters
    if not given:
        return []
    known = known_hyperparameters(lifecycle.model.algorithm)
    found = []
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            found.append(
                Problem(
                    f"model.hyperparameters.{name}",
                    repr(value),
                    f"{lifecycle.model.algorithm} does not take it",
                    f"write {close[0]!r}" if close else f"use one of {', '.join(known)}",
                )
            )
    return found


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
