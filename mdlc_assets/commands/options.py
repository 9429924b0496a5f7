"""What options and answers mean: a span of time, a zone. What cannot be read is asked again, or refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click


class _Duration(click.ParamType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from pydantic_core import PydanticCustomError

        from mdlc_assets.declaration.base import parse_duration

        try:
            return parse_duration(value)
        except PydanticCustomError as error:
            said = error.context or {}
            self.fail(f"{said['message']}. Mend: {said['mend']}.", param, ctx)


class _Zone(click.ParamType):
    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from zoneinfo import available_timezones

        from mdlc_assets.declaration.errors import closest

        known = available_timezones()
        if value in known:
            return str(value)
        close = closest(str(value), sorted(known)) or "Europe/Brussels"
        self.fail(f"there is no zone {value!r}. Mend: write {close!r}, or another of that kind.", param, ctx)


class OneOf(click.Choice[str]):
    """A choice that proposes the one that was meant."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        from mdlc_assets.declaration.errors import closest

        said, close = super().get_invalid_choice_message(value, ctx), closest(str(value), list(self.choices))
        return f"{said.rstrip('.')}. Mend: write {close!r}." if close else said


DURATION, ZONE = _Duration(), _Zone()
