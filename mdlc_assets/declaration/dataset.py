"""The dataset: its columns, where its rows may come from under other names, and its late labels."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Literal

from pydantic import Field, model_validator

from mdlc_assets.declaration.base import Declared, Duration, refuse
from mdlc_assets.declaration.errors import closest

ColumnType = Literal["integer", "float", "boolean", "string", "timestamp"]

_FEED = re.compile(r"^[a-z][a-z0-9_]{1,40}$")
# Feeds and tables of a lifecycle, beside which an attribute table lies.
_OTHER_TABLES = frozenset(
    {
        *("transactions", "labels", "raw", "validated", "quarantine", "daily_metrics", "quality_report"),
        *("features", "feature_state", "online_features", "training_set", "candidate_model", "evaluation"),
        *("champion", "endpoint", "batch_predictions", "decisions"),
    }
)


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

    column: str = ""
    delay: Duration = timedelta(0)
    kind: Literal["event", "number", "none"] = Field(
        default="event",
        description="`event`: it happened or not, 1 or 0. `number`: a quantity, such as units sold, to be foretold. "
        "`none`: nobody ever says, as in a lifecycle without `labels`.",
    )
    positive: str = Field(default="", description="What a label of 1 means, in words; of a number, what it counts.")
    positive_values: list[str] = Field(
        default=[],
        description="What stands in the files for 1, such as `yes`; anything else there counts as 0. Without it the "
        "files have 0 and 1.",
    )

    @model_validator(mode="after")
    def _said_or_absent(self) -> Labels:
        given = self.model_fields_set - {"kind"}
        if self.kind == "none":
            if given:
                raise refuse("labels of `kind: none` have nothing else", "leave `labels` out, or say what they are")
            return self
        for name, mend in (
            ("column", "write `column: <name>`"),
            ("delay", "write how late they are known, such as `delay: 7d`"),
            ("positive", "write in words what they say"),
        ):
            if name not in given or (not getattr(self, name) and name != "delay"):
                raise refuse(f"labels need a {name}", mend, field=name, value=None)
        return self

    @property
    def delay_days(self) -> int:
        """The delay in days, a part of a day counting whole."""
        return -(-self.delay // timedelta(days=1))

    @property
    def columns(self) -> list[str]:
        """The label's column; none where there are no labels."""
        return [self.column] if self.column else []


class Source(Declared):
    """A place rows come from whose columns have other names than ours."""

    columns: dict[str, str] = Field(description="Our name: the name in the files.")
    ignore: list[str] = Field(default=[], description="Columns in the files that are not wanted.")
    absent: list[str] = Field(default=[], description="Our optional columns that this source lacks.")
    constants: dict[str, str] = Field(
        default={},
        description="Our text columns that this source lacks, and what stands in each of its rows instead.",
    )
    labels_inline: bool = Field(
        default=False,
        description="The label stands beside the event; it counts as known only after the label delay.",
    )
    time_zone: str = Field(default="UTC", description="Zone of timestamps written without one.")
    id_from_row: bool = Field(
        default=False,
        description="These files have no id: it is a digest of the row, so that a file sent again has the same ids.",
    )


class Attributes(Declared):
    """What is known of an entity and changes slowly, such as a machine's type.

    It lands as files of changes, in a feed of its own: the entity, `known_at`, and the columns. Each event gets
    the version with the greatest `known_at` at or before its instant, nulls before the first.
    """

    entity: str = Field(description="The dataset's column that names the entity.")
    columns: dict[str, Column] = Field(min_length=1)


class Dataset(Declared):
    """A stream of events, one row each, landing as files day by day."""

    description: str
    start: date
    end: date | None = Field(default=None, description="Last day of data (included); open when absent.")
    id: str = Field(description="The column that identifies an event.")
    time: str = Field(description="The column with the instant of the event, kept in UTC.")
    columns: dict[str, Column]
    attributes: dict[str, Attributes] = Field(
        default={}, description="By the name of their feed: what is known of entities besides their events."
    )
    sources: dict[str, Source] = {}
    fresh_within: Duration = Field(
        default=timedelta(hours=36),
        description="A day's file should be there this long after the day began.",
    )

    quiet_days: bool = Field(
        default=False,
        description="A day without a file, but with files after it, is a day without events, such as a Sunday.",
    )

    @property
    def validated_columns(self) -> dict[str, Column]:
        """The columns of an event, and those of its entities' attributes behind them."""
        joined = {name: column for known in self.attributes.values() for name, column in known.columns.items()}
        return {**self.columns, **joined}

    @model_validator(mode="after")
    def _known_attributes(self) -> Dataset:
        taken = set(self.columns)
        for feed, known in self.attributes.items():
            field = f"attributes.{feed}"
            if not _FEED.match(feed) or feed in _OTHER_TABLES:
                raise refuse(
                    f"attributes cannot be called {feed!r}: their feed and table get this name",
                    "use lower-case letters, digits and underscores, and no name of another table, such as machines",
                    field=field,
                    value=feed,
                )
            if known.entity not in self.columns:
                raise refuse(
                    "the dataset has no such column",
                    f"use one of {', '.join(self.columns)}",
                    field=f"{field}.entity",
                    value=known.entity,
                )
            for name in known.columns:
                if name in taken or name == "known_at":
                    raise refuse(
                        f"column {name!r} is there already",
                        "give the attribute another name",
                        field=f"{field}.columns",
                        value=name,
                    )
            taken |= set(known.columns)
        return self

    @model_validator(mode="after")
    def _known_columns(self) -> Dataset:
        for role, name in (("id", self.id), ("time", self.time)):
            if name not in self.columns:
                close = closest(name, list(self.columns))
                raise refuse(
                    f"`{role}: {name}` is not among the dataset's columns",
                    f"write {close!r}, or declare {name!r} under columns"
                    if close
                    else f"declare {name!r} under columns, or name one of {', '.join(self.columns)}",
                    field=role,
                    value=name,
                )
        if self.columns[self.time].type != "timestamp":
            raise refuse(
                f"the time column {self.time!r} has type {self.columns[self.time].type}",
                "give it `type: timestamp`",
            )
        if self.end and self.end < self.start:
            raise refuse(f"end {self.end} is before start {self.start}", "put end on or after start")
        return self
