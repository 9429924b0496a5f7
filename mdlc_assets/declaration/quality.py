"""Rules the data must keep: for a row, for an entity from day to day, for a day as a whole."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mdlc_assets.declaration.base import Declared

Severity = Literal["stop", "warn"]


class RowRule(Declared):
    """An expression (Polars SQL) that holds for each good row; the others go to quarantine."""

    name: str
    holds: str
    reason: str


class EntityRule(Declared):
    """How a column of one entity may change from one day to a later one.

    `grows_by_day`: the value grows by one for each day that passes, as an age in days does.
    `never_falls`: the value never gets smaller. `constant`: the value never changes.
    """

    name: str
    entity: str
    column: str
    change: Literal["grows_by_day", "never_falls", "constant"]
    tolerated_share: float = Field(
        default=0.001, ge=0, le=1, description="Share of the day's entities that may break the rule."
    )
    look_back_days: int = Field(default=7, ge=1, le=60)
    severity: Severity = "stop"
    mend: str = Field(description="What the person who is called should do.")


class VolumeRule(Declared):
    """A day's row count, and its hours, against the median of the days before it."""

    min_ratio: float = Field(default=0.6, gt=0, le=1)
    max_ratio: float = Field(default=1.6, ge=1)
    no_empty_hours: bool = Field(default=True, description="No hour may be empty that never was before.")
    look_back_days: int = Field(default=14, ge=3, le=60)
    severity: Severity = "stop"


class Quality(Declared):
    """All rules of a dataset. `max_quarantined` is the share of a day's rows beyond which the day stops."""

    rows: list[RowRule] = []
    entities: list[EntityRule] = []
    volume: VolumeRule = VolumeRule()
    max_quarantined: float = Field(default=0.02, ge=0, le=1)
