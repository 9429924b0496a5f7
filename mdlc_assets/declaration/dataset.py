"""The dataset: its columns, where its rows may come from under other names, and its late labels."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from pydantic import Field, model_validator

from mdlc_assets.declaration.base import Declared, Duration, refuse

ColumnType = Literal["integer", "float", "boolean", "string", "timestamp"]


class Column(Declared):
    """One column of the validated dataset, and what a single value of it must satisfy."""

    type: ColumnType
    description: str = ""
    unit: str | None = None
    nullable: bool = False
    unique: bool = False
    min: float | None = None
    max: float | None = None
    allowed: list[str | int] | None = None
    decimals: int | None = Field(
        default=None,
        ge=0,
        le=9,
        description="Money and the like: at most so many decimals, so that sums stay in whole numbers.",
    )
    optional: bool = Field(
        default=False,
        description="Some sources do not have this column; there it is null and nothing is checked.",
    )


class Labels(Declared):
    """What really happened, learnt `delay` after the event."""

    column: str
    delay: Duration
    positive: str = Field(description="What a label of 1 means, in words.")

    @property
    def delay_days(self) -> int:
        """The delay in days, a part of a day counting whole."""
        return -(-self.delay // timedelta(days=1))


class Source(Declared):
    """A place rows come from whose columns have other names than ours."""

    columns: dict[str, str] = Field(description="Our name: the name in the files.")
    ignore: list[str] = Field(default=[], description="Columns in the files that are not wanted.")
    absent: list[str] = Field(default=[], description="Our optional columns that this source lacks.")
    labels_inline: bool = Field(
        default=False,
        description="The label stands beside the event; it counts as known only after the label delay.",
    )
    time_zone: str = Field(default="UTC", description="Zone of timestamps written without one.")


class Dataset(Declared):
    """A stream of events, one row each, landing as files day by day."""

    description: str
    start: date
    end: date | None = Field(default=None, description="Last day of data (included); open when absent.")
    id: str = Field(description="The column that identifies an event.")
    time: str = Field(description="The column with the instant of the event, kept in UTC.")
    columns: dict[str, Column]
    sources: dict[str, Source] = {}
    fresh_within: Duration = Field(
        default=timedelta(hours=36),
        description="A day's file should be there this long after the day began.",
    )

    @model_validator(mode="after")
    def _known_columns(self) -> Dataset:
        for role, name in (("id", self.id), ("time", self.time)):
            if name not in self.columns:
                raise refuse(
                    f"`{role}: {name}` is not among the dataset's columns",
                    f"declare {name!r} under columns, or name one of {', '.join(self.columns)}",
                )
        if self.columns[self.time].type != "timestamp":
            raise refuse(
                f"the time column {self.time!r} has type {self.columns[self.time].type}",
                "give it `type: timestamp`",
            )
        if self.end and self.end < self.start:
            raise refuse(f"end {self.end} is before start {self.start}", "put end on or after start")
        return self
