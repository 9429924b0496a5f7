"""What is wrong with declared rules and sources beyond what one field can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.quality.across_days import RESERVED_RULES
from mdlc_assets.sourcing.cells import TYPES
from mdlc_assets.sourcing.declared import sourcing_problems


def quality_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Everything wrong with the dataset's sources and with the quality rules."""
    return [
        *sourcing_problems(lifecycle),
        *_row_rule_problems(lifecycle),
        *_entity_rule_problems(lifecycle),
        *_name_problems(lifecycle),
    ]


def _row_rule_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    columns = lifecycle.dataset.columns
    empty = pl.DataFrame(schema={name: TYPES[column.type] for name, column in columns.items()})
    for i, rule in enumerate(lifecycle.quality.rows):
        field = f"quality.rows.{i}.holds"
        problems = expression_problems(field, rule.holds, list(columns))
        if problems:
            yield from problems
            continue
        try:
            result = empty.lazy().select(pl.sql_expr(rule.holds).alias("holds")).collect()
        except pl.exceptions.PolarsError as error:
            yield Problem(
                field,
                rule.holds,
                f"the expression does not fit the columns ({str(error).splitlines()[0]})",
                "compare each column with values of its own type",
            )
            continue
        if result.schema["holds"] != pl.Boolean:
            yield Problem(
                field,
                rule.holds,
                f"the expression gives {result.schema['holds']}, not true or false",
                "write a condition, such as amount <= 10000",
            )


def expression_problems(field: str, expression: str, columns: Sequence[str]) -> list[Problem]:
    """What is wrong with a Polars SQL expression over the given columns, whatever its type."""
    try:
        used = pl.sql_expr(expression).meta.root_names()
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0]
        mend = "write it in SQL, such as amount <= 10000"
        return [Problem(field, expression, f"the expression cannot be read ({reason})", mend)]
    return [
        Problem(field, expression, f"the dataset has no column {name}", f"use one of {', '.join(columns)}")
        for name in dict.fromkeys(used)
        if name not in columns
    ]


def _entity_rule_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    columns = lifecycle.dataset.columns
    for i, rule in enumerate(lifecycle.quality.entities):
        for part, name in (("entity", rule.entity), ("column", rule.column)):
            if name not in columns:
                yield Problem(
                    f"quality.entities.{i}.{part}",
                    name,
                    "validated rows have no such column",
                    f"use one of {', '.join(columns)}",
                )
        column = columns.get(rule.column)
        if column and rule.change != "constant" and column.type not in ("integer", "float"):
            yield Problem(
                f"quality.entities.{i}.column",
                rule.column,
                f"a {column.type} column cannot be judged by {rule.change}",
                "name an integer or float column, or use `change: constant`",
            )


def _name_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    seen: set[str] = set()
    named = [(f"quality.rows.{i}.name", rule.name) for i, rule in enumerate(lifecycle.quality.rows)]
    named += [(f"quality.entities.{i}.name", r.name) for i, r in enumerate(lifecycle.quality.entities)]
    endings = ("readable", "present", "min", "max", "allowed", "decimals", "in_day", "unique")
    ours = {f"{column}_{ending}" for column in lifecycle.dataset.columns for ending in endings}
    for field, name in named:
        if not name.isidentifier():
            yield Problem(
                field,
                name,
                "the name cannot be that of an asset check",
                "use letters, digits and underscores, a letter first",
            )
        elif name in seen or name in RESERVED_RULES or name in ours:
            why = "two rules have this name" if name in seen else "the platform has a rule of this name"
            yield Problem(field, name, why, "give the rule another name")
        seen.add(name)
