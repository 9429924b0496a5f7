"""The program that clusters run: as a process on an S3 lake, and as Glue and EMR Serverless are asked to run it.

moto takes the requests over HTTP and computes nothing, so a hook on boto3's own events does the cluster's part: it
runs the program with the arguments of the very request, and lays what it prints into CloudWatch's logs.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import boto3
import dagster as dg
import polars as pl
import pytest
from dagster_pipes import decode_param

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features import spark_job
from mdlc_assets.features.assets import features_definitions
from mdlc_assets.features.engines import compute_features
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.spark_cluster import (
    GlueSpark,
    LocalSpark,
    SparkCluster,
    SubmittedSpark,
    spark_from_environment,
)
from mdlc_assets.simulator.world import Simulator

_ROLE = "arn:aws:iam::123456789012:role/features"


@pytest.fixture
def declared(payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    features = payments_fraud.features.model_copy(update={"engine": "spark"})
    return payments_fraud.model_copy(update={"features": features})


def _lay(lifecycle: LifecycleDeclaration, root: str) -> tuple[Lake, list[date]]:
    lake, world = Lake(root=root), Simulator(start=lifecycle.dataset.start, customers=30, terminals=20)
    days = [lifecycle.dataset.start + timedelta(days=i) for i in range(10)]
    for day in days:
        lake.table(lifecycle.name, "validated").write_day(day, world.transactions(day))
        lake.table(lifecycle.name, "labels").write_day(day, world.labels(day))
    return lake, days[-2:]


def _run(lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date], cluster: SparkCluster) -> Any:
    assets = [asset for asset in features_definitions(lifecycle).assets or [] if isinstance(asset, dg.AssetsDefinition)]
    (features,) = [asset for asset in assets if asset.key.path[-1] == "features"]
    tags = {
        "dagster/asset_partition_range_start": days[0].isoformat(),
        "dagster/asset_partition_range_end": days[-1].isoformat(),
    }
    return dg.materialize([features], resources={"lake": lake, "spark_cluster": cluster}, tags=tags)


def _is_as_in_bulk(lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date], ran: Any) -> None:
    expected = {d: frame for found, _ in compute_features(lifecycle, lake, days, "bulk") for d, frame in found.items()}
    table = lake.table(lifecycle.name, "features")
    assert table.days() == list(days)
    assert all(table.read_day(day).equals(frame) for day, frame in expected.items())
    assert all(frame.select(pl.sum_horizontal(lifecycle.features.names()).sum()).item() for frame in expected.values())
    told = {
        event.partition: event.step_materialization_data.materialization.metadata["dagster/partition_row_count"].value
        for event in ran.get_asset_materialization_events()
    }
    assert told == {day.isoformat(): frame.height for day, frame in expected.items()}


@pytest.mark.slow
def test_as_a_process_on_a_lake_on_s3(declared: LifecycleDeclaration, s3_root: str) -> None:
    lake, days = _lay(declared, s3_root)
    ran = _run(declared, lake, days, SubmittedSpark())
    _is_as_in_bulk(declared, lake, days, ran)


def _print_to_cloudwatch(group: str, stream: str, text: str) -> None:
    logs = boto3.client("logs")
    for make, name in ((logs.create_log_group, {}), (logs.create_log_stream, {"logStreamName": stream})):
        make(logGroupName=group, **name)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in text.splitlines() if line.strip()]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


@pytest.fixture
def run_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str], dict[str, str]], str]:
    """Runs the job's own main here, in the session of all tests; gives what it printed."""

    def run(arguments: list[str], environment: dict[str, str]) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["spark_job.py", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            capsys.readouterr()
            spark_job.run()
        return capsys.readouterr().out

    return run


@pytest.fixture
def cluster_hook(s3_root: str) -> Any:
    """Registers on boto3's events: `hook(event, do)` calls `do(request, answer)` once the request is answered."""
    del s3_root  # which sets moto's address for all clients
    boto3.setup_default_session()
    events = boto3.DEFAULT_SESSION.events  # type: ignore[union-attr]

    def hook(operation: str, do: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        asked: list[dict[str, Any]] = []
        events.register(f"provide-client-params.{operation}", lambda params, **_: asked.append(dict(params)))
        events.register(f"after-call.{operation}", lambda parsed, **_: do(asked[-1], parsed))

    yield hook
    boto3.DEFAULT_SESSION = None


@pytest.mark.usefixtures("spark")
def test_glue(declared: LifecycleDeclaration, tmp_path, cluster_hook, run_program) -> None:  # type: ignore[no-untyped-def]
    lake, days = _lay(declared, str(tmp_path))
    command = {"Name": "glueetl", "ScriptLocation": "s3://code/spark_job.py"}
    boto3.client("glue").create_job(Name="features", Role=_ROLE, Command=command, GlueVersion="5.0")
    asked: list[dict[str, Any]] = []

    def glue(request: dict[str, Any], answer: dict[str, Any]) -> None:
        asked.append(request)
        # Glue hands its script the run's arguments, and some of its own.
        given = [part for argument in request["Arguments"].items() for part in argument]
        said = run_program(["--JOB_NAME", "features", "--TempDir", "s3://temporary/", *given], {})
        _print_to_cloudwatch("test/log/output", answer["JobRunId"], said)

    cluster_hook("glue.StartJobRun", glue)
    ran = _run(declared, lake, days, GlueSpark(job_name="features", workers=4))
    _is_as_in_bulk(declared, lake, days, ran)
    (request,) = asked
    arguments = request.pop("Arguments")
    assert request == {"JobName": "features", "WorkerType": "G.1X", "NumberOfWorkers": 4}
    assert decode_param(arguments.pop("--dagster-pipes-messages")) == {"stdio": "stdout"}
    assert decode_param(arguments.pop("--dagster-pipes-context"))["data"]["asset_keys"] == ["payments_fraud/features"]
    assert arguments == _arguments(declared, lake, days)


@pytest.mark.usefixtures("spark")
def test_emr_serverless(declared: LifecycleDeclaration, tmp_path, cluster_hook, run_program) -> None:  # type: ignore[no-untyped-def]
    lake, days = _lay(declared, str(tmp_path))
    made = boto3.client("emr-serverless").create_application(name="features", type="SPARK", releaseLabel="emr-7.9.0")
    asked: list[dict[str, Any]] = []

    def emr(request: dict[str, Any], answer: dict[str, Any]) -> None:
        asked.append(request)
        submitted = request["jobDriver"]["sparkSubmit"]
        driver = "spark.emr-serverless.driverEnv."
        settings = dict(part.split("=", 1) for part in shlex.split(submitted["sparkSubmitParameters"]) if "=" in part)
        environment = {name.removeprefix(driver): value for name, value in settings.items() if name.startswith(driver)}
        pipes = {name: value for name, value in environment.items() if name.startswith("DAGSTER_PIPES")}
        said = run_program(submitted["entryPointArguments"], pipes)
        stream = f"/applications/{answer['applicationId']}/jobs/{answer['jobRunId']}/SPARK_DRIVER"
        _print_to_cloudwatch("/features", f"{stream}/stdout", said)

    cluster_hook("emr-serverless.StartJobRun", emr)
    environment = {
        "MDLC_SPARK": f"emr-serverless:{made['applicationId']}",
        "MDLC_SPARK_ROLE": _ROLE,
        "MDLC_SPARK_SCRIPT": "s3://code/spark_job.py",
        "MDLC_SPARK_ENVIRONMENT": "s3://code/environment.tar.gz",
        "MDLC_SPARK_LOGS": "/features",
    }
    ran = _run(declared, lake, days, spark_from_environment(environment))
    _is_as_in_bulk(declared, lake, days, ran)
    (request,) = asked
    submitted = request["jobDriver"].pop("sparkSubmit")
    settings = submitted.pop("sparkSubmitParameters").split(" --conf ")
    assert settings[:4] == [
        "--conf spark.archives=s3://code/environment.tar.gz#environment",
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON=./environment/bin/python",
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON=./environment/bin/python",
        "spark.executorEnv.PYSPARK_PYTHON=./environment/bin/python",
    ]
    assert [part.partition("=")[0] for part in settings[4:]] == [
        "spark.emr-serverless.driverEnv.DAGSTER_PIPES_CONTEXT",
        "spark.emr-serverless.driverEnv.DAGSTER_PIPES_MESSAGES",
    ]
    expected = [part for argument in _arguments(declared, lake, days).items() for part in argument]
    assert submitted == {"entryPoint": "s3://code/spark_job.py", "entryPointArguments": expected}
    assert request["executionTimeoutMinutes"] == 720
    assert request["executionRoleArn"] == _ROLE
    assert request["configurationOverrides"] == {
        "monitoringConfiguration": {
            "cloudWatchLoggingConfiguration": {"enabled": True, "logGroupName": "/features"},
        }
    }


def _arguments(lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date]) -> dict[str, str]:
    declaration = f"{lake.root}/{lifecycle.name}/spark_declarations/{lifecycle.fingerprint()}.json"
    return {
        "--declaration": declaration,
        "--lake": lake.root,
        "--first": days[0].isoformat(),
        "--last": days[-1].isoformat(),
    }


def test_a_job_that_does_not_say_what_it_wrote_is_a_failure(declared: LifecycleDeclaration, tmp_path) -> None:  # type: ignore[no-untyped-def]
    lake, days = _lay(declared, str(tmp_path))
    with pytest.raises(dg.Failure, match=r"did not report 2018-04-09 and 1 other days .* Mend: switch on"):
        _run(declared, lake, days, SubmittedSpark(command=[sys.executable, "-c", "pass"]))


def test_the_environment_names_the_cluster() -> None:
    assert spark_from_environment({}) == LocalSpark(master="local[*]")
    assert spark_from_environment({"MDLC_SPARK": "local[4]"}) == LocalSpark(master="local[4]")
    submitted = spark_from_environment({"MDLC_SPARK": "process:spark-submit --master yarn"})
    assert submitted == SubmittedSpark(command=["spark-submit", "--master", "yarn"])
    assert spark_from_environment({"MDLC_SPARK": "glue:features"}) == GlueSpark(job_name="features")
    with pytest.raises(ValueError, match=r"MDLC_SPARK is 'yarn', which names no cluster\. Mend: local"):
        spark_from_environment({"MDLC_SPARK": "yarn"})
    with pytest.raises(ValueError, match=r"MDLC_SPARK_ROLE is not set\. Mend: set it"):
        spark_from_environment({"MDLC_SPARK": "emr-serverless:1"})
