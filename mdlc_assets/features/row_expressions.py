"""Row-level expressions for one event at a time.

To ask Polars about a single row costs some 60 us, mostly for making a frame of it. So the expressions that most
declarations have (comparisons, arithmetic, parts of instants, CASE, coalesce) are read once, as Polars understood
them, and made into plain functions. Exactness goes first: what is not surely the same here is left to Polars. That
is an expression with anything else in it, one whose function gives another answer than Polars on some probe, and
at any time a value for which the two could differ (`AskPolarsError`): NaN in a comparison, a division by zero.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from mdlc_assets.sourcing.cells import INSTANT

Values = Mapping[str, Any]
_Function = Callable[[Values], Any]

_PROBES = 300
_WIDEST = 1 << 63
_KINDS = {pl.Int64(): "int", pl.Float64(): "float", pl.Boolean(): "bool", pl.String(): "str", INSTANT: "instant"}
_PARTS: dict[str, Callable[[datetime], int]] = {
    "Hour": lambda t: t.hour,
    "Minute": lambda t: t.minute,
    "Second": lambda t: t.second,
    "Day": lambda t: t.day,
    "Month": lambda t: t.month,
    "Year": lambda t: t.year,
    "WeekDay": lambda t: t.isoweekday(),
}
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": lambda a, b: a == b,
    "NotEq": lambda a, b: a != b,
    "Lt": lambda a, b: a < b,
    "LtEq": lambda a, b: a <= b,
    "Gt": lambda a, b: a > b,
    "GtEq": lambda a, b: a >= b,
}
_COMPUTED: dict[str, Callable[[Any, Any], Any]] = {
    "Plus": lambda a, b: a + b,
    "Minus": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
}


class AskPolarsError(Exception):
    """For these values the answer is left to Polars."""


class _OtherError(Exception):
    """Something in an expression that is left to Polars."""


@dataclass(frozen=True)
class RowExpression:
    """An expression as a function of a row's values; `kind` is what it gives: int, float, bool, str, instant, or
    part, a small number. The values have the Python types of their columns, instants the zone UTC."""

    kind: str
    of: _Function


def row_expression(text: str, types: Mapping[str, pl.DataType]) -> RowExpression | None:
    """The function of a Polars SQL expression over columns of these types; None where it is left to Polars."""
    expression = pl.sql_expr(text)
    with warnings.catch_warnings():
        # The form of the serialised tree may change with Polars: then less is understood, and probes find the rest.
        warnings.simplefilter("ignore")
        tree = json.loads(expression.meta.serialize(format="json"))
    try:
        found = _read(tree, types)
    except (_OtherError, KeyError, TypeError, ValueError):
        return None
    return found if _is_as_polars(text, found, types) else None


def _read(node: Any, types: Mapping[str, pl.DataType]) -> RowExpression:
    match node:
        case {"Column": str(name)}:
            return RowExpression(_KINDS[types[name]], lambda row: row[name])
        case {"Literal": literal}:
            return _literal(literal)
        case {"BinaryExpr": {"left": left, "op": op, "right": right}}:
            return _binary(op, _read(left, types), _read(right, types))
        case {"Function": {"input": [left, right], "function": {"Sql": {"Binary": str(op)}}}}:
            return _binary(op, _read(left, types), _read(right, types))
        case {"Function": {"input": inputs, "function": "Coalesce"}}:
            return _coalesce([_read(one, types) for one in inputs])
        case {"Function": {"input": [one], "function": {"TemporalExpr": part}}}:
            return _part(_PARTS[part], _read(one, types))
        case {"Function": {"input": [one], "function": {"Boolean": what}}}:
            return _boolean(what, _read(one, types))
        case {"Ternary": {"predicate": predicate, "truthy": truthy, "falsy": falsy}}:
            return _ternary(*(_read(one, types) for one in (predicate, truthy, falsy)))
        case {"Cast": {"expr": inner, "dtype": {"Literal": "Boolean"}}}:
            found = _read(inner, types)
            if found.kind == "bool":
                return found
    raise _OtherError


def _literal(literal: Any) -> RowExpression:
    match literal:
        case {"Dyn": {"Int": int(value)}}:
            return RowExpression("int", lambda row: value)
        case {"Dyn": {"Float": float(value)}} | {"Scalar": {"Float64": float(value)}}:
            return RowExpression("float", lambda row: value)
        case {"Scalar": {"Decimal": [int(mantissa), int(), int(scale)]}}:
            number = mantissa / 10**scale
            return RowExpression("float", lambda row: number)
        case {"Scalar": {"Int8": int(value)}}:
            return RowExpression("part", lambda row: value)
        case {"Scalar": {"String": str(text)}}:
            return RowExpression("str", lambda row: text)
        case {"Scalar": {"Boolean": bool(truth)}}:
            return RowExpression("bool", lambda row: truth)
        case {"Scalar": {"Null": _}}:
            return RowExpression("null", lambda row: None)
    raise _OtherError


def _binary(op: str, left: RowExpression, right: RowExpression) -> RowExpression:
    if op in ("And", "Or"):
        return _both(left, right, decides=op == "Or")
    if op in _COMPARED:
        kinds = {left.kind, right.kind}
        if kinds == {"int", "part"}:
            return _applied("bool", _COMPARED[op], left.of, right.of)
        (left_of, right_of), kind = _alike([left, right])
        if kind not in ("int", "float", "str", "bool", "instant", "part") or (kind == "bool" and "Eq" not in op):
            raise _OtherError
        return _applied("bool", _COMPARED[op], left_of, right_of, no_nan=kind == "float")
    (left_of, right_of), kind = _alike([left, right])
    if op not in _COMPUTED or kind not in ("int", "float") or (op == "Div" and kind == "int"):
        raise _OtherError
    return _applied(kind, _COMPUTED[op], left_of, right_of)


def _applied(
    kind: str, function: Callable[[Any, Any], Any], left: _Function, right: _Function, *, no_nan: bool = False
) -> RowExpression:
    def of(row: Values) -> Any:
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        if no_nan and (a != a or b != b):
            raise AskPolarsError
        try:
            found = function(a, b)
        except ZeroDivisionError:
            raise AskPolarsError from None
        if kind == "int" and not -_WIDEST <= found < _WIDEST:
            raise AskPolarsError
        return found

    return RowExpression(kind, of)


def _both(left: RowExpression, right: RowExpression, *, decides: bool) -> RowExpression:
    """And, or: one side that is `decides` decides, else a null is not known."""
    if {left.kind, right.kind} != {"bool"}:
        raise _OtherError

    def of(row: Values) -> bool | None:
        a = left.of(row)
        if a is decides:
            return decides
        b = right.of(row)
        if b is decides:
            return decides
        return None if a is None or b is None else not decides

    return RowExpression("bool", of)


def _boolean(what: Any, one: RowExpression) -> RowExpression:
    match what:
        case "IsNull":
            return RowExpression("bool", lambda row: one.of(row) is None)
        case "IsNotNull":
            return RowExpression("bool", lambda row: one.of(row) is not None)
        case "Not" if one.kind == "bool":
            return RowExpression("bool", lambda row: None if (found := one.of(row)) is None else not found)
    raise _OtherError


def _part(part: Callable[[datetime], int], one: RowExpression) -> RowExpression:
    if one.kind != "instant":
        raise _OtherError
    return RowExpression("part", lambda row: None if (found := one.of(row)) is None else part(found))


def _coalesce(inputs: Sequence[RowExpression]) -> RowExpression:
    functions, kind = _alike(inputs)

    def of(row: Values) -> Any:
        return next((found for function in functions if (found := function(row)) is not None), None)

    return RowExpression(kind, of)


def _ternary(predicate: RowExpression, truthy: RowExpression, falsy: RowExpression) -> RowExpression:
    (then, otherwise), kind = _alike([truthy, falsy])
    if predicate.kind != "bool":
        raise _OtherError
    return RowExpression(kind, lambda row: then(row) if predicate.of(row) is True else otherwise(row))


def _alike(inputs: Sequence[RowExpression]) -> tuple[list[_Function], str]:
    """Functions that give the same kind, and which; whole numbers beside floats become floats."""
    kinds = {one.kind for one in inputs} - {"null"}
    if len(kinds) == 1:
        return [one.of for one in inputs], next(iter(kinds))
    if kinds == {"int", "float"}:
        return [_as_float(one.of) if one.kind == "int" else one.of for one in inputs], "float"
    raise _OtherError


def _as_float(function: _Function) -> _Function:
    return lambda row: None if (found := function(row)) is None else float(found)


def _is_as_polars(text: str, found: RowExpression, types: Mapping[str, pl.DataType]) -> bool:
    """Whether the function agrees with Polars on probes: numbers and texts of the expression, and near them."""
    named = sorted(set(pl.sql_expr(text).meta.root_names()))
    chance = random.Random(0)  # noqa: S311 - the same probes each time
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)] or [1.0]
    texts = re.findall(r"'([^']*)'", text)
    rows = [{name: _probe(chance, types[name], numbers, texts) for name in named} for _ in range(_PROBES)]
    frame = pl.DataFrame(rows, schema={name: types[name] for name in named}, orient="row")
    if not named:
        frame = pl.DataFrame({"_": [0]})
        rows = [{}]
    try:
        answers = frame.select(pl.sql_expr(text).alias("v"))
    except pl.exceptions.PolarsError:
        return False
    if answers.height != len(rows):
        answers = pl.concat([answers] * len(rows))
    for row, answer in zip(rows, itertools.chain.from_iterable(answers.iter_rows()), strict=True):
        try:
            ours = found.of(row)
        except AskPolarsError:
            continue
        if ours != answer and not (ours is not None and answer is not None and ours != ours and answer != answer):
            return False
    return True


def _probe(chance: random.Random, kind: pl.DataType, numbers: Sequence[float], texts: Sequence[str]) -> Any:
    if chance.random() < 0.1:
        return None
    number = chance.choice(numbers) * chance.choice([1, 1, 1, -1, 0, 10]) + chance.choice([0, 0, 1, -1, 0.25, 1e-9])
    match kind:
        case pl.Int64():
            return int(number)
        case pl.Float64():
            return chance.choice([number, number, number, chance.gauss(0, 100), float("nan"), float("inf"), -0.0])
        case pl.Boolean():
            return chance.random() < 0.5
        case pl.String():
            return chance.choice([*texts, "", "ä", "other"])
        case _:
            return datetime(2018, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(0, 3 * 365 * 86_400))
