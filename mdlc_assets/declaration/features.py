"""Declared features: row-level expressions, and aggregations over windows that end at the event.

A window of width w with delay d at an event of instant t covers the half-open span (t - w - d, t - d]:
the earliest instant is left out, the latest is in, and all events at the same instant count, the
event itself included when d is zero. It holds the events of the same entity; an event without entity is in
no window, and its own columns have the default. Null, NaN and infinite values are no values: `count` counts
events, every other aggregation the values that are there, and a window with none gives the default.
`first` and `last` go by time, then by id. `std` is the sample deviation (n - 1), 0 for a single value. A label
counts once its delay has passed, if it was known by the end of that day (UTC); one that came later never counts.

This is the one place that says so; every engine obeys it, and docs/features.md shows it in pictures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from pydantic import ByteSize, Field, field_validator, model_validator

from mdlc_assets.declaration.base import Declared, Duration, duration_name, refuse

Aggregation = Literal["count", "sum", "mean", "std", "min", "max", "first", "last", "distinct_count", "share"]
_CALL = re.compile(r"^\s*([a-z_]+)\s*(?:\(\s*(.*?)\s*\))?\s*$", re.DOTALL)


@dataclass(frozen=True)
class WindowColumn:
    """One column of the feature table: an aggregation of `value` for `entity` over one window."""

    name: str
    entity: str
    aggregation: Aggregation
    value: str | None
    window: timedelta
    delay: timedelta
    where: str | None
    default: float


class WindowFeatures(Declared):
    """A family of columns: each aggregation over each window, named `<name>_<window>`."""

    entity: str
    windows: list[Duration] = Field(min_length=1)
    delay: Duration = Field(default=timedelta(0), description="For values that become known late.")
    where: str | None = Field(default=None, description="Only events for which this expression holds.")
    default: float = Field(default=0.0, description="What an empty window gives.")
    aggregate: dict[str, str] = Field(
        min_length=1, description="Column name: `count`, `mean(amount)`, `share(is_returned)` ..."
    )

    @field_validator("aggregate")
    @classmethod
    def _known_aggregations(cls, calls: dict[str, str]) -> dict[str, str]:
        for name, call in calls.items():
            aggregation, value = parse_aggregation(call)
            if (value is None) != (aggregation == "count"):
                raise refuse(
                    f"{name}: {call!r} does not say what to aggregate"
                    if value is None
                    else f"{name}: `count` counts events and takes no value",
                    f"write `{aggregation}(column)`" if value is None else "write `count`",
                )
        return calls

    @model_validator(mode="after")
    def _positive_windows(self) -> WindowFeatures:
        if any(window <= timedelta(0) for window in self.windows):
            raise refuse("a window has no width", "give each window at least 1s")
        return self

    def columns(self) -> list[WindowColumn]:
        """The columns of the family, window by window, in each the aggregations as declared."""
        found = []
        for window in self.windows:
            for name, call in self.aggregate.items():
                aggregation, value = parse_aggregation(call)
                found.append(
                    WindowColumn(
                        f"{name}_{duration_name(window)}",
                        self.entity,
                        aggregation,
                        value,
                        window,
                        self.delay,
                        self.where,
                        self.default,
                    )
                )
        return found


class Features(Declared):
    """The feature table of a lifecycle; its columns come in the order of the declaration."""

    rows: dict[str, str] = Field(
        default={}, description="Column name: Polars SQL expression of the event's columns and of windowed features."
    )
    windows: list[WindowFeatures] = []
    engine: Literal["auto", "bulk", "incremental", "spark"] = Field(
        default="auto",
        description="`bulk`: from all events in the windows. `incremental`: from stored state. `spark`: as bulk, on "
        "many machines. `auto`: a few days from state where it is there, much on Spark where that can be had, else "
        "in bulk. The results are the same to the last bit.",
    )
    spark_above: ByteSize = Field(
        default=ByteSize(400_000_000),
        description="How much validated Parquet `auto` computes in bulk; for more it takes Spark.",
    )

    @model_validator(mode="after")
    def _no_column_twice(self) -> Features:
        names = self.names()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise refuse(f"feature {twice[0]!r} is declared twice", "give each feature its own name")
        if not names:
            raise refuse("no feature is declared", "declare at least one under rows or windows")
        return self

    def window_columns(self) -> list[WindowColumn]:
        """All windowed columns, in order."""
        return [column for family in self.windows for column in family.columns()]

    def names(self) -> list[str]:
        """All feature columns, row-level ones first."""
        return [*self.rows, *(column.name for column in self.window_columns())]

    def look_back(self) -> timedelta:
        """How far back the widest window reaches, delay included."""
        return max((c.window + c.delay for c in self.window_columns()), default=timedelta(0))

    def look_back_days(self) -> int:
        """The same in days, a part of a day counting whole."""
        return -(-self.look_back() // timedelta(days=1))


def parse_aggregation(call: str) -> tuple[Aggregation, str | None]:
    """`"mean(amount)"` as `("mean", "amount")`.

    Raises a pydantic error that names the known aggregations when the call cannot be read.
    """
    found = _CALL.match(call)
    known = get_args(Aggregation)
    if not found or found[1] not in known:
        raise refuse(f"{call!r} is not an aggregation", f"use one of {', '.join(known)}, as in mean(amount)")
    return found[1], found[2] or None  # type: ignore[return-value]
