"""Windowed features by the definition alone: for each event every other event is looked at. Slow, and plain."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import WindowColumn
from mdlc_assets.features.table import in_order, labelled


def window_oracle(
    declaration: LifecycleDeclaration, events: pl.DataFrame, labels: pl.DataFrame | None, wanted: pl.DataFrame
) -> Mapping[str, Sequence[float]]:
    """Each windowed feature for the rows of `wanted` (ids are looked up among `events`)."""
    rows = in_order(declaration, labelled(declaration, events, labels))
    identity, time = declaration.dataset.id, declaration.dataset.time
    place = {key: i for i, key in enumerate(rows[identity])}
    asked = [place[key] for key in wanted[identity]]
    times = rows[time].to_list()
    found = {}
    for column in declaration.features.window_columns():
        entities = rows[column.entity].to_list()
        values = _values(rows, column)
        kept = rows.select(pl.sql_expr(column.where)).to_series().to_list() if column.where else [True] * rows.height
        found[column.name] = [_window(column, times, entities, values, kept, at) for at in asked]
    return found


def _values(rows: pl.DataFrame, column: WindowColumn) -> list[Any]:
    if column.value is None:
        return [1.0] * rows.height
    values = rows.select(pl.sql_expr(column.value).alias("value")).to_series()
    if column.aggregation == "distinct_count" and not values.dtype.is_numeric():
        return values.to_list()
    return [v if v is not None and math.isfinite(v) else None for v in values.cast(pl.Float64)]


def _window(
    column: WindowColumn,
    times: Sequence[datetime],
    entities: Sequence[Any],
    values: Sequence[Any],
    kept: Sequence[bool | None],
    at: int,
) -> float:
    end = times[at] - column.delay
    begin = end - column.window
    held = [
        values[i]
        for i, time in enumerate(times)
        if kept[i] and entities[i] is not None and entities[i] == entities[at] and begin < time <= end
    ]
    if column.aggregation == "count":
        return float(len(held)) if held else column.default
    there = [value for value in held if value is not None]
    if not there:
        return column.default
    match column.aggregation:
        case "sum":
            return math.fsum(there)
        case "mean" | "share":
            return math.fsum(there) / len(there)
        case "std":
            return statistics.stdev(there) if len(there) > 1 else 0.0
        case "min":
            return float(min(there))
        case "max":
            return float(max(there))
        case "first":
            return float(there[0])
        case "last":
            return float(there[-1])
        case _:
            return float(len(set(there)))
