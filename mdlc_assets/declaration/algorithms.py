"""The algorithm by one name, and the machines it trains on."""

from __future__ import annotations

import difflib
import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from mdlc_assets.declaration.base import Declared, Duration, refuse

REGRESSIONS = (
    *("xgboost_regression", "gradient_boosting_regression", "random_forest_regression"),
    *("linear_regression", "poisson_regression"),
)
"""Those that foretell a number."""
IN_PROCESS = (
    *("xgboost", "logistic_regression", "linear_classifier", "decision_tree", "random_forest", "gradient_boosting"),
    *("nearest_neighbours", "isolation_forest", "k_means", "principal_components"),
    *REGRESSIONS,
)
"""scikit-learn and XGBoost."""
BUILT_IN = (
    *("linear-learner", "sagemaker-xgboost", "kmeans", "knn", "pca", "factorization-machines", "object2vec"),
    *("forecasting-deepar", "randomcutforest", "ipinsights", "image-classification", "object-detection"),
    *("semantic-segmentation", "seq2seq", "lda", "ntm", "blazingtext"),
)
"""SageMaker's own, by the names of their images."""
CONTAINER = "container"
_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_ARN = re.compile(r"^arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:algorithm/\S+$")


def _known(value: str) -> str:
    if value in (*IN_PROCESS, *BUILT_IN, CONTAINER) or _FUNCTION.match(value) or _ARN.match(value):
        return value
    close = difflib.get_close_matches(value, [*IN_PROCESS, *BUILT_IN], n=1)
    known = ", ".join((*IN_PROCESS, *BUILT_IN, CONTAINER))
    raise refuse(
        f"there is no algorithm {value!r}",
        f"write {close[0]!r}" if close else f"use one of {known}, a Marketplace ARN, or package.module:function",
    )


AlgorithmName = Annotated[str, AfterValidator(_known)]
"""A name of ours or of SageMaker's, `container`, the ARN of a Marketplace algorithm, or `package.module:function`."""


def algorithm_kind(name: str) -> str:
    """A short word for the algorithm: its name, `marketplace` for an ARN, `python` for a function."""
    if name.startswith("arn:"):
        return "marketplace"
    return "python" if ":" in name else name


class SageMakerTraining(Declared):
    """The machines of a training job, and what it may cost at most."""

    instance_type: str = Field(default="ml.m5.xlarge", pattern=r"^ml\.[a-z0-9\-]+\.[a-z0-9]+$")
    instance_count: int = Field(default=1, ge=1, le=100)
    volume_gb: int = Field(default=30, ge=1, le=16_384)
    spot: bool = Field(default=False, description="Spare machines at a lower price, which may be taken away.")
    max_runtime: Duration = Field(default=timedelta(hours=1), description="Training longer than this is stopped.")
    max_wait: Duration | None = Field(
        default=None, description="With spot: runtime and waiting together; twice the runtime when nothing is said."
    )
    image: str = Field(default="", description="With `algorithm: container`: the team's own image.")
    image_region: str = Field(default="", description="Where AWS's image is taken from, when not the job's region.")

    @model_validator(mode="after")
    def _times_agree(self) -> SageMakerTraining:
        if self.max_wait is not None and not self.spot:
            raise refuse("only spot training waits", "write `spot: true`, or leave `max_wait` out")
        if self.max_wait is not None and self.max_wait < self.max_runtime:
            raise refuse("waiting includes the runtime", "write a `max_wait` of at least `max_runtime`")
        return self

    @property
    def wait(self) -> timedelta:
        """Runtime and waiting together."""
        return self.max_wait or 2 * self.max_runtime
