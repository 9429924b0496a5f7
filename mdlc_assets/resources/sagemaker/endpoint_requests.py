"""The requests that put a version behind an endpoint: the same for AWS and for the local form.

Names follow from content: the same version under the same declaration is the same endpoint configuration, and
to deploy it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mdlc_assets.declaration.deployment import RealTime
from mdlc_assets.resources.endpoint_alarms import OWN_NAMESPACE
from mdlc_assets.resources.sagemaker.marketplace import package_model_request
from mdlc_assets.resources.sagemaker.requests import Request, job_name, model_request, tags

LIVE, SHADOW = "live", "shadow"
PREVIOUS_TAG = "mdlc:previous-config"
_LONGEST_ROLLOUT, _SHORTEST_ROLLOUT = 28_800, 600
_SPARE_SECONDS = 1800
_SCALED = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}


@dataclass(frozen=True)
class Served:
    """A registered version and where its model.tar.gz lies; `digest` is that of its content.

    `image` is its own where the platform's cannot read it: an address, or the ARN of a Marketplace algorithm.
    """

    version: int
    artifact: str
    digest: str
    image: str = ""


@dataclass(frozen=True)
class EndpointPlan:
    """What is wanted of the endpoint of a lifecycle."""

    lifecycle: str
    declared: RealTime
    served: Served
    image: str
    role: str
    capture_to: str = ""
    shadow: Served | None = None
    tagged: Mapping[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """SageMaker's names have hyphens where ours have underscores."""
        return self.lifecycle.replace("_", "-")

    @property
    def config(self) -> str:
        """The name of the endpoint configuration."""
        return job_name(self.lifecycle, f"v{self.served.version}", sorted(self._config_content().items()))

    def model(self, served: Served) -> str:
        """The name of a version's model."""
        port = self.declared.port or ""
        image = served.image or self.image
        return job_name(self.lifecycle, f"v{served.version}", served.artifact, served.digest, image, port)

    def packages(self) -> list[tuple[str, str, str]]:
        """(name, algorithm, artifact) of packages without which Marketplace models cannot be made; named as those."""
        wanted = [self.served, *([self.shadow] if self.shadow else [])]
        return [(self.model(one), one.image, one.artifact) for one in wanted if one.image.startswith("arn:")]

    def models(self) -> list[Request]:
        """`create_model` for the version, and for the one that shadows it."""
        wanted = [self.served, *([self.shadow] if self.shadow else [])]
        made = []
        for served in wanted:
            environment = {"MDLC_MODEL_VERSION": str(served.version)}
            if self.declared.port and served is self.served:
                environment["MDLC_ENDPOINT_PORT"] = str(self.declared.port)
            if self.declared.serverless:
                environment["MDLC_IDLE_SECONDS"] = f"{self.declared.serverless.idle.total_seconds():g}"
            name = self.model(served)
            if served.image.startswith("arn:"):
                made.append(package_model_request(name, name, self.role, self.tagged, environment))
                continue
            made.append(
                model_request(
                    name,
                    served.image or self.image,
                    served.artifact,
                    self.role,
                    environment=environment,
                    tagged=self.tagged,
                )
            )
        return made

    def config_request(self) -> Request:
        """`create_endpoint_config`."""
        return {"EndpointConfigName": self.config, **self._config_content(), "Tags": tags(self.tagged)}

    def _config_content(self) -> Request:
        content: Request = {"ProductionVariants": [self._variant(LIVE, self.served)]}
        if self.shadow:
            content["ShadowProductionVariants"] = [self._variant(SHADOW, self.shadow)]
        if self.declared.capture:
            content["DataCaptureConfig"] = {
                "EnableCapture": True,
                "InitialSamplingPercentage": round(100 * self.declared.capture),
                "DestinationS3Uri": self.capture_to,
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {
                    "CsvContentTypes": ["text/csv"],
                    "JsonContentTypes": ["application/json"],
                },
            }
        return content

    def _variant(self, name: str, served: Served) -> Request:
        declared = self.declared
        variant: Request = {"VariantName": name, "ModelName": self.model(served), "InitialVariantWeight": 1.0}
        if declared.serverless:
            given = declared.serverless
            return {
                **variant,
                "ServerlessConfig": {"MemorySizeInMB": given.memory_mb, "MaxConcurrency": given.max_concurrency},
            }
        return {
            **variant,
            "InitialInstanceCount": declared.workers if name == LIVE else 1,
            "InstanceType": declared.instance,
            # No less than a minute is taken.
            "ContainerStartupHealthCheckTimeoutInSeconds": max(60, min(3600, int(declared.health_seconds))),
        }

    def create_request(self) -> Request:
        """`create_endpoint`."""
        return {"EndpointName": self.endpoint, "EndpointConfigName": self.config, "Tags": tags(self.tagged)}

    def update_request(self) -> Request:
        """`update_endpoint`: how traffic shifts, and which alarms take it back."""
        request: Request = {
            "EndpointName": self.endpoint,
            "EndpointConfigName": self.config,
            # The number of instances that autoscaling has come to is kept.
            "RetainAllVariantProperties": self.declared.autoscaling is not None,
        }
        if self.declared.serverless:
            return request
        policy: Request = {
            "TrafficRoutingConfiguration": self._routing(),
            "TerminationWaitInSeconds": self._bake(),
            "MaximumExecutionTimeoutInSeconds": self._longest(),
        }
        request["DeploymentConfig"] = {"BlueGreenUpdatePolicy": policy}
        names = [alarm["AlarmName"] for alarm in self.alarm_requests()] + self.declared.alarms.named
        if self.declared.bake and names:
            rollback = {"Alarms": [{"AlarmName": name} for name in names]}
            request["DeploymentConfig"]["AutoRollbackConfiguration"] = rollback
        return request

    def _bake(self) -> int:
        return int(self.declared.bake.total_seconds())

    def _routing(self) -> Request:
        size = {"Type": "CAPACITY_PERCENT", "Value": round(100 * self.declared.share)}
        if self.declared.strategy == "canary":
            return {"Type": "CANARY", "WaitIntervalInSeconds": self._bake(), "CanarySize": size}
        if self.declared.strategy == "linear":
            return {"Type": "LINEAR", "WaitIntervalInSeconds": self._bake(), "LinearStepSize": size}
        return {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}

    def _longest(self) -> int:
        steps = {"all_at_once": 1, "canary": 2, "linear": -int(-1 // self.declared.share)}[self.declared.strategy]
        return min(max(steps * self._bake() + _SPARE_SECONDS, _SHORTEST_ROLLOUT), _LONGEST_ROLLOUT)

    def alarm_requests(self) -> list[Request]:
        """`put_metric_alarm` for each limit that is declared."""
        declared, ours = self.declared.alarms, "AWS/SageMaker"
        found: list[Request] = []
        if declared.error_rate is not None:
            average = {"Statistic": "Average"}
            found.append(self._alarm("errors", ours, "Invocation5XXErrors", average, declared.error_rate))
        if declared.p99_ms is not None:
            p99 = {"ExtendedStatistic": "p99"}
            found.append(self._alarm("p99", ours, "ModelLatency", p99, 1000 * declared.p99_ms))
        if declared.score_drift is not None:
            largest = {"Statistic": "Maximum"}
            found.append(self._alarm("drift", OWN_NAMESPACE, "ScoreDrift", largest, declared.score_drift))
        return found

    def _alarm(self, what: str, namespace: str, metric: str, statistic: Mapping[str, str], limit: float) -> Request:
        declared = self.declared.alarms
        return {
            "AlarmName": f"{self.endpoint}-rollout-{what}",
            "AlarmDescription": f"Takes a rollout of {self.endpoint} back when {metric} is above {limit:g}.",
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [
                {"Name": "EndpointName", "Value": self.endpoint},
                {"Name": "VariantName", "Value": LIVE},
            ],
            **statistic,
            "Period": int(declared.period.total_seconds()),
            "EvaluationPeriods": declared.periods,
            "DatapointsToAlarm": declared.periods,
            "Threshold": limit,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "Tags": tags(self.tagged),
        }

    def scaling_requests(self) -> list[tuple[str, Request]]:
        """Method and request of Application Auto Scaling; none where nothing scales."""
        given = self.declared.autoscaling
        if given is None:
            return []
        what = {**_SCALED, "ResourceId": f"endpoint/{self.endpoint}/variant/{LIVE}"}
        seconds = int(given.scale_in.total_seconds())
        target = {**what, "MinCapacity": self.declared.workers, "MaxCapacity": given.most_workers}
        policy = {
            "PolicyName": f"{self.endpoint}-calls",
            **what,
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": given.calls_per_minute,
                "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
                "ScaleInCooldown": seconds,
                "ScaleOutCooldown": min(seconds, 60),
            },
        }
        return [("register_scalable_target", target), ("put_scaling_policy", policy)]


def unscaled_request(endpoint: str) -> Request:
    """`deregister_scalable_target` of an endpoint."""
    return {**_SCALED, "ResourceId": f"endpoint/{endpoint}/variant/{LIVE}"}


def endpoint_of(lifecycle: str) -> EndpointPlan:
    """The endpoint that a lifecycle has to itself, whatever is behind it: for who takes it down."""
    return EndpointPlan(lifecycle, RealTime(), Served(0, "", ""), "", "")
