"""Rules the data must keep: for a row, for an entity from day to day, for a day as a whole, beside other datasets."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from mdlc_assets.declaration.base import Declared, Duration, refuse

Severity = Literal["stop", "error", "warn"]
"""`stop`: the day fails and nothing is made from it. `error` and `warn` let it go on, marked red or yellow."""

Change = Literal["grows_by_day", "never_falls", "constant", "never_sticks", "never_jumps"]


class RowRule(Declared):
    """An expression (Polars SQL) that holds for each good row.

    `quarantine` takes the other rows out; `warn` leaves them in and says how many there are.
    """

    name: str
    holds: str
    reason: str
    severity: Literal["quarantine", "warn"] = "quarantine"
    tolerated_share: float = Field(
        default=0, ge=0, le=1, description="With severity warn: share of the day's rows that may break the rule."
    )
    mend: str = "Ask the owner of the data to correct these rows and send the file again."


class EntityRule(Declared):
    """How a column of one entity may change from one day to a later one.

    `grows_by_day`: the value grows by one for each day that passes, as an age in days does.
    `never_falls`: the value never gets smaller. `constant`: the value never changes.
    `never_sticks`: it is not the same on `stuck_days` days on end that the entity is seen.
    `never_jumps`: it moves by at most `max_change` for each day that passes.
    """

    name: str
    entity: str
    column: str
    change: Change
    max_change: float | None = Field(default=None, gt=0, description="With never_jumps: the most for a day.")
    stuck_days: int = Field(default=3, ge=2, le=30, description="With never_sticks: so many days are too many.")
    tolerated_share: float = Field(
        default=0.001, ge=0, le=1, description="Share of the day's entities that may break the rule."
    )
    look_back_days: int = Field(default=7, ge=1, le=60)
    severity: Severity = "stop"
    mend: str = Field(description="What the person who is called should do.")

    @model_validator(mode="after")
    def _fits_its_change(self) -> EntityRule:
        if (self.max_change is None) == (self.change == "never_jumps"):
            mend = "add `max_change: ...`" if self.max_change is None else "use it with `change: never_jumps` only"
            raise refuse(
                f"`change: {self.change}` and max_change do not go together",
                mend,
                field="max_change",
                value=self.max_change,
            )
        if self.change == "never_sticks" and self.stuck_days > self.look_back_days + 1:
            raise refuse(
                "the rule does not look back far enough to see a value stick",
                f"give it look_back_days of at least {self.stuck_days - 1}",
                field="look_back_days",
                value=self.look_back_days,
            )
        return self


class VolumeRule(Declared):
    """A day's row count, and its hours, against the median of the days before it."""

    min_ratio: float = Field(default=0.6, gt=0, le=1)
    max_ratio: float = Field(default=1.6, ge=1)
    no_empty_hours: bool = Field(default=True, description="No hour may be empty that never was before.")
    look_back_days: int = Field(default=14, ge=3, le=60)
    severity: Severity = "stop"


class UsualRule(Declared):
    """Each daily metric against its own history on the same weekday.

    A metric is unusual when it is off by `scatters` times its usual scatter, and by `least_change` of its usual
    value (a share of rows: by `least_share`). Seven tenths of the scatters are enough on two days running.
    """

    columns: list[str] = Field(default=[], description="Columns whose metrics are judged; all when none is named.")
    look_back_days: int = Field(default=42, ge=7, le=120)
    scatters: float = Field(default=5, ge=3, le=20)
    least_change: float = Field(default=0.05, gt=0, description="Relative change below which nothing is said.")
    least_share: float = Field(default=0.005, gt=0, lt=1, description="The same for shares of rows, in points.")
    stop_change: float | None = Field(
        default=None,
        gt=0,
        description="The day stops, whatever the severity, when a quartile has risen, or fallen, by this factor more: "
        "with 3 to four times what is usual, or a quarter.",
    )
    severity: Severity = "warn"


class RepeatRule(Declared):
    """Events that come again: an id of an earlier day, or a row that but for id and date was there before."""

    look_back_days: int = Field(default=7, ge=1, le=30)
    tolerated_share: float = Field(default=0.001, ge=0, le=1)
    severity: Severity = "stop"
    mend: str = "Ask the owner of the data for the day's own file: these rows were sent before."


class ReferenceRule(Declared):
    """Each value of a column exists in another dataset, which lands as snapshots in a folder of its name."""

    name: str
    column: str
    dataset: str = Field(description="Folder in the landing zone; the newest file up to the day is used.")
    dataset_column: str = Field(default="", description="Its column; as ours unless declared.")
    tolerated_share: float = Field(default=0, ge=0, le=1, description="Share of the day's rows without a match.")
    severity: Severity = "stop"
    mend: str = Field(description="What the person who is called should do.")


class AgreementRule(Declared):
    """A second source of the same day says the same: as many rows, the same sums, the same values for each id."""

    name: str
    dataset: str = Field(description="Folder in the landing zone with a file for each day.")
    id: str = Field(default="", description="Its id column, to compare row by row; without it totals are compared.")
    columns: dict[str, str] = Field(default={}, description="Our column: its column.")
    tolerated_share: float = Field(default=0.001, ge=0, le=1, description="Share of rows, or of a total.")
    required: bool = Field(default=False, description="A day without the second source's file breaks the rule.")
    severity: Severity = "error"
    mend: str = Field(description="What the person who is called should do.")


class LabelsRule(Declared):
    """The labels of a day are there once their delay and `grace` have passed."""

    grace: Duration = timedelta(days=1)
    tolerated_share: float = Field(default=0.02, ge=0, le=1, description="Share of events whose label may be late.")
    severity: Severity = "warn"
    mend: str = "Ask whoever confirms labels what holds them up; until they come, no metric of that day is final."


class Quality(Declared):
    """All rules of a dataset. `max_quarantined` is the share of a day's rows beyond which the day stops."""

    rows: list[RowRule] = []
    entities: list[EntityRule] = []
    volume: VolumeRule = VolumeRule()
    usual: UsualRule | None = None
    repeats: RepeatRule | None = None
    references: list[ReferenceRule] = []
    agreements: list[AgreementRule] = []
    labels: LabelsRule | None = None
    max_quarantined: float = Field(default=0.02, ge=0, le=1)
