"""Monitors of inputs and outputs, and the policy that says when to retrain."""

from __future__ import annotations

from pydantic import Field, model_validator

from mdlc_assets.declaration.base import Declared, refuse
from mdlc_assets.declaration.evaluation import Measured, Metric


class OpenLoop(Declared):
    """Inputs and scores against a reference, no labels needed.

    `distance` is Jensen-Shannon's (0 to 1); `carried` is Wasserstein's, in deviations of the reference. Both count
    beyond what the reference's own days show. From `alarm_...` on a day is marked, and alarms when enough of
    three days agree; from `gross_...` on it alarms at once.
    """

    reference_days: int = Field(default=28, ge=7, le=120, description="Healthy days to compare with.")
    alarm_distance: float = Field(default=0.03, gt=0, le=1)
    gross_distance: float = Field(default=0.1, gt=0, le=1)
    alarm_carried: float = Field(default=0.1, gt=0)
    gross_carried: float = Field(default=0.3, gt=0)
    false_discovery_rate: float = Field(default=0.01, gt=0, lt=0.5)
    days_in_three: int = Field(default=2, ge=1, le=3, description="Alarm when so many of 3 days agree.")

    @model_validator(mode="after")
    def _gross_is_more(self) -> OpenLoop:
        for kind in ("distance", "carried"):
            alarm, gross = getattr(self, f"alarm_{kind}"), getattr(self, f"gross_{kind}")
            if gross < alarm:
                raise refuse(
                    f"gross_{kind} {gross:g} is less than alarm_{kind} {alarm:g}",
                    f"write a gross_{kind} of at least {alarm:g}",
                    field=f"gross_{kind}",
                    value=gross,
                )
        return self


class ClosedLoop(Declared):
    """Predictions against labels once they have arrived."""

    metrics: list[Measured] = ["auc_roc", "average_precision", "card_precision_100"]
    slices: dict[str, str] = Field(
        default={}, description="Name: which events are judged by themselves, in Polars SQL over features."
    )
    calibration_days: int = Field(default=28, ge=7, le=120, description="Days over which calibration is judged.")
    calibration_low: float = Field(default=0.8, gt=0, lt=1, description="Realised / expected must not be below.")
    calibration_high: float = Field(default=1.25, gt=1, description="Realised / expected must not be above.")


class Retrain(Declared):
    """When a new model is asked for. Broken data never leads to retraining."""

    metric: Metric = "average_precision"
    drop: float = Field(default=0.1, gt=0, description="Below what the gate promised by at least this.")
    for_days: int = Field(default=7, ge=1, description="Judged over this many labelled days together.")
    estimated_drop: float = Field(
        default=0.1, gt=0, description="Of the estimate without labels; counts only together with scores that moved."
    )
    fresh_labelled_days: int = Field(
        default=5, ge=1, description="Days since the drop began that must have labels, to learn from."
    )
    cool_down_days: int = Field(default=7, ge=1, description="No second request so soon.")
    budget: int = Field(default=4, ge=1, description="At most this many trainings in `budget_days`.")
    budget_days: int = Field(default=90, ge=1)
    max_age_days: int = Field(default=90, ge=1, description="Retrain at this age whatever happens.")


class Online(Declared):
    """What the decision service answered, watched beside the batch path's predictions."""

    fewest_events: int = Field(default=200, ge=50, description="A day with fewer is not judged.")
    retrain: bool = Field(default=False, description="The retrain policy acts on online traffic as on batch.")


class Monitoring(Declared):
    open_loop: OpenLoop = OpenLoop()
    closed_loop: ClosedLoop = ClosedLoop()
    retrain: Retrain = Retrain()
    online: Online = Online()
