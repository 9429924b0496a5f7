"""`ScoreDrift`, the metric that rollouts' alarms watch, sent to CloudWatch: SageMaker measures no scores itself.

Here the supervisor counts the scores of both versions as they answer; on AWS a rollout sends what the two make of the
same rows while it is under way, and the monitors what a day's scores are beside those of the version before.
"""

from __future__ import annotations

from mdlc_assets.resources.endpoint_alarms import OWN_NAMESPACE
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import LIVE
from mdlc_assets.resources.sagemaker.jobs import Jobs, Pace
from mdlc_assets.resources.sagemaker.requests import Request

METRIC = "ScoreDrift"


def score_drift_request(lifecycle: str, value: float) -> Request:
    """`put_metric_data`, under the names that the alarm of `EndpointPlan` watches."""
    dimensions = [
        {"Name": "EndpointName", "Value": lifecycle.replace("_", "-")},
        {"Name": "VariantName", "Value": LIVE},
    ]
    point = {"MetricName": METRIC, "Dimensions": dimensions, "Value": value, "Unit": "None"}
    return {"Namespace": OWN_NAMESPACE, "MetricData": [point]}


def publish_score_drift(sagemaker: SageMaker, lifecycle: str, value: float, pace: Pace | None = None) -> None:
    """Send one value, as of now. Raises `ServiceError` and boto3's ClientError."""
    Jobs(sagemaker.client("cloudwatch"), pace).call("put_metric_data", score_drift_request(lifecycle, value))
