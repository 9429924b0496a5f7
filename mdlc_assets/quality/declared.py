"""What is wrong with declared rules and sources beyond what one field can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.declaration.errors import use_one_of
from mdlc_assets.quality.arrival import ARRIVED_IN_TIME, LABELS_DUE
from mdlc_assets.quality.repeats import REPEATED_IDS, REPEATED_ROWS
from mdlc_assets.quality.usual import check_name
from mdlc_assets.quality.volume import EMPTY_HOURS, QUARANTINED_SHARE, VOLUME
from mdlc_assets.sourcing.cells import TYPES
from mdlc_assets.sourcing.declared import sourcing_problems

_RESERVED = {VOLUME, EMPTY_HOURS, QUARANTINED_SHARE, REPEATED_IDS, REPEATED_ROWS, LABELS_DUE, ARRIVED_IN_TIME, "schema"}
_OWN_FEEDS = ("transactions", "labels")


def quality_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Everything wrong with the dataset's sources and with the quality rules."""
    return [
        *sourcing_problems(lifecycle),
        *_row_rule_problems(lifecycle),
        *_entity_rule_problems(lifecycle),
        *_column_problems(lifecycle),
        *_dataset_problems(lifecycle),
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
        Problem(field, expression, f"the dataset has no column {name}", use_one_of(name, columns))
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
        if column and rule.change not in ("constant", "never_sticks") and column.type not in ("integer", "float"):
            yield Problem(
                f"quality.entities.{i}.column",
                rule.column,
                f"a {column.type} column cannot be judged by {rule.change}",
                "name an integer or float column, or use `change: constant`",
            )


def _column_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    """Columns that the other rules name and the dataset lacks."""
    quality, columns = lifecycle.quality, lifecycle.dataset.columns
    named = [(f"quality.usual.columns.{i}", n) for i, n in enumerate(quality.usual.columns if quality.usual else [])]
    named += [(f"quality.references.{i}.column", rule.column) for i, rule in enumerate(quality.references)]
    named += [(f"quality.agreements.{i}.columns", n) for i, r in enumerate(quality.agreements) for n in r.columns]
    for field, name in named:
        if name not in columns:
            yield Problem(field, name, "validated rows have no such column", f"use one of {', '.join(columns)}")


def _dataset_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    """Other datasets that are none, and totals of what cannot be added up."""
    quality, columns = lifecycle.quality, lifecycle.dataset.columns
    used = [(f"quality.references.{i}.dataset", rule.dataset) for i, rule in enumerate(quality.references)]
    used += [(f"quality.agreements.{i}.dataset", rule.dataset) for i, rule in enumerate(quality.agreements)]
    for field, name in used:
        if name in _OWN_FEEDS:
            yield Problem(field, name, "this folder holds the lifecycle's own files", "name another dataset's folder")
        elif not name.isidentifier():
            yield Problem(
                field, name, "this cannot be a folder's name", "use letters, digits and underscores, a letter first"
            )
    for i, agreement in enumerate(quality.agreements):
        for name in agreement.columns:
            if not agreement.id and name in columns and columns[name].type not in ("integer", "float"):
                yield Problem(
                    f"quality.agreements.{i}.columns",
                    name,
                    f"a {columns[name].type} column has no sum",
                    "declare the second source's `id` to compare row by row, or name numbers only",
                )


def _name_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    seen: set[str] = set()
    named = [(f"quality.rows.{i}.name", rule.name) for i, rule in enumerate(lifecycle.quality.rows)]
    for part in ("entities", "references", "agreements"):
        named += [(f"quality.{part}.{i}.name", r.name) for i, r in enumerate(getattr(lifecycle.quality, part))]
    endings = ("readable", "present", "min", "max", "allowed", "decimals", "in_day", "unique")
    ours = {f"{column}_{ending}" for column in lifecycle.dataset.columns for ending in endings}
    ours |= _RESERVED | {check_name(column) for column in ("", *lifecycle.dataset.columns)}
    for field, name in named:
        if not name.isidentifier():
            yield Problem(
                field,
                name,
                "the name cannot be that of an asset check",
                "use letters, digits and underscores, a letter first",
            )
        elif name in seen or name in ours:
            why = "two rules have this name" if name in seen else "the platform has a rule of this name"
            yield Problem(field, name, why, "give the rule another name")
        seen.add(name)
