"""One event as features need it: its values, its items, its row-level features, without a frame where possible."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.entity_items import EntityItems, FamilyWords, kind_word
from mdlc_assets.features.families import decimals_of
from mdlc_assets.features.row_expressions import RowExpression, row_expression
from mdlc_assets.sourcing.cells import TYPES

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NAN = float("nan")
Values = Mapping[str, Any]


class EventReader:
    """Takes the columns of an event out of a mapping, with their Python types and instants in UTC."""

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        dataset = lifecycle.dataset
        self.types = {name: TYPES[column.type] for name, column in dataset.validated_columns.items()}
        self._readers = [(name, _READERS[column.type]) for name, column in dataset.validated_columns.items()]

    def read(self, event: Values) -> dict[str, Any]:
        """All columns, None where there is none. Raises `TypeError` for a value of another type."""
        found = {}
        for name, reader in self._readers:
            value = event.get(name)
            found[name] = None if value is None else reader(value)
        return found

    def frame(self, values: Values) -> pl.DataFrame:
        """The event as a frame of one row."""
        return pl.DataFrame([values], schema=self.types)


def microseconds_of(instant: datetime) -> int:
    """An instant as the store has it."""
    return (instant - _EPOCH) // _MICROSECOND


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"an instant is a datetime, not {type(value).__name__}")
    if value.tzinfo is UTC:
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"a whole number is an int, not {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text is a str, not {type(value).__name__}")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"a boolean is a bool, not {type(value).__name__}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, str | bool):
        raise TypeError(f"a number is a float, not {type(value).__name__}")
    return float(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "integer": _whole,
    "float": _number,
    "boolean": _truth,
    "string": _text,
    "timestamp": _instant,
}


class OwnItem:
    """Makes the item of an event that is being decided, for its own windows.

    Only families without delay hold the event itself, so of the others nothing is computed. Raises `LookupError`
    when made for something that is left to Polars.
    """

    def __init__(self, lifecycle: LifecycleDeclaration, items: EntityItems) -> None:
        types = EventReader(lifecycle).types
        decimals = decimals_of(lifecycle)
        self.needed = any(not place.family.delay for place in items.families)
        parts = ["<q"]
        self._makers: list[Callable[[Values], list[Any]]] = []
        for place in items.families:
            values, kinds = len(place.family.values), len(place.family.kinds)
            parts.append("q" + ("d" * values + "16s" * kinds) * len(place.assumed))
            self._makers.append(_maker(place, types, decimals))
        self._form = struct.Struct("".join(parts))

    def make(self, values: Values, instant: int) -> bytes:
        """The item of an event; may raise `AskPolarsError`."""
        words: list[Any] = [instant]
        for maker in self._makers:
            words += maker(values)
        return self._form.pack(*words)


def _maker(
    place: FamilyWords, types: Mapping[str, pl.DataType], decimals: Mapping[str, int]
) -> Callable[[Values], list[Any]]:
    family = place.family
    nothing = [0, *([_NAN] * len(family.values) + [bytes(16)] * len(family.kinds)) * len(place.assumed)]
    if family.delay:
        return lambda row: nothing
    if place.late:
        raise LookupError("a label that is known at once is left to Polars")
    where = _known(family.where, types) if family.where else None
    makers: list[Callable[[Values], Any]] = [_value(value, types, decimals) for value in family.values]
    makers += [_kind(kind, types) for kind in family.kinds]

    def make(row: Values) -> list[Any]:
        counted = where is None or where.of(row) is True
        return [counted, *[made(row) for made in makers]]

    return make


def _known(text: str, types: Mapping[str, pl.DataType]) -> RowExpression:
    found = row_expression(text, types)
    if found is None:
        raise LookupError(f"{text} is left to Polars")
    return found


def _value(text: str, types: Mapping[str, pl.DataType], decimals: Mapping[str, int]) -> Callable[[Values], float]:
    """A number as `values.values_of` gives it."""
    expression = _known(text, types)
    if expression.kind not in ("int", "float", "bool", "part"):
        raise LookupError(f"{text} is left to Polars")
    of, scale = expression.of, 10.0 ** decimals[text] if expression.kind == "float" and text in decimals else None

    def make(row: Values) -> float:
        found = of(row)
        if found is None:
            return _NAN
        number = float(found)
        if not math.isfinite(number):
            return _NAN
        if scale is not None:
            scaled = number * scale
            return float(round(scaled)) if math.isfinite(scaled) else _NAN
        return number

    return make


def _kind(text: str, types: Mapping[str, pl.DataType]) -> Callable[[Values], bytes]:
    """What is counted apart, as `state.family_columns` gives it."""
    expression = _known(text, types)
    if expression.kind not in ("int", "str"):
        raise LookupError(f"{text} is left to Polars")
    of = expression.of
    return lambda row: kind_word(None if (found := of(row)) is None else str(found))


class RowFeatures:
    """The row-level features of one event, from its values and its windowed features."""

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        self.reader = EventReader(lifecycle)
        windowed = [column.name for column in lifecycle.features.window_columns()]
        types = {**self.reader.types, **dict.fromkeys(windowed, pl.Float64())}
        self._windowed = windowed
        self._columns, self._left = list[Callable[[Values], Any]](), dict[int, pl.Expr]()
        for i, text in enumerate(lifecycle.features.rows.values()):
            found = row_expression(text, types)
            if found is None:
                self._left[i] = pl.sql_expr(text).cast(pl.Float64)
            self._columns.append(found.of if found else lambda row: None)
        names = {name for text in lifecycle.features.rows.values() for name in pl.sql_expr(text).meta.root_names()}
        self._uses_windows = not names.isdisjoint(windowed)
        # Frames cost by the column, so they get those that are named.
        self._types = {name: kind for name, kind in types.items() if name in names}

    def compute(self, values: Values, windowed: Sequence[float]) -> list[float]:
        """The features in their order, NaN where there is none; may raise `AskPolarsError`."""
        row = {**values, **dict(zip(self._windowed, windowed, strict=True))} if self._uses_windows else values
        found = [_NAN if (made := of(row)) is None else float(made) for of in self._columns]
        if self._left:
            frame = pl.DataFrame([{name: row[name] for name in self._types}], schema=self._types)
            made = frame.select(expression.alias(str(i)) for i, expression in self._left.items()).row(0)
            for i, value in zip(self._left, made, strict=True):
                found[i] = _NAN if value is None else value
        return found
