"""Made-up events that keep every rule of a declaration: no data of real people in a repository."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Column
from mdlc_assets.quality.metrics import entities_of
from mdlc_assets.sourcing.cells import INSTANT, TYPES

_ENTITIES = 12
_SPARE = 4
_DAY_SECONDS = 86_400


class SampleError(ValueError):
    """A declaration whose rules made-up events do not keep; land rows of your own."""


def sample_rows(declaration: LifecycleDeclaration, day: date, rows: int = 100, *, seed: int = 0) -> pl.DataFrame:
    """Events of a day under the declared names, spread over it. The same day, count and seed give the same rows.

    Values lie within the declared bounds; what an entity keeps from day to day is kept. Raises `SampleError`.
    """
    made = _made(declaration, day, rows * _SPARE, seed)
    for rule in declaration.quality.rows:
        made = made.filter(pl.sql_expr(rule.holds))
    if made.height < rows:
        rules = ", ".join(rule.name for rule in declaration.quality.rows)
        raise SampleError(
            f"{declaration.name}: of {rows * _SPARE} made-up rows only {made.height} keep the rules {rules}. "
            "Mend: land rows of your own with platform.land(day, rows)."
        )
    # Evenly over the day, so that no hour is empty.
    places = np.linspace(0, made.height - 1, rows).astype(int).tolist()
    return made[places]


def sample_labels(
    declaration: LifecycleDeclaration, rows: pl.DataFrame, *, share: float = 0.3, seed: int = 0
) -> pl.DataFrame:
    """A label for each event, known when the declared delay is over. A row of the labels feed each.

    What a label is follows from the first number among the columns, so that there is something to learn.
    """
    draw = np.random.default_rng([seed, rows.height])
    numbers = [name for name in declaration.dataset.columns if name in rows.columns and rows[name].dtype.is_numeric()]
    numbers = [name for name in numbers if name not in entities_of(declaration)]
    signal = rows[numbers[0]].fill_null(0).rank("average") / rows.height if numbers else pl.Series([0.5] * rows.height)
    if declaration.labels.kind == "number":
        amount = 100 * signal.to_numpy() + draw.normal(0, 5, rows.height).round(3)
        return _labels(declaration, rows, amount.round(3).tolist())
    positive = signal.to_numpy() + draw.normal(0, 0.15, rows.height) > 1 - share
    values: list[object] = [int(found) for found in positive]
    if declaration.labels.positive_values:
        values = [declaration.labels.positive_values[0] if found else "other" for found in positive]
    return _labels(declaration, rows, values)


def _labels(declaration: LifecycleDeclaration, rows: pl.DataFrame, values: Sequence[object]) -> pl.DataFrame:
    return rows.select(
        declaration.dataset.id,
        pl.Series(declaration.labels.column, values),
        (pl.col(declaration.dataset.time) + declaration.labels.delay).alias("known_at"),
    )


def _made(declaration: LifecycleDeclaration, day: date, rows: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng([seed, day.toordinal()])
    dataset = declaration.dataset
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    step = _DAY_SECONDS / rows
    seconds = [i * step + float(jitter) for i, jitter in enumerate(draw.uniform(0, step * 0.99, rows))]
    instants = pl.Series(dataset.time, [start + timedelta(seconds=s) for s in seconds], dtype=INSTANT)
    named = entities_of(declaration) - {dataset.id}
    frame = pl.DataFrame({dataset.time: instants.dt.truncate("1ms")})
    for name, column in dataset.columns.items():
        if name == dataset.time:
            continue
        if name == dataset.id or column.unique:
            values = [day.toordinal() * 1_000_000 + seed * 100_000 + i for i in range(rows)]
            made = pl.Series(name, values if column.type == "integer" else [f"{name}-{value}" for value in values])
        elif name in named:
            made = _one_of(name, column, draw.integers(0, _ENTITIES, rows))
        else:
            made = _MAKERS[column.type](name, column, draw, rows)
        frame = frame.with_columns(made.cast(TYPES[column.type]).alias(name))
    return _kept_by_entities(declaration, day, frame).select(*dataset.columns)


def _one_of(name: str, column: Column, places: np.ndarray) -> pl.Series:
    if column.type == "string":
        known = column.allowed or [f"{name}-{i}" for i in range(_ENTITIES)]
        return pl.Series(name, [str(known[place % len(known)]) for place in places])
    return pl.Series(name, places + int(column.min or 0))


def _bounds(column: Column, least: float, most: float) -> tuple[float, float]:
    low = column.min if column.min is not None else min(least, column.max if column.max is not None else least)
    high = column.max if column.max is not None else max(most, low + most)
    return low, high


def _integers(name: str, column: Column, draw: np.random.Generator, rows: int) -> pl.Series:
    if column.allowed:
        return pl.Series(name, draw.choice(np.array(column.allowed, dtype=int), rows))
    low, high = _bounds(column, 0, 1_000)
    return pl.Series(name, draw.integers(int(np.ceil(low)), int(high) + 1, rows))


def _floats(name: str, column: Column, draw: np.random.Generator, rows: int) -> pl.Series:
    low, high = _bounds(column, 0.0, 1_000.0)
    values = draw.uniform(low, high, rows)
    return pl.Series(name, values if column.decimals is None else np.round(values, column.decimals))


def _booleans(name: str, column: Column, draw: np.random.Generator, rows: int) -> pl.Series:
    return pl.Series(name, draw.integers(0, 2, rows) == 1)


def _texts(name: str, column: Column, draw: np.random.Generator, rows: int) -> pl.Series:
    known = [str(value) for value in column.allowed or [f"{name}-{i}" for i in range(5)]]
    return pl.Series(name, draw.choice(np.array(known, dtype=object), rows).tolist())


def _instants(name: str, column: Column, draw: np.random.Generator, rows: int) -> pl.Series:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    return pl.Series(
        name, [start + timedelta(seconds=int(s)) for s in draw.integers(0, 1_000_000, rows)], dtype=INSTANT
    )


_MAKERS: dict[str, Callable[[str, Column, np.random.Generator, int], pl.Series]] = {
    "integer": _integers,
    "float": _floats,
    "boolean": _booleans,
    "string": _texts,
    "timestamp": _instants,
}


def _kept_by_entities(declaration: LifecycleDeclaration, day: date, frame: pl.DataFrame) -> pl.DataFrame:
    """Values that follow from the entity and the day, where a rule says how they may change."""
    for rule in declaration.quality.entities:
        column = declaration.dataset.columns[rule.column]
        number = pl.col(rule.entity).cast(pl.String).str.len_chars().cast(pl.Int64) * 7
        if column.type not in ("integer", "float"):
            frame = frame.with_columns(_first_of_entity(rule.entity, rule.column))
            continue
        low = int(column.min or 0)
        value = {
            "grows_by_day": number + low + day.toordinal() - declaration.dataset.start.toordinal(),
            "never_falls": number + low + day.toordinal() - declaration.dataset.start.toordinal(),
            "never_sticks": number + low + day.toordinal() % 7,
        }.get(rule.change, number + low)
        frame = frame.with_columns(value.cast(TYPES[column.type]).alias(rule.column))
    return frame


def _first_of_entity(entity: str, column: str) -> pl.Expr:
    return pl.format("{}-of-{}", pl.lit(column), pl.col(entity).cast(pl.String)).alias(column)
