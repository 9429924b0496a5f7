"""One plan of each workflow, and small real data for the local form."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.marketplace import marketplace_package_request, package_model_request
from mdlc_assets.resources.sagemaker.requests import (
    Channel,
    Machines,
    TrainingPlan,
    TransformPlan,
    approval_request,
    model_request,
    package_group_request,
    package_request,
    training_request,
    transform_request,
)

ROLE = "arn:aws:iam::123456789012:role/mdlc-training"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mdlc-assets:1.0"
XGBOOST = {"mdlc_algorithm": "xgboost", "mdlc_label": "is_fraud"}


def every_request() -> dict[str, tuple[str, dict[str, Any]]]:
    """By what it is for: the method of the client, and the request."""
    train = Channel("train", "s3://bucket/payments_fraud/jobs/input/train")
    spot = Machines("ml.m5.2xlarge", 1, 50, 7200, spot=True, max_wait_seconds=14_400)
    artifact = "s3://bucket/payments_fraud/jobs/models/job/output/model.tar.gz"
    tagged = {"mdlc:lifecycle": "payments_fraud", "mdlc:as-of": "2018-08-21"}
    own = TrainingPlan(
        "own", IMAGE, ROLE, [train], "s3://bucket/out", XGBOOST, tags=tagged, metrics={"auc": "auc=([0-9.]+)"}
    )
    refit = Channel("refit", "s3://bucket/payments_fraud/jobs/input/refit")
    return {
        "training": ("create_training_job", training_request(own)),
        "training on spot machines": (
            "create_training_job",
            training_request(
                TrainingPlan(
                    "spot",
                    IMAGE,
                    ROLE,
                    [train, refit],
                    "s3://bucket/out",
                    XGBOOST,
                    spot,
                    checkpoints="s3://bucket/payments_fraud/jobs/checkpoints/model",
                    environment={"OMP_NUM_THREADS": "4"},
                )
            ),
        ),
        "training a Marketplace algorithm": (
            "create_training_job",
            training_request(
                TrainingPlan(
                    "market",
                    "arn:aws:sagemaker:eu-west-1:123456789012:algorithm/fraud-9",
                    ROLE,
                    [Channel("train", "s3://bucket/train", "text/csv")],
                    "s3://bucket/out",
                    {},
                )
            ),
        ),
        "a model": ("create_model", model_request("m", IMAGE, artifact, ROLE, environment={"MDLC_MODEL_VERSION": "3"})),
        "batch transform": (
            "create_transform_job",
            transform_request(TransformPlan("t", "m", "s3://bucket/days", "s3://bucket/scores", tags=tagged)),
        ),
        "batch transform line by line": (
            "create_transform_job",
            transform_request(
                TransformPlan("t", "m", "s3://bucket/days", "s3://bucket/scores", "text/csv", "text/csv", split=True)
            ),
        ),
        "batch transform that keeps a column": (
            "create_transform_job",
            transform_request(
                TransformPlan(
                    "t",
                    "m",
                    "s3://bucket/days",
                    "s3://bucket/scores",
                    "text/csv",
                    "text/csv",
                    split=True,
                    input_filter="$[1:]",
                    output_filter="$[0,-1]",
                )
            ),
        ),
        "a package of a Marketplace algorithm": (
            "create_model_package",
            marketplace_package_request(
                "m", "arn:aws:sagemaker:eu-west-1:123456789012:algorithm/fraud-9", "s3://bucket/model.tar.gz"
            ),
        ),
        "a model of a package": (
            "create_model",
            package_model_request("m", "arn:aws:sagemaker:eu-west-1:123456789012:model-package/m", ROLE, tagged),
        ),
        "a model package group": (
            "create_model_package_group",
            package_group_request("payments-fraud", "Fraud", tagged),
        ),
        "a model package": (
            "create_model_package",
            package_request(
                "payments-fraud",
                IMAGE,
                artifact,
                description="as of 2018-08-21",
                metadata={"mdlc.version": "3", "mdlc.digest": "ab" * 32},
                metrics_address="s3://bucket/payments_fraud/evaluation.json",
                commit="3e6e168",
                project="mdlc_assets",
            ),
        ),
        "approving": (
            "update_model_package",
            approval_request(
                "arn:aws:sagemaker:eu-west-1:123456789012:model-package/payments-fraud/3",
                approved=True,
                who="ann@example.com",
                reason="better on the last two weeks",
            ),
        ),
    }


def training_data(service: SageMaker, *, rows: int = 400, seed: int = 0) -> Channel:
    """A channel of learnable rows in the service's bucket."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({name: rng.normal(size=rows) for name in ("amount", "is_night")})
    label = pl.Series("is_fraud", frame["amount"].to_numpy() + rng.normal(size=rows) > 0.5).cast(pl.Int8)
    written = io.BytesIO()
    frame.with_columns(label).write_parquet(written)
    service.storage("in").write("train/part-0.parquet", written.getvalue())
    return Channel("train", service.storage("in").location("train"))


def training_plan(service: SageMaker, name: str = "job", **changes: Any) -> TrainingPlan:
    """A small training job of the platform's own image."""
    usual: dict[str, Any] = {
        "name": name,
        "image": service.own_image(),
        "role": service.role_arn(),
        "channels": [training_data(service)],
        "output": service.storage().location("out"),
        "hyperparameters": {**XGBOOST, "n_estimators": "10", "n_jobs": "1"},
        "machines": Machines(max_runtime_seconds=300),
    }
    return TrainingPlan(**{**usual, **changes})
