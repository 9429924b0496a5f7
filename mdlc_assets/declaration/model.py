"""The model: its algorithm, the days it learns from, and the gate it must pass."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mdlc_assets.declaration.algorithms import CONTAINER, AlgorithmName, SageMakerTraining
from mdlc_assets.declaration.base import Declared, refuse

Metric = Literal["auc_roc", "average_precision", "card_precision_100"]


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


class Gate(Declared):
    """What a candidate must reach before it may serve."""

    floors: dict[Metric, float] = Field(description="Metric: the least that is acceptable.")
    compare_by: Metric = "average_precision"
    may_lose: float = Field(
        default=0.01, ge=0, description="No worse than the champion on the same days by more than this."
    )
    approval: Literal["policy", "person"] = Field(
        default="person",
        description="`policy`: what passes is approved at once. `person`: somebody runs `mdlc approve`.",
    )


class Model(Declared):
    """The algorithm by name, with its hyperparameters, and the protocol around it."""

    algorithm: AlgorithmName
    train_on: Literal["here", "sagemaker"] = Field(
        default="here", description="`here`: in the process of the run. `sagemaker`: as a training job."
    )
    sagemaker: SageMakerTraining = SageMakerTraining()
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
    gate: Gate

    @model_validator(mode="after")
    def _seed_once(self) -> Model:
        for name in ("random_state", "seed"):
            if name in self.hyperparameters:
                raise refuse(f"`{name}` stands among the hyperparameters", "write it as `seed:` of the model")
        return self

    @model_validator(mode="after")
    def _trained_where_it_can(self) -> Model:
        if self.train_on == "here" and (self.algorithm == CONTAINER or self.algorithm.startswith("arn:")):
            raise refuse(f"{self.algorithm} does not train in this process", "write `train_on: sagemaker`")
        if (self.algorithm == CONTAINER) != bool(self.sagemaker.image):
            raise refuse(
                "`algorithm: container` and `sagemaker.image` belong together", "write both of them, or neither"
            )
        return self
