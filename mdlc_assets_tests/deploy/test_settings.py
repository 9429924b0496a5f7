"""The files that no engine starts here: what they name exists, and they say the same as each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config_schema

from mdlc_assets.production import NEEDED

_ROOT = Path(__file__).parents[2]
_DEPLOY = _ROOT / "deploy"
_IMAGES = sorted(path for path in _DEPLOY.rglob("Dockerfile*"))
_MAIN = (_DEPLOY / "Dockerfile").read_text()


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((_DEPLOY / name).read_text())


@pytest.mark.parametrize("name", ["dagster.yaml", "compose/dagster.yaml"])
def test_dagster_takes_the_settings(name: str) -> None:
    found = validate_config(dagster_instance_config_schema(), _read(name))
    assert found.success, [error.message for error in found.errors or []]
    wrong = _read(name) | {"run_monitoring": {"enabled": True, "poll_seconds": 1}}
    assert not validate_config(dagster_instance_config_schema(), wrong).success


@pytest.mark.parametrize("path", _IMAGES, ids=lambda path: path.name)
def test_what_an_image_copies_exists_and_it_runs_without_rights(path: Path) -> None:
    text = path.read_text()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in line.split():
            assert (_ROOT / name).exists(), name
    assert re.search(r"^CMD \[", text, re.MULTILINE)
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    # SageMaker alone expects root; what is built on ours keeps its user.
    assert users[-1:] != ["root"] or path.name == "Dockerfile.sagemaker"
    assert users or "FROM ${BASE}" in text


def test_one_server_publishes_nothing_beyond_itself() -> None:
    compose = _read("compose/docker-compose.yaml")
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert name == "code" or "healthcheck" in service, name  # the image of `code` brings its own
        if name != "postgres":
            assert service["cap_drop"] == ["ALL"], name
            assert set(NEEDED) <= set(service["environment"]), name
            folder = service["environment"]["DAGSTER_HOME"]
            assert re.search(rf"^COPY deploy/compose/dagster.yaml {folder}/$", _MAIN, re.MULTILINE), folder
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (_DEPLOY / "compose" / source).is_file() if source.startswith("./") else source in compose["volumes"]
    assert compose["networks"]["inside"]["internal"]
    assert set(compose["services"]["postgres"]["networks"]) == {"inside"}
    given = (_DEPLOY / "compose" / "example.env").read_text()
    assert "POSTGRES_PASSWORD=\n" in given, "a password must be chosen, none is shipped"


def test_eks_is_limited_as_ecs_is() -> None:
    chart, settings = _read("helm/values.yaml"), _read("dagster.yaml")
    (deployment,) = chart["dagster-user-deployments"]["deployments"]
    assert set(NEEDED) <= {one["name"] for one in deployment["env"]}
    assert deployment["codeServerArgs"] == ["-m", "mdlc_assets.production"]
    queue = chart["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    limits = settings["concurrency"]["runs"]
    assert queue["maxConcurrentRuns"] == limits["max_concurrent_runs"]
    assert queue["tagConcurrencyLimits"] == limits["tag_concurrency_limits"]
    watched, monitored = chart["dagsterDaemon"]["runMonitoring"], settings["run_monitoring"]
    assert watched["maxRuntimeSeconds"] == monitored["max_runtime_seconds"]
    assert chart["dagsterDaemon"]["runRetries"]["maxRetries"] == settings["run_retries"]["max_retries"]
    assert json.loads(chart["ingress"]["annotations"]["alb.ingress.kubernetes.io/listen-ports"]) == [{"HTTPS": 443}]
    assert not chart["postgresql"]["enabled"]


def test_both_pipelines_build_every_image_that_the_stacks_take() -> None:
    for name in ("cicd/buildspec-images.yaml", "cicd/github-actions.yaml"):
        text = (_DEPLOY / name).read_text()
        built = re.findall(r"docker build -f (\S+)", text)
        assert built == ["deploy/Dockerfile", "deploy/Dockerfile.sagemaker", "deploy/images/Dockerfile.lambda"]
        assert all((_ROOT / path).is_file() for path in built)
        assert "latest" not in text
    actions = yaml.safe_load((_DEPLOY / "cicd/github-actions.yaml").read_text())
    assert actions["permissions"] == {"contents": "read"}
    assert actions["jobs"]["release"]["environment"] == "production"
    targets = re.findall(r"make ([a-z ]+)", str(actions["jobs"]["test"]["steps"]))
    made = (_ROOT / "Makefile").read_text()
    assert targets
    for target in " ".join(targets).split():
        assert re.search(rf"^{target}:", made, re.MULTILINE), target
    for name in re.findall(r"buildspec-\w+\.yaml", (_DEPLOY / "cloudformation/cicd.yaml").read_text()):
        assert (_DEPLOY / "cicd" / name).is_file(), name
