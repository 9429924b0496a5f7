"""What a hyperparameter that is searched for may be."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from mdlc_assets.declaration.base import Declared, refuse


class Range(Declared):
    """What one hyperparameter may be: exactly one of whole numbers, numbers, or a list of values."""

    integer: tuple[int, int] | None = Field(default=None, description="The least and the greatest whole number.")
    number: tuple[float, float] | None = Field(default=None, description="The least and the greatest number.")
    choice: list[Any] | None = Field(default=None, min_length=1, description="One of these values.")
    log: bool = Field(default=False, description="Try as many values between 1 and 10 as between 10 and 100.")

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        kinds = [name for name in ("integer", "number", "choice") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise refuse(
                f"a range has exactly one kind, this one has {', '.join(kinds) or 'none'}",
                "write one of integer: [2, 6], number: [0.01, 0.3] or choice: [256, 1024]",
            )
        ends = self.integer or self.number
        if ends is None:
            if self.log:
                raise refuse("a choice has no scale", "leave `log` out")
            return self
        if ends[0] > ends[1]:
            raise refuse(
                f"{ends[0]} is greater than {ends[1]}", "write the least value first", field=kinds[0], value=ends
            )
        if self.log and ends[0] <= 0:
            raise refuse(
                f"a logarithmic range cannot begin at {ends[0]}",
                "begin above 0, or leave `log` out",
                field=kinds[0],
                value=ends,
            )
        return self

    def spelled(self) -> str:
        """As a person would write it."""
        if self.choice is not None:
            return f"one of {', '.join(map(str, self.choice))}"
        low, high = self.integer or self.number  # type: ignore[misc]
        return f"{low} to {high}" + (", logarithmic" if self.log else "")
