"""Candidates trained as jobs: the same declaration gives the same model as in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.reports import Reports
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import JobFailedError
from mdlc_assets.training.algorithms import ModelFileError, TrainingDataError, load_model
from mdlc_assets.training.assets import training_definitions
from mdlc_assets.training.candidate import fit_candidate
from mdlc_assets.training.foreign import ForeignModel, load_any_model
from mdlc_assets.training.on_sagemaker import fit_candidate_there
from mdlc_assets.training.recordio import recordio
from mdlc_assets.training.wire import wire_of
from mdlc_assets_tests.resources.sagemaker.answering import Answering, answered
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


@pytest.mark.parametrize("algorithm", ["xgboost", "gradient_boosting", "decision_tree", "sagemaker-xgboost"])
def test_a_job_keeps_to_the_models_features_and_directions(
    payments_fraud: LifecycleDeclaration, tmp_path: Path, algorithm: str
) -> None:
    names = payments_fraud.features.names()[2::-1]
    # Against what the rows say, so that a model that was not held would show it.
    more: dict[str, Any] = {"features": names, "monotone": {names[2]: "decreasing"}}
    given = {"hyperparameters": _HYPERPARAMETERS.get(algorithm, {})} if "-" in algorithm else {}
    more |= given
    here, there = (declared(payments_fraud, algorithm, train_on=where, **more) for where in ("here", "sagemaker"))
    rows, plan = training_frame(here)
    expected = fit_candidate(here, rows, plan)
    found = fit_candidate_there(SageMaker(root=str(tmp_path)), there, rows, plan, AS_OF, "run").fitted
    if "-" in algorithm:
        np.testing.assert_allclose(found.served.score(rows), expected.served.score(rows), rtol=0, atol=1e-12)
    else:
        assert found.digest() == expected.digest()
    assert found.judged.features == found.served.features == names
    grid = pl.DataFrame({names[0]: np.zeros(99), names[1]: np.zeros(99), names[2]: np.linspace(-3, 3, 99)})
    assert (np.diff(found.served.score(grid)) <= 1e-9).all()
    free = fit_candidate(declared(payments_fraud, algorithm, features=names, **given), rows, plan)
    assert (np.diff(free.served.score(grid)) > 1e-6).any()


def test_each_trial_of_a_search_is_a_job_and_calibration_follows_from_what_comes_back(
    payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    space = {"max_depth": {"integer": [1, 6]}}
    more: dict[str, Any] = {
        "hyperparameters": {"n_estimators": 6},
        "search": {"trials": 2, "judge_days": 1, "space": space},
        "calibrate": {"method": "platt", "days": 1},
    }
    here, there = (declared(payments_fraud, "xgboost", train_on=where, **more) for where in ("here", "sagemaker"))
    rows, plan = training_frame(here, each_day=120)
    service = SageMaker(root=str(tmp_path))
    expected, found = fit_candidate(here, rows, plan), fit_candidate_there(service, there, rows, plan, AS_OF, "run")
    assert found.fitted.digest() == expected.digest()
    assert found.fitted.search is not None and expected.search is not None
    assert found.fitted.search.document() == expected.search.document()
    assert found.fitted.served.calibration is not None
    jobs = service.client().list_training_jobs()["TrainingJobSummaries"]
    assert (len(jobs), len(found.jobs)) == (3, 1)
    assert service.storage(f"{here.name}/jobs/input").names("") == []


def test_factorization_machines_learn_from_records(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    hyperparameters = {"num_factors": 8, "predictor_type": "binary_classifier"}
    lifecycle = declared(
        payments_fraud, "factorization-machines", hyperparameters=hyperparameters, train_on="sagemaker", refit=False
    )
    rows, plan = training_frame(lifecycle)
    seen: dict[str, Any] = {}

    def described() -> dict[str, Any]:
        storage = service.storage(f"{lifecycle.name}/jobs/input")
        seen.update({name: storage.read(name) for name in storage.names("")})
        service.storage("out").write("model.tar.gz", packed({"model_algo-1": b"weights"}))
        artifact = {"S3ModelArtifacts": "s3://bucket/out/model.tar.gz"}
        return {"TrainingJobStatus": "Completed", "TrainingJobArn": "arn", "ModelArtifacts": artifact}

    service = answered(tmp_path, Answering({"DescribeTrainingJob": described}))
    model = fit_candidate_there(service, lifecycle, rows, plan, AS_OF, "run").fitted.served
    assert isinstance(model, ForeignModel)
    ((name, content),) = seen.items()
    learnt = rows.filter(pl.col("part") == "train")
    assert name.endswith("/rows.recordio")
    features = lifecycle.features.names()
    assert content == recordio(learnt.select(features).to_numpy(), learnt["is_fraud"].to_numpy())
    assert wire_of(model).content_type == "application/x-recordio-protobuf"
    assert wire_of(model).body(rows, features) == recordio(rows.select(features).to_numpy())
    assert wire_of(model).scores(b'{"score": 0.25, "predicted_label": 0}\n{"score": 1.0}\n', 2, "i").tolist() == [
        0.25,
        1,
    ]


def test_one_class_is_refused_before_a_job_is_paid_for(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = declared(payments_fraud, "xgboost", train_on="sagemaker", refit=False)
    rows, plan = training_frame(lifecycle)
    service = SageMaker(root=str(tmp_path))
    with pytest.raises(TrainingDataError, match=r"all 240 rows of .* have the label 0 in is_fraud\. Mend"):
        fit_candidate_there(service, lifecycle, rows.with_columns(is_fraud=pl.lit(0, pl.Int8)), plan, AS_OF, "run")
    assert service.client().list_training_jobs()["TrainingJobSummaries"] == []


def test_one_class_is_no_matter_to_what_learns_without_labels(
    payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    here = declared(payments_fraud, "isolation_forest", hyperparameters={"n_estimators": 5}, refit=False)
    there = declared(payments_fraud, "kmeans", hyperparameters={"k": 2}, train_on="sagemaker", refit=False)
    rows, plan = training_frame(here)
    quiet = rows.with_columns(is_fraud=pl.lit(0, pl.Int8))
    assert fit_candidate(here, quiet, plan).judged.score(rows).shape == (rows.height,)
    service = SageMaker(root=str(tmp_path))
    assert fit_candidate_there(service, there, quiet, plan, AS_OF, "run").fitted.judged.algorithm == "kmeans"


def test_a_failed_job_fails_with_the_algorithms_own_words(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = declared(
        payments_fraud, "random_forest", hyperparameters={"max_depth": -1}, train_on="sagemaker", refit=False
    )
    rows, plan = training_frame(lifecycle)
    service = SageMaker(root=str(tmp_path))
    with pytest.raises(JobFailedError, match=r"AlgorithmError: .*max_depth"):
        fit_candidate_there(service, lifecycle, rows, plan, AS_OF, "run")
    assert service.storage(lifecycle.name).names("") == []


def test_the_asset_registers_what_a_job_trained(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = declared(payments_fraud, "xgboost", hyperparameters={"n_estimators": 8}, train_on="sagemaker")
    registry = _run(lifecycle, SageMaker(root=str(tmp_path / "sagemaker")), tmp_path, "candidate_model")
    (version,) = registry.versions(lifecycle.name)
    assert version.tags["mdlc.sagemaker_jobs"].startswith("arn:aws:sagemaker:us-east-1:000000000000:training-job/")
    rows, plan = training_frame(lifecycle)
    here = fit_candidate(declared(payments_fraud, "xgboost", hyperparameters={"n_estimators": 8}), rows, plan)
    assert version.digest == here.digest()
    assert load_model(registry.files(version, "judged")).digest() == here.judged.digest()


_TEAMS_CONTAINER = """
import http.server, io, json, os, pathlib, sys
import polars as pl
root = pathlib.Path(os.environ["MDLC_ML_ROOT"])
if sys.argv[1] == "train":
    rows = pl.read_parquet(root / "input/data/train/rows.parquet")
    first, label = rows.columns[0], rows.columns[-1]
    middle = rows.filter(pl.col(label) == 1)[first].mean()
    (root / "model" / "middle.json").write_text(json.dumps([first, middle]))
    sys.exit()
first, middle = json.loads((root / "model" / "middle.json").read_text())
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body=b""):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer()
    def do_POST(self):
        rows = pl.read_parquet(io.BytesIO(self.rfile.read(int(self.headers["content-length"]))))
        out = io.BytesIO()
        rows.select(score=1 / (1 + (middle - pl.col(first)).exp())).write_parquet(out)
        self.answer(out.getvalue())
    def log_message(self, *rest): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def test_a_teams_own_container_is_registered_and_judged_by_its_own_server(
    payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    lifecycle = declared(payments_fraud, "container", train_on="sagemaker", sagemaker={"image": "team/fraud:1"})
    service = SageMaker(
        root=str(tmp_path / "sagemaker"), commands={"team/fraud:1": [sys.executable, "-c", _TEAMS_CONTAINER]}
    )
    registry = _run(lifecycle, service, tmp_path, "candidate_model", "evaluation")
    (version,) = registry.versions(lifecycle.name)
    assert len(version.tags["mdlc.sagemaker_jobs"].split(", ")) == 2
    evaluation = Lake(root=str(tmp_path / "lake")).documents(lifecycle.name, "evaluation").read_document(AS_OF)
    # It learnt the one thing that says something about the label.
    assert evaluation["metrics"]["auc_roc"] > 0.7
    kept = load_any_model(registry.files(version))
    with pytest.raises(ModelFileError, match=r"read by its own image team/fraud:1 only\. Mend: score it by a batch"):
        kept.score(training_frame(lifecycle)[0])
    assert service.client().list_models()["Models"] == []
    assert service.storage("transforms").names("") == []


def _run(lifecycle: LifecycleDeclaration, service: SageMaker, root: Path, *assets: str) -> Registry:
    """Materialise assets of a lifecycle as of AS_OF, on a lake that holds its training set."""
    rows, plan = training_frame(lifecycle)
    lake = Lake(root=str(root / "lake"))
    lake.table(lifecycle.name, "training_set").write_day(AS_OF, rows)
    for table in ("features", "labels"):
        for day in plan.whole.days():
            lake.table(lifecycle.name, table).write_day(day, rows.head(1))
    registry = Registry(tracking_uri=f"sqlite:///{root}/mlflow.db", artifact_root=str(root / "artifacts"))
    reports = Reports(root=str(root / "reports"))
    resources = {"lake": lake, "registry": registry, "sagemaker": service, "reports": reports}
    wanted = dg.AssetSelection.assets(*(asset_key(lifecycle, name) for name in assets)).without_checks()
    definitions = dg.Definitions.merge(
        training_definitions(lifecycle),
        dg.Definitions(resources=resources, jobs=[dg.define_asset_job("train", wanted)]),
    )
    ran = definitions.resolve_job_def("train").execute_in_process(
        instance=dg.DagsterInstance.ephemeral(), partition_key=AS_OF.isoformat()
    )
    assert ran.success
    return registry
