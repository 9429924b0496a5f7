"""How the champion is used: for a whole day at once, and one event at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from mdlc_assets.declaration.base import Declared, Duration, duration_name, refuse
from mdlc_assets.declaration.service import Service

_LONGEST_BAKE = timedelta(hours=1)
_MOST_ALARMS = 10
_LARGEST_TOGETHER_MB = 100


class RolloutAlarms(Declared):
    """What takes a rollout back by itself. Watched over whole periods, on the new version's own answers."""

    error_rate: float | None = Field(default=0.01, gt=0, le=1, description="Share of answers that are 5xx.")
    p99_ms: float | None = Field(default=None, gt=0, description="99th percentile of the model's time.")
    score_drift: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Total variation distance of the new version's scores from the old one's: 0 alike, 1 disjoint.",
    )
    named: list[str] = Field(default=[], description="Alarms that others keep, by their names in CloudWatch.")
    period: Duration = timedelta(minutes=1)
    periods: int = Field(default=1, ge=1, le=60, description="So many periods in a row must be beyond the limit.")

    def count(self) -> int:
        """How many alarms these are."""
        own = (self.error_rate, self.p99_ms, self.score_drift)
        return sum(limit is not None for limit in own) + len(self.named)


class Autoscaling(Declared):
    """Workers (on AWS instances) between `workers` and `most_workers`, as the load asks for."""

    most_workers: int = Field(ge=2, le=64)
    calls_per_minute: float = Field(gt=0, description="What one worker is to carry.")
    scale_in: Duration = timedelta(minutes=5)


class Serverless(Declared):
    """Without machines of its own: started by a call, ended when nobody calls, so many calls at once and no more."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 2048
    max_concurrency: int = Field(default=5, ge=1, le=200, description="Calls beyond these are throttled.")
    idle: Duration = Field(
        default=timedelta(minutes=5), description="Here the process ends after so long; AWS decides by itself."
    )


class MultiModel(Declared):
    """One endpoint for many models: those of all lifecycles that name it. The caller says which (TargetModel)."""

    endpoint: str = Field(pattern=r"^[a-z][a-z0-9-]{1,40}$", description="The endpoint's name, shared.")
    most_loaded: int = Field(default=50, ge=1, le=10_000, description="Beyond these the longest unused one goes.")


class RealTime(Declared):
    """The endpoint. Locally a server process on loopback; on AWS a SageMaker endpoint."""

    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free port.")
    health_seconds: float = Field(
        default=30, gt=0, description="A new version must answer /ping within this time, or the old stays."
    )
    workers: int = Field(default=1, ge=1, le=64)
    instance: str = Field(default="ml.m5.large", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$", description="On AWS.")
    strategy: Literal["all_at_once", "canary", "linear"] = "all_at_once"
    share: float = Field(default=0.1, gt=0, le=0.5, description="Of the traffic: the canary's, or each step's.")
    bake: Duration = Field(default=timedelta(0), description="How long each step is watched; 0s changes over at once.")
    alarms: RolloutAlarms = RolloutAlarms()
    shadow: bool = Field(default=False, description="The newest challenger gets a copy of each request.")
    capture: float = Field(default=0.0, ge=0, le=1, description="Share of requests kept with their answers.")
    autoscaling: Autoscaling | None = None
    serverless: Serverless | None = None
    multi_model: MultiModel | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> RealTime:
        watched, bake = self.alarms.period * self.alarms.periods, duration_name(self.bake)
        if self.strategy != "all_at_once" and not self.bake:
            raise refuse(
                f"the strategy {self.strategy} watches nothing",
                "give bake: 10m or so, or strategy: all_at_once",
                field="bake",
                value=bake,
            )
        if self.bake > _LONGEST_BAKE:
            raise refuse("SageMaker watches a step for an hour at most", "write at most 1h", field="bake", value=bake)
        if self.strategy == "linear" and self.share < 0.1:
            raise refuse(
                "SageMaker takes linear steps of 0.1 to 0.5", "write at least 0.1", field="share", value=self.share
            )
        if self.bake and self.alarms.count() == 0:
            raise refuse(
                "without alarms nothing is ever rolled back",
                "keep error_rate, or name an alarm",
                field="alarms",
                value={},
            )
        if self.alarms.count() > _MOST_ALARMS:
            raise refuse(
                "SageMaker takes ten alarms at most", "name fewer", field="alarms.named", value=self.alarms.count()
            )
        if self.bake and self.bake < watched:
            raise refuse(
                f"a step is over before an alarm can go off, which takes {duration_name(watched)}",
                "let it bake longer, or make alarms.period shorter",
                field="bake",
                value=bake,
            )
        if self.autoscaling and self.autoscaling.most_workers <= self.workers:
            raise refuse(
                f"it never exceeds workers: {self.workers}",
                "write more",
                field="autoscaling.most_workers",
                value=self.autoscaling.most_workers,
            )
        if self.serverless and (self.shadow or self.autoscaling or self.capture or self.bake):
            raise refuse(
                "a serverless endpoint has neither shadow, autoscaling, capture nor watched steps",
                "take them away, or serverless",
                field="serverless",
                value=self.serverless.memory_mb,
            )
        watched_or_more = self.shadow or self.autoscaling or self.capture or self.bake or self.serverless
        if self.multi_model and (watched_or_more or self.port):
            raise refuse(
                "a multi-model endpoint has neither shadow, autoscaling, capture, watched steps, serverless nor a port "
                "of its own: a new version is another model beside the old",
                "take them away, or multi_model",
                field="multi_model",
                value=self.multi_model.endpoint,
            )
        return self


class Batch(Declared):
    """Where a day's scores are made. `sagemaker`: by a transform job, whose machines are there while it runs."""

    score_on: Literal["here", "sagemaker"] = "here"
    instance_type: str = Field(default="ml.m5.xlarge", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")
    instance_count: int = Field(default=1, ge=1, le=100, description="Days of one run are spread over so many.")
    payload_mb: int = Field(default=6, ge=1, le=100, description="The most a machine is sent in one request.")
    concurrent: int = Field(default=1, ge=1, le=100, description="Requests at once to one machine.")
    max_runtime: Duration = Field(default=timedelta(hours=4), description="A job that takes longer is stopped.")

    @model_validator(mode="after")
    def _together(self) -> Batch:
        if self.payload_mb * self.concurrent > _LARGEST_TOGETHER_MB:
            raise refuse(
                f"{self.concurrent} requests of {self.payload_mb} MB at once are more than SageMaker's 100 MB",
                f"write at most {_LARGEST_TOGETHER_MB // self.concurrent}",
                field="payload_mb",
                value=self.payload_mb,
            )
        return self


class Deployment(Declared):
    """Batch predictions are always made; the endpoint only when declared."""

    batch: Batch = Batch()
    real_time: RealTime | None = RealTime()
    service: Service = Service()
    package_group: str | None = Field(
        default=None,
        max_length=63,
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        description="A SageMaker model package group that shows the registry's versions, approved and rejected as "
        "here. Nothing else may add versions to it.",
    )

    @model_validator(mode="after")
    def _service_has_its_model(self) -> Deployment:
        if self.service.model == "endpoint" and self.real_time is None:
            raise refuse(
                "the service asks an endpoint, and none is declared",
                "declare real_time, or write `model: process`",
                field="service.model",
                value="endpoint",
            )
        return self
