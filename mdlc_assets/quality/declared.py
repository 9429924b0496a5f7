"""What is wrong with declared quality rules that only their engines can see."""

from __future__ import annotations

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem


def quality_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Row rules that do not parse or name unknown columns; entity rules on columns without arithmetic."""
    columns = lifecycle.dataset.columns
    found = []
    for i, rule in enumerate(lifecycle.quality.rows):
        field = f"quality.rows.{i}.holds"
        found += expression_problems(field, rule.holds, list(columns))
    for i, entity_rule in enumerate(lifecycle.quality.entities):
        kind = columns[entity_rule.column].type
        if kind not in {"integer", "float"} and entity_rule.change != "constant":
            found.append(
                Problem(
                    f"quality.entities.{i}.column",
                    repr(entity_rule.column),
                    f"a {kind} cannot {entity_rule.change.replace('_', ' ')}",
                    "name an integer or float column, or use `change: constant`",
                )
            )
    return found


def expression_problems(field: str, expression: str, columns: list[str]) -> list[Problem]:
    """What is wrong with a Polars SQL expression over the given columns."""
    try:
        used = pl.sql_expr(expression).meta.root_names()
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0]
        return [Problem(field, repr(expression), f"it does not parse: {reason}", "write a SQL expression")]
    return [
        Problem(field, repr(expression), f"there is no column {name!r}", f"use one of {', '.join(columns)}")
        for name in dict.fromkeys(used)
        if name not in columns
    ]
