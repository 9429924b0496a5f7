"""How a candidate is judged: intervals, slices, costs, capacity, and the gate it must pass."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mdlc_assets.declaration.base import Declared, refuse

_RANKINGS = ("auc_roc", "average_precision")
_LOSSES = ("brier", "log_loss", "expected_calibration_error")
# Of foretold numbers.
NUMBER_GAINS = ("r2", "gain_over_baseline")
NUMBER_LOSSES = ("mae", "rmse", "wape")
# Of what nobody says right or wrong of.
UNLABELLED_GAINS = ("separation", "silhouette", "smallest_share")
UNLABELLED_LOSSES = ("exceeding", "davies_bouldin")
_CAPACITY = re.compile(r"^card_precision_([1-9]\d{0,5})$")
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,40}$")


def capacity_of(metric: str) -> int | None:
    """The k of `card_precision_k`; None for any other metric."""
    found = _CAPACITY.match(metric)
    return int(found[1]) if found else None


def _metric(name: str) -> str:
    if name in (*_RANKINGS, *NUMBER_GAINS, *UNLABELLED_GAINS) or capacity_of(name):
        return name
    if name in (*_LOSSES, *NUMBER_LOSSES, *UNLABELLED_LOSSES):
        raise refuse(f"{name!r} is better when it is lower", "write it under `ceilings:` of the gate")
    known = [*_RANKINGS, "card_precision_100", *NUMBER_GAINS, *UNLABELLED_GAINS]
    close = difflib.get_close_matches(name, known, n=1)
    raise refuse(
        f"{name!r} is not a metric",
        f"write {close[0]!r}"
        if close
        else f"use {', '.join(_RANKINGS)} or card_precision_<entities a day>; for numbers {', '.join(NUMBER_GAINS)}; "
        f"without labels {', '.join(UNLABELLED_GAINS)}",
    )


def _measured(name: str) -> str:
    return name if name in (*_LOSSES, *NUMBER_LOSSES) else _metric(name)


def needs_no_labels(metric: str) -> bool:
    """Whether the metric judges how scores or clusters lie, whatever was right."""
    return metric in (*UNLABELLED_GAINS, *UNLABELLED_LOSSES)


def is_of_numbers(metric: str) -> bool:
    """Whether the metric judges foretold numbers; the others judge scores of what happens or not."""
    return metric in (*NUMBER_GAINS, *NUMBER_LOSSES)


Metric = Annotated[str, AfterValidator(_metric)]
"""A metric that is better when higher: `auc_roc`, `average_precision`, or `card_precision_<entities a day>`; of numbers
`r2` and `gain_over_baseline`."""

Loss = Literal["brier", "log_loss", "expected_calibration_error", "mae", "rmse", "wape", "exceeding", "davies_bouldin"]
"""A metric that is better when lower; `mae`, `rmse` and `wape` are of numbers, the last two need no labels."""

Measured = Annotated[str, AfterValidator(_measured)]
"""Any metric, to be looked at."""


class Intervals(Declared):
    """Bootstrap intervals. Events of one entity, or of one day, stand and fall together: they are what is drawn."""

    by: Literal["entity", "day"] = "entity"
    resamples: int = Field(default=1000, ge=100, le=20_000)
    level: float = Field(default=0.95, ge=0.5, le=0.999)


class Costs(Declared):
    """What a mistake costs, in one unit: a number, or a Polars SQL expression of the event, such as `amount`."""

    miss: float | str
    false_alarm: float | str


class Calibrate(Declared):
    """Scores that mean what they say: a map learnt on the last of the training days, which the model does not see."""

    method: Literal["isotonic", "platt"] = Field(description="`platt` for few positives, `isotonic` for hundreds.")
    days: int = Field(default=3, ge=1, le=60)


class Evaluation(Declared):
    """What an evaluation looks at besides the metrics themselves."""

    intervals: Intervals = Intervals()
    slices: dict[str, str] = Field(
        default={}, description="Name: a condition in Polars SQL over the features, the entity and the time."
    )
    costs: Costs | None = Field(default=None, description="Chooses the threshold with the least cost.")
    capacity: int | None = Field(
        default=100, ge=1, description="Entities that can be looked at in a day; chooses the threshold that fills it."
    )
    bins: int = Field(default=10, ge=2, le=100, description="Bins of the reliability curve.")
    share: float = Field(
        default=0.01, gt=0, lt=0.5, description="Without labels: so many of the events are taken for strange."
    )
    baseline: str | None = Field(
        default=None,
        description="Of a number: the feature that foretells it without a model, such as the value a week ago. "
        "`gain_over_baseline` is how much of its absolute error the model saves.",
    )

    @model_validator(mode="after")
    def _names(self) -> Evaluation:
        for name in self.slices:
            if not _NAME.match(name):
                raise refuse(
                    f"{name!r} cannot be the name of a slice",
                    "use lower-case letters, digits and underscores, a letter first",
                    field="slices",
                    value=name,
                )
        return self


class SliceGate(Declared):
    """What a slice must reach, so that a gain for most does not hide a loss for some."""

    floors: dict[Metric, float] = {}
    may_lose: float | None = Field(default=None, ge=0, description="Against the champion on the slice; null: anything.")
    least_positives: int = Field(default=10, ge=1, description="With fewer positives the slice is not judged.")


class Gate(Declared):
    """What a candidate must reach before it may serve."""

    floors: dict[Metric, float] = Field(default={}, description="Metric: the least that is acceptable.")
    ceilings: dict[Loss, float] = Field(default={}, description="Metric that is better when lower: the most.")
    calibration: tuple[float, float] | None = Field(
        default=None,
        description="Bounds of positives there were to positives that the scores expect: [0.8, 1.25].",
    )
    compare_by: Metric = "average_precision"
    may_lose: float = Field(
        default=0.01, ge=0, description="No worse than the champion on the same days by more than this."
    )
    certain: bool = Field(
        default=False, description="Hold the whole interval of the difference against `may_lose`, not its middle."
    )
    least_positives: int = Field(default=10, ge=1, description="With fewer positives on the test days nothing passes.")
    slices: dict[str, SliceGate] = Field(default={}, description="Slice of the evaluation: what it must reach.")
    approval: Literal["policy", "person"] = Field(
        default="person",
        description="`policy`: what passes is approved at once. `person`: somebody runs `mdlc approve`.",
    )

    @model_validator(mode="after")
    def _bounds(self) -> Gate:
        if self.calibration and not 0 <= self.calibration[0] < self.calibration[1]:
            raise refuse(
                "the bounds of calibration are not in order",
                "write the lower bound first, such as [0.8, 1.25]",
                field="calibration",
                value=list(self.calibration),
            )
        return self

    def metrics(self) -> list[str]:
        """All metrics that the gate looks at, each once."""
        named = [*self.floors, *self.ceilings, self.compare_by]
        return list(dict.fromkeys([*named, *(metric for part in self.slices.values() for metric in part.floors)]))
