"""The model: its algorithm and the days it learns from; `evaluation` has how it is judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mdlc_assets.declaration.base import Declared, refuse
from mdlc_assets.declaration.evaluation import Calibrate, Evaluation, Gate

Algorithm = Literal["logistic_regression", "decision_tree", "random_forest", "gradient_boosting", "xgboost"]


class Windows(Declared):
    """Which days a model as of day D learns from and is judged on; D's end is all it may know.

    The latest event day whose labels are complete is D less the label delay. The `test` days end
    there, before them come `gap` days that are used for nothing, before those the `train` days.
    """

    train_days: int = Field(ge=1, le=366)
    gap_days: int = Field(ge=0, le=90)
    test_days: int = Field(ge=1, le=90)

    @property
    def span_days(self) -> int:
        """Days from the first training day to the last test day, both included."""
        return self.train_days + self.gap_days + self.test_days


class Model(Declared):
    """The algorithm by name, with its hyperparameters, and the protocol around it."""

    algorithm: Algorithm
    hyperparameters: dict[str, Any] = {}
    standardise: bool = Field(default=False, description="Scale each feature to mean 0 and deviation 1.")
    seed: int = 0
    windows: Windows
    refit: bool = Field(
        default=True,
        description="After judging, fit once more on the latest labelled days; that model is registered.",
    )
    entity: str = Field(description="Whose capture the capacity metric counts: the card, the customer.")
    leave_out_known: bool = Field(
        default=False, description="Judge only entities whose fraud was not already known (handbook)."
    )
    least_positives: int = Field(default=10, ge=1, description="With fewer positives to learn from nothing is trained.")
    calibrate: Calibrate | None = None
    evaluation: Evaluation = Evaluation()
    gate: Gate

    @model_validator(mode="after")
    def _days_left_to_learn_from(self) -> Model:
        if self.calibrate and self.calibrate.days >= self.windows.train_days:
            raise refuse(
                f"calibration takes {self.calibrate.days} of {self.windows.train_days} training days",
                "leave at least one to learn from",
                field="calibrate.days",
                value=self.calibrate.days,
            )
        return self

    @model_validator(mode="after")
    def _slices_are_there(self) -> Model:
        for name in self.gate.slices:
            if name not in self.evaluation.slices:
                raise refuse(
                    f"the gate judges a slice {name!r} that is not declared",
                    f"add `{name}: <condition>` under evaluation.slices",
                    field="gate.slices",
                    value=name,
                )
        return self

    @model_validator(mode="after")
    def _seed_once(self) -> Model:
        for name in ("random_state", "seed"):
            if name in self.hyperparameters:
                raise refuse(f"`{name}` stands among the hyperparameters", "write it as `seed:` of the model")
        return self
