"""Pandera schemas made from the declaration; Pandera evaluates every rule about rows.

Lazy frames are collected first: on a LazyFrame Pandera skips value checks unless told otherwise. Each check keeps one
failure case only, since collecting them is what costs when much is bad; which rows failed is taken from
the check's own Boolean output.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date

with warnings.catch_warnings():
    # Where Spark is installed, Pandera loads what it has for pandas on Spark, which we do not use.
    warnings.filterwarnings("ignore", message="PySpark does not yet", category=FutureWarning)
    import pandera.polars as pa
import polars as pl
from pandera.constants import CHECK_OUTPUT_KEY
from pandera.errors import SchemaErrors
from pandera.polars import PolarsData

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.row_checks import RowCheck, unique_columns, value_checks
from mdlc_assets.sourcing.cells import TYPES


def checking_schema(types: Mapping[str, pl.DataType], checks: Sequence[RowCheck], name: str) -> pa.DataFrameSchema:
    """A schema of the columns `types`, all nullable, with `checks`; further columns may be there."""
    columns = {
        column: pa.Column(dtype, nullable=True, checks=_pandera_checks(checks, column))
        for column, dtype in types.items()
    }
    return pa.DataFrameSchema(columns, checks=_pandera_checks(checks, None), name=name)


def stored_schema(lifecycle: LifecycleDeclaration, day: date) -> pa.DataFrameSchema:
    """The schema of table `validated` for a day: these columns in this order and no others."""
    checks = value_checks(lifecycle, day)
    unique = set(unique_columns(lifecycle))
    columns = {
        name: pa.Column(
            TYPES[column.type],
            nullable=column.nullable or column.optional,
            unique=name in unique,
            checks=_pandera_checks(checks, name),
            description=column.description or None,
        )
        for name, column in lifecycle.dataset.columns.items()
    }
    for known in lifecycle.dataset.attributes.values():
        columns |= {name: pa.Column(TYPES[column.type], nullable=True) for name, column in known.columns.items()}
    return pa.DataFrameSchema(
        columns,
        checks=_pandera_checks(checks, None),
        strict=True,
        ordered=True,
        name=f"{lifecycle.name}_validated",
    )


def failed_rows(schema: pa.DataFrameSchema, frame: pl.DataFrame | pl.LazyFrame) -> dict[str, pl.Series]:
    """For each check that some row fails: its name and a Boolean series, True where the row fails.

    Raises `TypeError` when a column is not there or has another type than the schema's: that is a fault
    of the program, not of the data.
    """
    frame = frame.lazy().collect()
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        failed = {}
        for error in errors.schema_errors:
            output, check = error.check_output, error.check
            if not (isinstance(output, pl.DataFrame) and isinstance(check, pa.Check) and check.name):
                raise TypeError(f"the frame does not fit schema {schema.name}: {error}") from None
            failed[check.name] = output[CHECK_OUTPUT_KEY].not_()
        return failed
    return {}


def complaints(schema: pa.DataFrameSchema, frame: pl.DataFrame | pl.LazyFrame) -> list[str]:
    """What the schema has against a frame, in words and without values; empty when it passes."""
    frame = frame.lazy().collect()
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        found = []
        for error in errors.schema_errors:
            check = error.check.name if isinstance(error.check, pa.Check) else str(error.check)
            output = error.check_output
            if isinstance(output, pl.DataFrame) and CHECK_OUTPUT_KEY in output.columns:
                count = int(output[CHECK_OUTPUT_KEY].not_().sum())
                found.append(f"{check} fails in {count:,} of {frame.height:,} rows ({error.column_name})")
            else:
                found.append(f"{check} ({error.failure_cases})")
        return found
    return []


def _pandera_checks(checks: Sequence[RowCheck], column: str | None) -> list[pa.Check]:
    return [
        pa.Check(_evaluate(check.holds), name=check.name, n_failure_cases=1, ignore_na=True)
        for check in checks
        if check.column == column
    ]


def _evaluate(holds: pl.Expr) -> Callable[[PolarsData], pl.LazyFrame]:
    def evaluate(data: PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(holds.alias(CHECK_OUTPUT_KEY))

    return evaluate
