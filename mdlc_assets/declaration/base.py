"""What every declared model shares: unknown fields are refused, values cannot change after reading."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic_core import PydanticCustomError

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"^\s*(\d+)\s*([smhdw])\s*$")


class Declared(BaseModel):
    """Base of everything in a declaration."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def refuse(message: str, mend: str, *, field: str = "", value: object = None) -> PydanticCustomError:
    """The error a validator raises: `message` says what is wrong, `mend` what to write instead.

    `field` (dotted, below the model that refuses) and `value` point closer than the model as a whole.
    """
    said = f"{message}. Mend: {mend}"
    context = {"message": message, "mend": mend, "field": field, "value": repr(value) if field else "", "error": said}
    # Dagster, which tells where in the YAML of a project it stands, knows pydantic's own kinds alone.
    return PydanticCustomError("value_error", "{error}", context)


def parse_duration(value: Any) -> timedelta:
    """`"90s"`, `"15m"`, `"1h"`, `"7d"`, `"2w"` as a timedelta; a timedelta stays what it is."""
    if isinstance(value, timedelta):
        return value
    found = _DURATION.match(str(value))
    if not found:
        raise refuse(
            f"{value!r} is not a duration",
            "write a whole number and a unit: 90s, 15m, 1h, 7d or 2w",
        )
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def duration_name(value: timedelta) -> str:
    """The shortest spelling of a duration: `timedelta(days=7)` is `"7d"`. Weeks are written as days."""
    seconds = int(value.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=str),
    PlainSerializer(duration_name, return_type=str),
]
"""A span of time, written `7d`, `12h`, `30m`, `90s` or `2w`."""
