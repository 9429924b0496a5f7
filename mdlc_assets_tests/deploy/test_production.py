"""Production's settings on real parts: Postgres over TLS, S3 and ECS by moto, MLflow as the image starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import dagster as dg
import httpx
import pytest
import yaml
from dagster._core.instance import InstanceRef
from dagster._core.test_utils import environ

from mdlc_assets.production import NEEDED, UnsetError, production_resources
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.deploy.database import PASSWORD, connection, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
pytestmark = pytest.mark.slow


def test_dagster_lives_on_these_settings(databases: int, _moto_address: str, tmp_path: Path) -> None:
    given = {
        "DB_HOST": "127.0.0.1",
        "DB_USER": "dagster",
        "DB_PASSWORD": PASSWORD,
        "MDLC_LOG_BUCKET": "mdlc-logs",
        "MDLC_RUN_TASK": "mdlc-run",
        "AWS_ENDPOINT_URL": _moto_address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with environ(given):
        boto3.client("s3").create_bucket(Bucket="mdlc-logs")
        container = {"name": "run", "image": "mdlc-assets", "memory": 512}
        boto3.client("ecs").register_task_definition(family="mdlc-run", containerDefinitions=[container])
        settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
        # Only the port differs, which is a free one here, and where the image has its volume.
        settings["storage"]["postgres"]["postgres_db"]["port"] = databases
        settings["local_artifact_storage"]["config"]["base_dir"] = str(tmp_path / "data")
        home = tmp_path / "home"
        home.mkdir()
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
            assert type(instance.run_launcher).__name__ == "EcsRunLauncher"
            assert instance.run_launcher.task_definition.endswith(":task-definition/mdlc-run:1")  # type: ignore[attr-defined]
            assert instance.run_retries_enabled
            assert instance.run_monitoring_enabled
            assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 25

            @dg.op
            def says() -> None:
                print("said by a step")  # noqa: T201

            @dg.job
            def one() -> None:
                says()

            ran = one.execute_in_process(instance=instance)
            assert instance.get_run_by_id(ran.run_id).status is dg.DagsterRunStatus.SUCCESS  # type: ignore[union-attr]
            assert instance.all_logs(ran.run_id)[-1].dagster_event_type is dg.DagsterEventType.PIPELINE_SUCCESS
        assert [path.name for path in home.iterdir()] == ["dagster.yaml"], "the image's folder was written to"
        names = [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket="mdlc-logs")["Contents"]]
        assert any(name.startswith(f"compute-logs/storage/{ran.run_id}/") for name in names), names


def test_connections_that_are_not_encrypted_are_refused(databases: int) -> None:
    import psycopg2

    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        connection(databases, "dagster", psycopg2, "disable")


def test_mlflow_starts_as_the_image_starts_it(databases: int, tmp_path: Path) -> None:
    import mlflow

    port = free_port()
    program = [sys.executable, str(DEPLOY / "images" / "serve_mlflow.py")]
    given = {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(databases),
        "DB_USER": "dagster",
        "DB_PASSWORD": PASSWORD,
        "MLFLOW_HOST": "127.0.0.1",
        "MLFLOW_PORT": str(port),
        "MLFLOW_WORKERS": "1",
        "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "artifacts"),
    }
    refused = subprocess.run(program, env={**os.environ, "DB_HOST": ""}, capture_output=True, text=True, check=False)
    assert refused.stderr.strip() == "DB_HOST: nothing is given. Mend: set it in the environment."
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(program, env={**os.environ, **given}, stdout=log, stderr=log, start_new_session=True)
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while time.monotonic() < end:
            assert server.poll() is None, (tmp_path / "log").read_text()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{address}/health", trust_env=False).status_code == 200:
                    break
            time.sleep(0.2)
        arguments = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode()
        assert "rd%" not in arguments
        client = mlflow.MlflowClient(address)
        client.create_registered_model("payments_fraud")
        assert [model.name for model in client.search_registered_models()] == ["payments_fraud"]
        # What is not there is told from a server that is away, over HTTP too.
        registry = Registry(tracking_uri=address, artifact_root=str(tmp_path))
        assert registry.champion("payments_fraud") is registry.champion("no_such_model") is None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_one_servers_parts_find_each_other(databases: int, tmp_path: Path) -> None:
    """The code location and the webserver of Compose as processes, over its settings: every job is seen in the UI."""
    code, web = free_port(), free_port()
    settings = yaml.safe_load((DEPLOY / "compose" / "dagster.yaml").read_text())
    settings["storage"]["postgres"]["postgres_db"]["port"] = databases
    settings["compute_logs"]["config"]["base_dir"] = str(tmp_path / "logs")
    settings["local_artifact_storage"]["config"]["base_dir"] = str(tmp_path / "storage")
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
    workspace["load_from"][0]["grpc_server"]["port"] = code
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    given = {
        **{"DAGSTER_HOME": str(tmp_path), "DB_HOST": "127.0.0.1", "DB_USER": "dagster", "DB_PASSWORD": PASSWORD},
        **{name: str(tmp_path / name) for name in NEEDED},
        **{"MDLC_HOME": str(tmp_path / "mdlc"), "MDLC_CODE_HOST": "127.0.0.1"},
    }
    binaries = Path(sys.executable).parent
    commands = [
        [str(binaries / "dagster"), "api", "grpc", "-m", "mdlc_assets.production", "-h", "127.0.0.1", "-p", str(code)],
        [
            str(binaries / "dagster-webserver"),
            "-w",
            str(tmp_path / "workspace.yaml"),
            "-h",
            "127.0.0.1",
            "-p",
            str(web),
        ],
    ]
    asked = "{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } pipelines { name } } } } }"
    with contextlib.ExitStack() as stack, (tmp_path / "said").open("w") as said:
        running: list[subprocess.Popen[bytes]] = []
        for command in commands:
            running.append(subprocess.Popen(command, env={**os.environ, **given}, stdout=said, stderr=said))
            stack.callback(running[-1].wait, 30)
            stack.callback(running[-1].terminate)
        end, nodes = time.monotonic() + 120, []
        while not nodes:
            assert time.monotonic() < end, (tmp_path / "said").read_text()[-3000:]
            assert all(one.poll() is None for one in running), (tmp_path / "said").read_text()[-3000:]
            time.sleep(0.2)
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.post(
                    f"http://127.0.0.1:{web}/graphql", json={"query": asked}, trust_env=False, timeout=60
                )
                nodes = answer.json()["data"]["repositoriesOrError"].get("nodes", [])
                if not nodes:
                    reload = "mutation { reloadWorkspace { __typename } }"
                    httpx.post(f"http://127.0.0.1:{web}/graphql", json={"query": reload}, trust_env=False, timeout=60)
    (node,) = nodes
    assert node["location"]["name"] == "mdlc_assets"
    assert {"payments_fraud_train", "payments_fraud_batch_inference"} <= {job["name"] for job in node["pipelines"]}


def test_what_production_needs_is_named() -> None:
    with pytest.raises(UnsetError, match=r"MDLC_LANDING, MDLC_PAGES.*: nothing is set\. Mend: set them"):
        production_resources({"MDLC_LAKE": "s3://bucket/lake"})
    given = dict.fromkeys(NEEDED, "s3://bucket/x/")
    resources = production_resources(given)
    assert resources["lake"].root == "s3://bucket/x"
    assert "sagemaker" not in resources
    assert production_resources(given | {"MDLC_SAGEMAKER_ROLE": "arn"})["sagemaker"].form == "aws"
