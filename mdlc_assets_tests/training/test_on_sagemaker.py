"""Candidates trained as jobs: the same declaration gives the same model as in this process."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import JobFailedError
from mdlc_assets.training.algorithms import load_model
from mdlc_assets.training.assets import training_definitions
from mdlc_assets.training.candidate import fit_candidate
from mdlc_assets.training.on_sagemaker import fit_candidate_there, score_there
from mdlc_assets_tests.training.training_frames import AS_OF, declared, training_frame

_HYPERPARAMETERS = {
    "xgboost": {"n_estimators": 8},
    "random_forest": {"n_estimators": 5},
    "sagemaker-xgboost": {"num_round": 8, "objective": "binary:logistic"},
    "linear-learner": {"predictor_type": "binary_classifier"},
    "kmeans": {"k": 4},
    "randomcutforest": {"num_trees": 50},
}


@pytest.mark.parametrize("algorithm", list(_HYPERPARAMETERS))
def test_a_job_gives_the_model_that_this_process_gives(
    payments_fraud: LifecycleDeclaration, tmp_path: Path, algorithm: str
) -> None:
    here = declared(payments_fraud, algorithm, hyperparameters=_HYPERPARAMETERS[algorithm])
    there = declared(payments_fraud, algorithm, hyperparameters=_HYPERPARAMETERS[algorithm], train_on="sagemaker")
    rows, plan = training_frame(here)
    service = SageMaker(root=str(tmp_path))
    expected, found = fit_candidate(here, rows, plan), fit_candidate_there(service, there, rows, plan, AS_OF, "run")
    assert found.fitted.judged.features == expected.judged.features
    for mine, theirs in ((found.fitted.judged, expected.judged), (found.fitted.served, expected.served)):
        np.testing.assert_allclose(mine.score(rows), theirs.score(rows), rtol=0, atol=1e-12)
    if "-" not in algorithm:
        assert found.fitted.digest() == expected.digest()
    assert (found.fitted.judged.score(rows) != found.fitted.served.score(rows)).any()
    assert len(found.jobs) == (
        2 if algorithm in ("sagemaker-xgboost", "linear-learner", "kmeans", "randomcutforest") else 1
    )
    assert found.billed_seconds > 0
    # The lake has the rows; nothing else keeps them.
    assert service.storage(f"{here.name}/jobs/input").names("") == []


def test_a_repeated_run_finds_its_job_again(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = declared(payments_fraud, "decision_tree", train_on="sagemaker", refit=False)
    rows, plan = training_frame(lifecycle)
    service = SageMaker(root=str(tmp_path))
    first, again, other = (
        fit_candidate_there(service, lifecycle, rows, plan, AS_OF, run) for run in ("run-1", "run-1", "run-2")
    )
    assert first.jobs == again.jobs != other.jobs
    assert first.fitted.digest() == other.fitted.digest()
    assert len(service.client().list_training_jobs()["TrainingJobSummaries"]) == 2


def test_one_class_fails_with_the_algorithms_own_words(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = declared(payments_fraud, "xgboost", train_on="sagemaker", refit=False)
    rows, plan = training_frame(lifecycle)
    service = SageMaker(root=str(tmp_path))
    with pytest.raises(JobFailedError, match=r"AlgorithmError: all 240 .* same label\. Mend: train on more days"):
        fit_candidate_there(service, lifecycle, rows.with_columns(is_fraud=pl.lit(0, pl.Int8)), plan, AS_OF, "run")
    assert service.storage(lifecycle.name).names("") == []


def test_the_asset_registers_what_a_job_trained(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = declared(payments_fraud, "xgboost", hyperparameters={"n_estimators": 8}, train_on="sagemaker")
    rows, plan = training_frame(lifecycle)
    lake = Lake(root=str(tmp_path / "lake"))
    lake.table(lifecycle.name, "training_set").write_day(AS_OF, rows)
    for table in ("features", "labels"):
        for day in plan.whole.days():
            lake.table(lifecycle.name, table).write_day(day, rows.head(1))
    registry = Registry(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_root=str(tmp_path / "artifacts"))
    resources = {"lake": lake, "registry": registry, "sagemaker": SageMaker(root=str(tmp_path / "sagemaker"))}
    job = dg.define_asset_job("train", dg.AssetSelection.assets(asset_key(lifecycle, "candidate_model")))
    definitions = dg.Definitions.merge(training_definitions(lifecycle), dg.Definitions(resources=resources, jobs=[job]))
    ran = definitions.resolve_job_def("train").execute_in_process(
        instance=dg.DagsterInstance.ephemeral(), partition_key=AS_OF.isoformat()
    )
    assert ran.success
    (version,) = registry.versions(lifecycle.name)
    assert version.tags["mdlc.sagemaker_jobs"].startswith("arn:aws:sagemaker:us-east-1:000000000000:training-job/")
    here = fit_candidate(declared(payments_fraud, "xgboost", hyperparameters={"n_estimators": 8}), rows, plan)
    assert version.digest == here.digest()
    assert load_model(registry.files(version, "judged")).digest() == here.judged.digest()


def test_a_transform_scores_as_the_model_does(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = declared(
        payments_fraud, "xgboost", hyperparameters={"n_estimators": 8}, train_on="sagemaker", refit=False
    )
    rows, plan = training_frame(lifecycle)
    service = SageMaker(root=str(tmp_path))
    found = fit_candidate_there(service, lifecycle, rows, plan, AS_OF, "run")
    (summary,) = service.client().list_training_jobs()["TrainingJobSummaries"]
    job = service.client().describe_training_job(TrainingJobName=summary["TrainingJobName"])
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    features = lifecycle.features.names()
    scores = score_there(service, lifecycle.model, artifact, rows, features, "payments-fraud-1")
    np.testing.assert_array_equal(scores, found.fitted.served.score(rows))
    assert service.client().list_models()["Models"] == []
    assert service.storage("transforms").names("") == []
