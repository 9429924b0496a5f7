"""The batch workflow, run: a real model scores real rows, and the monitor's word decides who is told."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import polars as pl
import pytest
from moto.sagemaker.models import FakeProcessingJob

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.export.batch import batch_machine
from mdlc_assets.export.language import Form
from mdlc_assets.export.places import Places
from mdlc_assets.export.watch_scores import watch_scores
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.requests import model_request
from mdlc_assets_tests.deployment.models import FEATURES, fit_model
from mdlc_assets_tests.export.conftest import messages
from mdlc_assets_tests.export.interpreter import Interpreter

DAYS = tuple(str(datetime.now(UTC).date() - timedelta(days=back)) for back in (2, 1))


@pytest.fixture
def champion(account: Interpreter, places: Places, small: LifecycleDeclaration) -> str:
    """A registered model in service, and two days of features in the lake."""
    service, name = account.sagemaker, f"{places.prefix}-model"
    service.storage(places.prefix).write("model.tar.gz", packed(fit_model().files()))
    artifact = service.storage(places.prefix).location("model.tar.gz")
    service.client().create_model(**model_request(name, places.image, artifact, places.role))
    boto3.client("ssm").put_parameter(Name=places.champion(small.name), Value=name, Type="String")
    for day in DAYS:
        content = io.BytesIO()
        pl.DataFrame({feature: [0.5, 1.5, 2.5] for feature in FEATURES}).write_parquet(content)
        address = f"{places.lake}/{small.name}/features/date={day}/part-0.parquet"
        bucket, _, key = address.removeprefix("s3://").partition("/")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content.getvalue())
        path = service.state().s3_path(address)
        path.parent.mkdir(parents=True)
        path.write_bytes(content.getvalue())
    return name


@pytest.mark.parametrize(
    ("form", "given", "day", "says"),
    [
        ("sync", {"day": DAYS[0]}, DAYS[0], "quiet: the scores lie 0.0010 beyond"),
        ("poll", {"started_by": "schedule"}, DAYS[1], "alarm: the scores lie 0.2000 beyond"),
    ],
)
def test_it_scores_the_day_and_tells_of_an_alarm(
    account: Interpreter,
    places: Places,
    small: LifecycleDeclaration,
    champion: str,
    monkeypatch: pytest.MonkeyPatch,
    form: Form,
    given: dict[str, Any],
    day: str,
    says: str,
) -> None:
    usual = FakeProcessingJob.response_object.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(FakeProcessingJob, "response_object", property(lambda job: {**usual(job), "ExitMessage": says}))
    running = account.start(batch_machine(small, places, form), given)
    ended = account.ended(running)
    assert ended["status"] == "SUCCEEDED", ended.get("cause")
    scores = account.sagemaker.state().s3_path(f"{places.bucket}/{small.name}/scores/date={day}")
    (written,) = scores.glob("*.out")
    assert pl.read_parquet(written)["score"].is_between(0, 1).all()
    told = [message["Message"] for message in messages(places, "told")]
    assert told == ([f"payments_fraud, {day}: {says}"] if says.startswith("alarm") else [])
    asked = account.asked(running, "createProcessingJob")
    assert asked["Environment"] == {"MDLC_DAY": day, "MDLC_REFERENCE_DAYS": "28", "MDLC_ALARM_DISTANCE": "0.03"}


def test_a_day_that_has_scores_is_left_as_it_is(
    account: Interpreter, places: Places, small: LifecycleDeclaration, champion: str
) -> None:
    bucket = places.bucket.removeprefix("s3://")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{small.name}/scores/date={DAYS[1]}/part-0.parquet.out", Body=b"")
    running = account.start(batch_machine(small, places, "poll"), {})
    assert account.ended(running)["status"] == "SUCCEEDED"
    assert account.visited(running)[-2:] == ["Were there any?", "Done"]


def test_without_features_or_without_a_champion_it_says_so(
    account: Interpreter, places: Places, small: LifecycleDeclaration
) -> None:
    document = batch_machine(small, places, "sync")
    ended = account.ended(account.start(document, {}))
    assert (ended["error"], ended["cause"].split(". Mend")[0]) == (
        "Mdlc.NoDay",
        f"nothing lies below {places.lake}/payments_fraud/features/date=",
    )
    document["States"]["Which model?"]["Retry"] = []
    ended = account.ended(account.start(document, {"day": DAYS[0]}))
    assert "ParameterNotFound" in ended["error"]
    assert places.champion(small.name) in ended["cause"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten quiet days of scores, and one that drifted."""
    folder, rng = tmp_path_factory.mktemp("scores"), np.random.default_rng(3)
    for number in range(1, 12):
        day = folder / f"date=2018-08-{number:02}"
        day.mkdir()
        shift = 4.0 if number == 11 else 1.0
        pl.DataFrame({"score": rng.beta(shift, 8.0, 2000)}).write_parquet(day / "part-0.parquet.out")
    return folder


@pytest.mark.parametrize(
    ("day", "says"),
    [
        ("2018-08-10", "quiet: the scores lie"),
        ("2018-08-11", "alarm: the scores lie"),
        ("2018-08-04", "quiet: only 3 earlier days have scores"),
    ],
)
def test_what_the_monitor_says(scored: Path, day: str, says: str) -> None:
    assert watch_scores(scored, date.fromisoformat(day), 28, 0.03)["says"].startswith(says)


@pytest.mark.parametrize(
    ("day", "code", "says"),
    [
        ("2018-08-11", 0, "alarm: the scores lie"),
        ("2018-09-01", 1, "failed: ScoresError: 2018-09-01 has no scores. Mend: predict the day first."),
    ],
)
def test_the_monitors_program(scored: Path, tmp_path: Path, day: str, code: int, says: str) -> None:
    decided = {"MDLC_DAY": day, "MDLC_REFERENCE_DAYS": "28", "MDLC_ALARM_DISTANCE": "0.03"}
    where = [f"--scores={scored}", f"--report={tmp_path / 'report'}", f"--message={tmp_path / 'message'}"]
    ran = subprocess.run(
        [sys.executable, "-m", "mdlc_assets.export.watch_scores", *where], env={**os.environ, **decided}, check=False
    )
    assert ran.returncode == code
    assert (tmp_path / "message").read_text().startswith(says)
    assert (tmp_path / "report" / "scores.json").exists() == (code == 0)
