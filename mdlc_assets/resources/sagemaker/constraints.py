"""Lengths, patterns, ranges and fixed values that the service model declares and botocore does not check.

botocore checks names, types and what is required before it sends a request; the rest is refused by the
service itself, which answers ValidationException. The local client answers the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import regex
from botocore.model import ListShape, MapShape, Shape, StructureShape

_SHOWN = 80


def broken_constraints(value: Any, shape: Shape, place: str = "") -> Iterator[str]:
    """What in `value`, which has passed botocore's own checks, the service would refuse; one line each."""
    where = place or "the request"
    if isinstance(shape, StructureShape):
        for name, part in value.items():
            if name in shape.members and part is not None:
                yield from broken_constraints(part, shape.members[name], f"{place}.{name}".lstrip("."))
        return
    yield from (f"{where}: {text}" for text in _own_constraints(value, shape))
    if isinstance(shape, ListShape):
        for number, part in enumerate(value):
            yield from broken_constraints(part, shape.member, f"{place}[{number}]")
    elif isinstance(shape, MapShape):
        for key, part in value.items():
            yield from broken_constraints(key, shape.key, f"{place} (the key {_short(key)})")
            yield from broken_constraints(part, shape.value, f"{place}[{_short(key)}]")


def _own_constraints(value: Any, shape: Shape) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    sized = shape.type_name in ("string", "blob", "list", "map")
    if sized or shape.type_name in ("integer", "long", "float", "double"):
        size, what = (len(value), "length") if sized else (value, "value")
        if least is not None and size < least:
            yield f"the {what} is {size}, which is below {least}"
        if most is not None and size > most:
            yield f"the {what} is {size}, which is above {most}"
    if shape.type_name != "string":
        return
    fixed = getattr(shape, "enum", [])
    if fixed and value not in fixed:
        yield f"{_short(value)} is not one of {', '.join(fixed)}"
    pattern = _compiled(shape.metadata.get("pattern", ""))
    if pattern is not None and not pattern.fullmatch(value):
        yield f"{_short(value)} does not have the form {pattern.pattern}"


@functools.cache
def _compiled(pattern: str) -> regex.Pattern[str] | None:
    """The pattern, which is Java's; None where there is none, or only Java reads it."""
    try:
        return regex.compile(pattern.replace(r"\z", r"\Z")) if pattern else None
    except regex.error:
        return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
