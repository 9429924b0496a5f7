"""Batch predictions by transform jobs: the scores of this process, nothing left behind, nothing half written."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.deployment import Batch, Deployment
from mdlc_assets.deployment.assets import deployment_definitions
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Candidate, Registry
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.training.algorithms import FittedModel
from mdlc_assets.training.foreign import ForeignModel
from mdlc_assets_tests.deployment.models import fit_model
from mdlc_assets_tests.deployment.test_rollouts import eventually
from mdlc_assets_tests.training.training_frames import training_frame

THERE = Deployment(batch=Batch(score_on="sagemaker", payload_mb=1), real_time=None)


class Platform:
    """A lake with some days of features, and a registry with one approved model."""

    def __init__(self, root: Path, lifecycle: LifecycleDeclaration, model: FittedModel, service: SageMaker) -> None:
        self.lifecycle, self.service = lifecycle, service
        self.lake = Lake(root=str(root / "lake"))
        self.registry = Registry(tracking_uri=f"sqlite:///{root}/mlflow.db", artifact_root=str(root / "artifacts"))
        rows, plan = training_frame(lifecycle)
        self.days = plan.whole.days()[:3]
        self.rows = {day: rows.filter(pl.col(lifecycle.dataset.time).dt.date() == day) for day in self.days}
        # A day on which nothing happened.
        self.rows[self.days[1]] = self.rows[self.days[1]].clear()
        features = self.lake.table(lifecycle.name, "features")
        for day, frame in self.rows.items():
            features.write_day(day, frame.drop("part"))
        files = {f"model/{name}": content for name, content in model.files().items()}
        made = self.registry.register(
            lifecycle.name, Candidate("2018-06-01", model.digest(), files, model.features, {}, {})
        )
        self.registry.record(lifecycle.name, "approve", made, "ann", "good enough")
        self.registry.point(lifecycle.name, "champion", made)

    def run(self) -> dg.ExecuteInProcessResult:
        resources = {"lake": self.lake, "registry": self.registry, "sagemaker": self.service}
        wanted = dg.AssetSelection.assets(asset_key(self.lifecycle, "batch_predictions"))
        definitions = dg.Definitions.merge(
            deployment_definitions(self.lifecycle),
            dg.Definitions(resources=resources, jobs=[dg.define_asset_job("score", wanted)]),
        )
        tags = {
            "dagster/asset_partition_range_start": self.days[0].isoformat(),
            "dagster/asset_partition_range_end": self.days[-1].isoformat(),
        }
        job = definitions.resolve_job_def("score")
        return job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), tags=tags, raise_on_error=False)

    def scored(self, day: date) -> pl.DataFrame:
        return self.lake.table(self.lifecycle.name, "batch_predictions").read_day(day)

    def left(self) -> list[object]:
        """What a transform has left behind."""
        return [*self.service.client().list_models()["Models"], *self.service.storage("transforms").names("")]


def _failure(ran: dg.ExecuteInProcessResult) -> str:
    return "".join(
        event.step_failure_data.error.to_string()
        for event in ran.all_events
        if event.is_step_failure and event.step_failure_data.error
    )


def test_a_transform_job_gives_the_scores_of_this_process(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = payments_fraud.model_copy(update={"deployment": THERE})
    model = fit_model(1, tuple(lifecycle.features.names()))
    platform = Platform(tmp_path, lifecycle, model, SageMaker(root=str(tmp_path / "sagemaker")))
    assert platform.run().success
    kept = [lifecycle.dataset.id, lifecycle.dataset.time, lifecycle.model.entity]
    for day, rows in platform.rows.items():
        found = platform.scored(day)
        assert found.select(kept).equals(rows.select(kept))
        assert found["score"].to_list() == (model.score(rows).tolist() if rows.height else [])
    (job,) = platform.service.client().list_transform_jobs()["TransformJobSummaries"]
    about = platform.service.client().describe_transform_job(TransformJobName=job["TransformJobName"])
    assert about["DataProcessing"] == {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    assert platform.left() == []


def test_a_job_that_fails_says_why_and_writes_nothing(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lifecycle = payments_fraud.model_copy(update={"deployment": THERE})
    model = fit_model(1, tuple(lifecycle.features.names()))
    service = SageMaker(root=str(tmp_path / "sagemaker"), image="team/nothing-stands-in:1")
    platform = Platform(tmp_path, lifecycle, model, service)
    ran = platform.run()
    assert not ran.success
    assert "nothing on this machine stands in for the image team/nothing-stands-in:1" in _failure(ran)
    assert platform.lake.table(lifecycle.name, "batch_predictions").days() == []
    assert platform.left() == []


@pytest.mark.parametrize("where", ["here", "sagemaker"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "amount is missing or infinite. Mend: give a finite number"),
        (float("inf"), "amount is missing or infinite. Mend: give a finite number"),
        (None, "the rows lack amount. Mend: give all features of the model"),
    ],
)
def test_features_that_cannot_be_scored_are_named_before_anything_is_paid_for(
    payments_fraud: LifecycleDeclaration, tmp_path: Path, value: float | None, said: str, where: str
) -> None:
    """NaN, an infinity, and a column that is not there (None), on the last of three days."""
    deployment = Deployment(batch=Batch(score_on=where), real_time=None)  # type: ignore[arg-type]
    lifecycle = payments_fraud.model_copy(update={"deployment": deployment})
    model = fit_model(1, tuple(lifecycle.features.names()))
    platform = Platform(tmp_path, lifecycle, model, SageMaker(root=str(tmp_path / "sagemaker")))
    last = platform.rows[platform.days[-1]].drop("part")
    amounts = [value, *last["amount"].to_list()[1:]]
    spoilt = last.drop("amount") if value is None else last.with_columns(amount=pl.Series(amounts, dtype=pl.Float64))
    platform.lake.table(lifecycle.name, "features").write_day(platform.days[-1], spoilt)
    ran = platform.run()
    assert not ran.success
    assert said in _failure(ran)
    assert platform.days[-1] not in platform.lake.table(lifecycle.name, "batch_predictions").days()
    assert platform.service.client().list_transform_jobs()["TransformJobSummaries"] == []
    assert platform.left() == []


def test_columns_of_another_order_and_more_of_them_change_no_score(
    payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    lifecycle = payments_fraud.model_copy(update={"deployment": Deployment(real_time=None)})
    model = fit_model(1, tuple(lifecycle.features.names()))
    platform = Platform(tmp_path, lifecycle, model, SageMaker(root=str(tmp_path / "sagemaker")))
    for day, rows in platform.rows.items():
        mixed = rows.drop("part").select(reversed(rows.columns[:-1])).with_columns(surplus=pl.lit(float("nan")))
        platform.lake.table(lifecycle.name, "features").write_day(day, mixed)
    assert platform.run().success
    for day, rows in platform.rows.items():
        assert platform.scored(day)["score"].to_list() == (model.score(rows).tolist() if rows.height else [])


def test_a_job_that_takes_too_long_is_stopped(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    batch = Batch(score_on="sagemaker", max_runtime=timedelta(seconds=2))
    lifecycle = payments_fraud.model_copy(update={"deployment": Deployment(batch=batch, real_time=None)})
    model = fit_model(1, tuple(lifecycle.features.names()))
    hangs = [sys.executable, "-c", "import time; time.sleep(600)"]
    service = SageMaker(root=str(tmp_path / "sagemaker"), image="team/hangs:1", commands={"team/hangs:1": hangs})
    platform = Platform(tmp_path, lifecycle, model, service)
    ran = platform.run()
    assert not ran.success
    assert "has not ended after 2 s and was stopped. Mend: allow it more time" in _failure(ran)
    (job,) = service.client().list_transform_jobs()["TransformJobSummaries"]
    assert eventually(lambda: _status(service, job["TransformJobName"]) == "Stopped")
    assert platform.lake.table(lifecycle.name, "batch_predictions").days() == []
    assert platform.left() == []


def _status(service: SageMaker, name: str) -> str:
    return service.client().describe_transform_job(TransformJobName=name)["TransformJobStatus"]


ALGORITHM = "arn:aws:sagemaker:us-east-1:123456789012:algorithm/fraud-9"
# Answers as AWS's algorithms do: a line of JSON for a line of CSV.
_BOUGHT = """
import http.server, json, os, pathlib
shift = float((pathlib.Path(os.environ["MDLC_ML_ROOT"]) / "model" / "shift").read_text())
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body=b""):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer()
    def do_POST(self):
        lines = self.rfile.read(int(self.headers["content-length"])).decode().splitlines()
        firsts = [float(line.split(",")[0]) for line in lines]
        self.answer("".join(json.dumps({"score": 1 / (1 + abs(x - shift))}) + "\\n" for x in firsts).encode())
    def log_message(self, *rest): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def test_a_bought_model_is_scored_by_its_own_image_whatever_is_declared(
    payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    from mdlc_assets.resources.sagemaker.archives import packed

    lifecycle = payments_fraud.model_copy(update={"deployment": Deployment(real_time=None)})
    names = lifecycle.features.names()
    model = ForeignModel(ALGORITHM, names, packed({"shift": b"0.5"}), image=ALGORITHM)
    service = SageMaker(root=str(tmp_path / "sagemaker"), commands={ALGORITHM: [sys.executable, "-c", _BOUGHT]})
    platform = Platform(tmp_path, lifecycle, model, service)
    assert platform.run().success
    for day, rows in platform.rows.items():
        assert platform.scored(day)["score"].to_list() == pytest.approx(
            (1 / (1 + (rows[names[0]] - 0.5).abs())).to_list()
        )
    assert platform.left() == []
    assert service.client().list_model_packages()["ModelPackageSummaryList"] == []
