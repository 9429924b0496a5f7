"""ScoreDrift reaches CloudWatch under the names that rollouts' alarms watch: from a rollout, and from a monitor."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import numpy as np
import polars as pl
import pytest

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration.deployment import Deployment, RealTime, RolloutAlarms
from mdlc_assets.deployment.score_drift import drift_watch, score_drift
from mdlc_assets.monitoring.assets import monitoring_definitions
from mdlc_assets.resources.endpoint_alarms import SCORE_BINS
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served
from mdlc_assets.training.foreign import ForeignModel
from mdlc_assets_tests.deployment.asset_platform import LIFECYCLE, NAME, Platform, feature_rows
from mdlc_assets_tests.deployment.models import fit_model

DAYS = [date(2018, 5, day) for day in range(1, 10)]
FEATURES = tuple(LIFECYCLE.features.names())
REAL_TIME = RealTime(
    strategy="canary", bake=timedelta(minutes=10), alarms=RolloutAlarms(score_drift=0.3, period=timedelta(minutes=1))
)
WATCHED = LIFECYCLE.model_copy(update={"deployment": Deployment(real_time=REAL_TIME)})


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform.below(tmp_path, WATCHED)


def _heard() -> list[float]:
    """What CloudWatch has of the metric that the alarm names, by the alarm's own request."""
    served = Served(1, "s3://bucket/model.tar.gz", "digest")
    plan = EndpointPlan(NAME, REAL_TIME, served, "image", "role")
    (alarm,) = (request for request in plan.alarm_requests() if request["MetricName"] == "ScoreDrift")
    asked = {key: alarm[key] for key in ("Namespace", "MetricName", "Dimensions")}
    now = datetime.now(UTC)
    found = boto3.client("cloudwatch").get_metric_statistics(
        **asked,
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
        Period=alarm["Period"],
        Statistics=[alarm["Statistic"]],
    )
    return [point[alarm["Statistic"]] for point in found["Datapoints"]]


def _distance(new: np.ndarray, old: np.ndarray) -> float:
    """By its definition, over bins counted one by one."""
    shares = []
    for scores in (new, old):
        inside = [int(min(score * SCORE_BINS, SCORE_BINS - 1)) for score in scores]
        shares.append([inside.count(number) / len(inside) for number in range(SCORE_BINS)])
    return sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2


def test_a_rollout_on_aws_tells_the_alarm_how_far_the_scores_moved(platform: Platform, s3_root: str) -> None:
    aws = SageMaker(form="aws", role="arn:aws:iam::123456789012:role/mdlc-role", bucket=f"{s3_root}/x", image="image:1")
    models = [fit_model(seed, FEATURES) for seed in (1, 2)]
    for seed, model in enumerate(models, 1):
        platform.register(f"2018-04-0{seed}", model)
    rows = feature_rows(DAYS[8], 400)
    platform.lake.table(NAME, "features").write_day(DAYS[8], rows)
    platform.approve(2)
    champion = platform.registry.version(NAME, 2)
    told: list[str] = []

    def watch(lifecycle: Any = WATCHED, service: SageMaker = aws) -> Any:
        return drift_watch(lifecycle, platform.lake, platform.registry, service, champion, told.append)

    assert watch() is None  # nothing serves yet
    plan = EndpointPlan(NAME, REAL_TIME, Served(1, f"{s3_root}/m.tar.gz", "d"), "image:1", aws.role_arn())
    client = boto3.client("sagemaker")
    client.create_model(**plan.models()[0])
    client.create_endpoint_config(**plan.config_request())
    client.create_endpoint(**plan.create_request())
    try:
        assert watch(LIFECYCLE) is None  # no alarm of that name
        assert watch(service=platform.sagemaker) is None  # the supervisor counts
        publish = watch()
        publish()
        expected = _distance(models[1].score(rows), models[0].score(rows))
        assert expected > 0.05
        assert _heard() == [pytest.approx(expected, abs=1e-12)]
        assert f"drift by {expected:.3f} from those of version 1" in told[-1]
    finally:
        client.delete_endpoint(EndpointName=plan.endpoint)
        client.delete_endpoint_config(EndpointConfigName=plan.config)
        client.delete_model(ModelName=plan.model(plan.served))


def test_what_cannot_be_compared_is_not_guessed() -> None:
    model, rows = fit_model(1, FEATURES), feature_rows(DAYS[0], 400)
    assert score_drift(model, model, rows) == 0
    assert score_drift(model, model, rows.head(100)) is None
    foreign = ForeignModel("container", list(FEATURES), packed({}), image="team/x")
    assert score_drift(foreign, model, rows) is None


def test_the_monitor_tells_the_alarm_of_the_newest_day(platform: Platform, dynamodb: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", dynamodb)
    boto3.client("cloudwatch").put_metric_data(Namespace="Other", MetricData=[{"MetricName": "x", "Value": 1.0}])
    scored = {}
    for number, day in enumerate(DAYS):
        rows = feature_rows(day, 300)
        generator, version = np.random.default_rng(number), 2 if day == DAYS[-1] else 1
        scored[day] = generator.beta(1 if version == 1 else 3, 9, 300)
        platform.lake.table(NAME, "features").write_day(day, rows)
        predicted = rows.select("transaction_id", "event_time", "customer_id").with_columns(
            score=scored[day], model_version=pl.lit(version, pl.Int64)
        )
        platform.lake.table(NAME, "batch_predictions").write_day(day, predicted)

    def run(first: date, last: date) -> dg.ExecuteInProcessResult:
        resources = {**platform.resources(), "sagemaker": SageMaker(form="aws"), "reports": None, "alerts": None}
        job = dg.Definitions.merge(
            monitoring_definitions(WATCHED),
            dg.Definitions(
                resources=resources,
                jobs=[dg.define_asset_job("watch", [asset_key(WATCHED, "open_loop_report")])],
            ),
        ).resolve_job_def("watch")
        tags = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        }
        return job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), tags=tags)

    before = _heard()
    run(DAYS[0], DAYS[-2])
    assert _heard() == before  # one version only: nothing to compare
    run(DAYS[-1], DAYS[-1])
    usual = np.concatenate([scored[day] for day in DAYS[:-1]])
    expected = _distance(scored[DAYS[-1]], usual)
    # Values of one minute are one point, of which the alarm looks at the largest.
    assert expected > max(before, default=0.0) + 0.1
    assert max(_heard()) == pytest.approx(expected, abs=0.02)
