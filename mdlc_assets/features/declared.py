"""What is wrong with declared features that only their engines can see."""

from __future__ import annotations

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.features.families import empty_events
from mdlc_assets.features.table import uses_label
from mdlc_assets.quality.declared import expression_problems

_ARITHMETIC = {"sum", "mean", "std", "share", "min", "max", "first", "last"}


def features_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Expressions that do not parse or name unknown columns; text where numbers are needed."""
    empty = empty_events(lifecycle)
    columns = [name for name in empty.columns if name != lifecycle.labels.column]
    windowed = {column.name: pl.Float64() for column in lifecycle.features.window_columns()}
    whole = empty.with_columns(pl.lit(None, kind).alias(name) for name, kind in windowed.items())
    found = []
    for name, expression in lifecycle.features.rows.items():
        field = f"features.rows.{name}"
        problems = _label_problems(lifecycle, field, expression) or expression_problems(
            field, expression, [*columns, *windowed]
        )
        kind = None if problems else whole.select(pl.sql_expr(expression).alias("v")).schema["v"]
        if kind is not None and not (kind.is_numeric() or kind == pl.Boolean):
            problems = [Problem(field, repr(expression), f"it gives {kind}", "write one that gives a number")]
        found += problems
    for i, family in enumerate(lifecycle.features.windows):
        if family.where:
            found += expression_problems(f"features.windows.{i}.where", family.where, columns)
        for name in family.aggregate:
            column = next(c for c in family.columns() if c.name.startswith(name))
            if column.value is None:
                continue
            field = f"features.windows.{i}.aggregate.{name}"
            problems = expression_problems(field, column.value, empty.columns)
            kind = None if problems else empty.select(pl.sql_expr(column.value).alias("v")).schema["v"]
            if kind is not None and column.aggregation in _ARITHMETIC and not (kind.is_numeric() or kind == pl.Boolean):
                problems = [
                    Problem(
                        field,
                        repr(column.value),
                        f"{column.aggregation} needs numbers, and {column.value} is {kind}",
                        "use distinct_count or count, or name a number column",
                    )
                ]
            found += problems
    return [*found, *_online_problems(lifecycle)]


def _label_problems(lifecycle: LifecycleDeclaration, field: str, expression: str) -> list[Problem]:
    """A feature that would give away what is to be foretold."""
    label = lifecycle.labels.column
    try:
        used = pl.sql_expr(expression).meta.root_names()
    except pl.exceptions.PolarsError:
        return []
    if not label or label not in used:
        return []
    why = f"{label!r} is the label, which nobody knows yet when the event happens"
    mend = "leave it out, or look back on it in features.windows with a delay of at least the label's"
    return [Problem(field, repr(expression), why, mend)]


def _online_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """The online store keeps values for each label that may still come: there are two, and numbers without end."""
    if lifecycle.labels.kind != "number" or lifecycle.deployment.real_time is None:
        return []
    late = [c.name for c in lifecycle.features.window_columns() if uses_label(lifecycle, c.value)]
    if not late:
        return []
    why = f"{late[0]} looks back on a number that comes late, which the online store does not keep"
    return [Problem("deployment.real_time", "declared", why, "write `real_time: null`: the model runs in batches")]
