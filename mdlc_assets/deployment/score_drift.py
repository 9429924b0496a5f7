"""How far the scores of a version that is to serve lie from those of the one that serves, on the same rows.

SageMaker measures no scores, so on AWS the alarm of a rollout hears this number while the rollout is under way.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.endpoint_alarms import SCORE_BINS, score_distance
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry, Version
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.resources.sagemaker.jobs import Pace
from mdlc_assets.resources.sagemaker.rollout import served_version
from mdlc_assets.resources.sagemaker.score_drift import publish_score_drift
from mdlc_assets.training.algorithms import FittedModel
from mdlc_assets.training.foreign import ForeignModel, load_any_model


def score_drift(new: FittedModel, old: FittedModel, rows: pl.DataFrame) -> float | None:
    """The total variation distance over the endpoint's own bins.

    None where an image of its own scores, or where there are too few rows to say.
    """
    if isinstance(new, ForeignModel) or isinstance(old, ForeignModel):
        return None
    return score_distance(_histogram(new.score(rows)), _histogram(old.score(rows)))


def drift_watch(
    lifecycle: LifecycleDeclaration,
    lake: Lake,
    registry: Registry,
    sagemaker: SageMaker,
    champion: Version,
    tell: Callable[[str], None],
) -> Callable[[], None] | None:
    """Sends the drift on the newest day's rows, each time it is called; None where there is nothing to send.

    Here there never is: the supervisor counts the scores of both versions as they answer.
    """
    declared = lifecycle.deployment.real_time
    if sagemaker.form == "local" or declared is None or declared.alarms.score_drift is None or not declared.bake:
        return None
    serving, table = served_version(sagemaker, lifecycle.name), lake.table(*lifecycle.place("features"))
    days = table.days()
    if serving is None or serving == champion.version or not days:
        return None
    versions = (champion, registry.version(lifecycle.name, serving))
    new, old = (load_any_model(registry.files(version)) for version in versions)
    drift = score_drift(new, old, table.read_day(days[-1]))
    if drift is None:
        tell("the scores cannot be compared beforehand: the alarm on their drift stays quiet")
        return None
    tell(f"the scores of {days[-1]} drift by {drift:.3f} from those of version {serving}")

    def publish() -> None:
        try:
            publish_score_drift(sagemaker, lifecycle.name, drift, Pace(throttled_seconds=20.0))
        except ServiceError as error:
            # The rollout goes on at SageMaker whether anybody waits here or not.
            tell(f"the alarm on the scores' drift did not hear of it: {error}")

    return publish


def _histogram(scores: np.ndarray) -> dict[int, float]:
    counts = np.histogram(np.clip(scores, 0, 1), SCORE_BINS, (0.0, 1.0))[0]
    return {number: float(count) for number, count in enumerate(counts) if count}
