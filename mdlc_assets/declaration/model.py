"""The model: its algorithm and the days it learns from; `evaluation` has how it is judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mdlc_assets.declaration.algorithms import CONTAINER, AlgorithmName, SageMakerTraining
from mdlc_assets.declaration.base import Declared, refuse
from mdlc_assets.declaration.evaluation import Calibrate, Evaluation, Gate, Metric
from mdlc_assets.declaration.ranges import Range

Direction = Literal["increasing", "decreasing"]


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


class Search(Declared):
    """A search over hyperparameters, made again for each as-of day and on its training days alone.

    Each trial learns from the training days but the last `judge_days` and is judged on those. What did best is
    then fitted on all training days; the test days play no part in the choice.
    """

    trials: int = Field(ge=1, le=1000)
    judge_days: int = Field(ge=1, description="So many of the last training days judge the trials.")
    maximise: Metric = "average_precision"
    space: dict[str, Range] = Field(min_length=1, description="Hyperparameter: what it may be.")


class Model(Declared):
    """The algorithm by name, with its hyperparameters, and the protocol around it."""

    algorithm: AlgorithmName
    train_on: Literal["here", "sagemaker"] = Field(
        default="here", description="`here`: in the process of the run. `sagemaker`: as a training job."
    )
    sagemaker: SageMakerTraining = SageMakerTraining()
    hyperparameters: dict[str, Any] = {}
    search: Search | None = Field(
        default=None, description="Hyperparameters to be found, on the training days alone, each time a model is made."
    )
    features: list[str] = Field(
        default=[], description="The features it learns from; all that are declared, when empty."
    )
    monotone: dict[str, Direction] = Field(
        default={}, description="Feature: the score may only rise (`increasing`) or only fall with it (`decreasing`)."
    )
    standardise: bool = Field(default=False, description="Scale each feature to mean 0 and deviation 1.")
    seed: int = 0
    windows: Windows
    refit: bool = Field(
        default=True,
        description="After judging, fit once more on the latest labelled days; that model is registered.",
    )
    entity: str = Field(
        default="",
        description="Whose capture the capacity metric counts: the machine, the shop. Without one each event counts "
        "by itself.",
    )
    leave_out_known: bool = Field(
        default=False, description="Judge only entities without a positive that was already known (handbook)."
    )
    least_positives: int = Field(default=10, ge=1, description="With fewer positives to learn from nothing is trained.")
    calibrate: Calibrate | None = None
    evaluation: Evaluation = Evaluation()
    known_days: int | None = Field(
        default=None, ge=1, description="With `leave_out_known`: of the training days only so many, the last, count."
    )
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
        if self.search:
            for name in self.search.space:
                if name in self.hyperparameters:
                    raise refuse(
                        f"`{name}` is both given and searched for",
                        "name it under hyperparameters or under search.space, not both",
                        field=f"search.space.{name}",
                        value=self.search.space[name].spelled(),
                    )
            if self.search.judge_days >= self.windows.train_days:
                raise refuse(
                    f"the search would judge on all {self.windows.train_days} training days and learn from none",
                    "give it fewer judge_days than the windows have train_days",
                    field="search.judge_days",
                    value=self.search.judge_days,
                )
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

    @model_validator(mode="after")
    def _read_here_what_is_worked_on(self) -> Model:
        if not (self.sagemaker.image or self.algorithm.startswith("arn:")):
            return self
        why, mend = "only its own image reads the model", "leave it out, or use an algorithm of the platform's"
        if self.search:
            raise refuse(f"{why}: no trial could be judged", mend, field="search.trials", value=self.search.trials)
        if self.calibrate:
            raise refuse(
                f"{why}: its scores cannot be calibrated", mend, field="calibrate.days", value=self.calibrate.days
            )
        return self
