"""Monitors of inputs and outputs, and the policy that says when to retrain."""

from __future__ import annotations

from pydantic import Field

from mdlc_assets.declaration.base import Declared
from mdlc_assets.declaration.evaluation import Metric


class OpenLoop(Declared):
    """Inputs and scores against a reference, no labels needed. Distance: Jensen-Shannon, 0 to 1."""

    reference_days: int = Field(default=28, ge=7, le=120)
    alarm_distance: float = Field(default=0.1, gt=0, le=1)
    false_discovery_rate: float = Field(default=0.01, gt=0, lt=0.5)
    days_in_three: int = Field(default=2, ge=1, le=3, description="Alarm when so many of 3 days agree.")


class ClosedLoop(Declared):
    """Predictions against labels once they have arrived."""

    metrics: list[Metric] = ["auc_roc", "average_precision", "card_precision_100"]


class Retrain(Declared):
    """When a new model is asked for. Broken data never leads to retraining."""

    metric: Metric = "average_precision"
    drop: float = Field(default=0.1, gt=0, description="Below what the gate promised by at least this.")
    for_days: int = Field(default=3, ge=1, description="On this many labelled days together.")
    fresh_labelled_days: int = Field(
        default=5, ge=1, description="Days since the drop began that must have labels, to learn from."
    )
    cool_down_days: int = Field(default=7, ge=1, description="No second request so soon.")
    max_age_days: int = Field(default=90, ge=1, description="Retrain at this age whatever happens.")


class Monitoring(Declared):
    open_loop: OpenLoop = OpenLoop()
    closed_loop: ClosedLoop = ClosedLoop()
    retrain: Retrain = Retrain()
