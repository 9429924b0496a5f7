"""Checks an installation: each check looks at one thing by using it, and says what is wrong and how to mend it.

Nothing is changed: what is written for a trial is taken away again, and AWS is asked only for what is not there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdlc_assets.home import Home
from mdlc_assets.operations.services import BUSY, answers, questions
from mdlc_assets.production import UnsetError, in_production, production_resources
from mdlc_assets.resources.aws import DENIED, EXPIRED
from mdlc_assets.resources.endpoint_state import TOKEN_VARIABLE, ExposedError, check_host

_LEAST_FREE = 1_000_000_000
_SHORTEST_TOKEN = 16
_SERVICE_TOKEN = "MDLC_TOKEN"  # noqa: S105 - the name of the decision service's variable
_NOTHING = "mdlc-doctor-asks-for-nothing"
# Calls without effect: what they ask for is not there, and who may not ask is told so first.
_DRY_CALLS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("sagemaker", "describe_training_job", "sagemaker:DescribeTrainingJob", {"TrainingJobName": _NOTHING}),
    ("sagemaker", "describe_transform_job", "sagemaker:DescribeTransformJob", {"TransformJobName": _NOTHING}),
    ("sagemaker", "describe_endpoint", "sagemaker:DescribeEndpoint", {"EndpointName": _NOTHING}),
    ("sagemaker", "list_models", "sagemaker:ListModels", {"MaxResults": 1}),
    ("cloudwatch", "describe_alarms", "cloudwatch:DescribeAlarms", {"AlarmNames": [f"{_NOTHING}-rollout-x"]}),
)


@dataclass(frozen=True)
class Finding:
    """What a check saw. `mend` is empty when all is well."""

    check: str
    says: str
    mend: str = ""

    @property
    def good(self) -> bool:
        return not self.mend


def examine(home: Home, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The findings, one after the other. A check that breaks is a finding, not the end."""
    yield from _guarded("home", lambda: _home(home))
    yield from _guarded("declarations", _declarations)
    yield from _guarded("exposure", lambda: _exposure(environment))
    yield from _guarded("dagster", lambda: _dagster(home, environment))
    try:
        resources = _resources(home, environment)
    except UnsetError as error:
        text, _, mend = str(error).partition(" Mend: ")
        yield Finding("settings", text, mend)
        return
    yield from _guarded("mlflow", lambda: _mlflow(resources))
    yield from _guarded("lake", lambda: _lake(resources))
    yield from _guarded("landing", lambda: _landing(resources))
    yield from _guarded("services", lambda: _services(environment))
    if resources["sagemaker"].form == "aws":
        yield from _guarded("aws", lambda: aws_findings(resources["sagemaker"].client))


def _guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        yield Finding(check, f"{type(error).__name__}: {said}", _mend_of(error))


def _mend_of(error: Exception) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
        if code in DENIED:
            return f"allow {error.operation_name} to this role; deploy/cloudformation/roles.yaml has it"
        if code in EXPIRED:
            return "renew the credentials that boto3 finds"
        return f"see what AWS says of {error.operation_name}: {code}"
    if isinstance(error, BotoCoreError):
        return "check region, credentials and the way to AWS"
    return "see the text; docs/production.md says what is needed"


def _resources(home: Home, environment: Mapping[str, str]) -> dict[str, Any]:
    from mdlc_assets.definitions import embedded_resources

    replaced = production_resources(environment) if in_production(environment) else {}
    return embedded_resources(home) | replaced


def _home(home: Home) -> Iterator[Finding]:
    root = home.root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"1")
    except OSError as error:
        yield Finding(
            "home", f"{root} cannot be written: {error.strerror}", "give this user the folder, or set MDLC_HOME"
        )
        return
    free = shutil.disk_usage(root).free
    if free < _LEAST_FREE:
        yield Finding("home", f"{root} has {free / 1e9:.1f} GB left", "make room for at least 1 GB")
        return
    yield Finding("home", f"{root} can be written, {free / 1e9:.0f} GB are free")


def _declarations() -> Iterator[Finding]:
    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.declaration.files import lifecycle_files
    from mdlc_assets.lifecycle import load_lifecycle

    names: list[str] = []
    broken = False
    for path in lifecycle_files():
        try:
            names.append(load_lifecycle(path).declaration.name)
        except DeclarationError as error:
            broken = True
            yield Finding("declarations", str(error), f"mend the file; `mdlc validate {path}` checks it")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield Finding("declarations", f"{', '.join(twice)} is declared more than once", "give each its own name")
    elif names and not broken:
        yield Finding("declarations", f"{len(names)} read: {', '.join(names)}")
    elif not broken:
        yield Finding("declarations", "there is none", "name a folder with <name>/defs.yaml in MDLC_LIFECYCLES")


def _exposure(environment: Mapping[str, str]) -> Iterator[Finding]:
    host, token = environment.get("MDLC_SERVE_HOST", ""), environment.get(TOKEN_VARIABLE)
    if host:
        try:
            check_host(host, token)
        except ExposedError as error:
            text, _, mend = str(error).partition(" Mend: ")
            yield Finding("exposure", text, mend)
            return
    for name in (TOKEN_VARIABLE, _SERVICE_TOKEN):
        if 0 < len(environment.get(name, "")) < _SHORTEST_TOKEN:
            text = f"{name} has {len(environment[name])} characters"
            yield Finding("exposure", text, f"use a random one of at least {_SHORTEST_TOKEN}")
            return
    yield Finding("exposure", f"endpoints listen on {host or 'loopback'}{', with a token' if token else ''}")


def _dagster(home: Home, environment: Mapping[str, str]) -> Iterator[Finding]:
    import dagster as dg

    folder = Path(environment.get("DAGSTER_HOME") or home.dagster)
    if not (folder / "dagster.yaml").is_file():
        mend = "set DAGSTER_HOME to a folder with dagster.yaml; `mdlc dev` makes one in the home"
        yield Finding("dagster", f"{folder} has no dagster.yaml", mend)
        return
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        count = instance.get_runs_count()
        storage = type(instance.run_storage).__name__
    yield Finding("dagster", f"{folder} opens: {storage}, {count} runs")


def _mlflow(resources: Mapping[str, Any]) -> Iterator[Finding]:
    registry = resources["registry"]
    address = registry.tracking_uri
    shown = address.split("@")[-1]
    # MLflow itself would wait for minutes.
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        from mlflow import MlflowClient

        if address.startswith("sqlite:///"):
            Path(address.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        found = MlflowClient(address, address).search_registered_models(max_results=100)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        yield Finding("mlflow", f"{shown} gives no answer: {said}", "start MLflow, or correct MLFLOW_TRACKING_URI")
        return
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    yield Finding("mlflow", f"{shown} answers: {len(found)} models")


def _lake(resources: Mapping[str, Any]) -> Iterator[Finding]:
    from mdlc_assets.resources.storage import open_storage

    root, name = resources["lake"].root, f"_doctor/{uuid.uuid4().hex}"
    storage = open_storage(root)
    storage.write(name, b"1")
    try:
        if storage.read(name) != b"1" or storage.names("_doctor") == []:
            yield Finding("lake", f"{root} does not give back what was written", "look at the bucket's rules")
            return
    finally:
        storage.delete(name)
    yield Finding("lake", f"{root} can be written, read and listed")


def _landing(resources: Mapping[str, Any]) -> Iterator[Finding]:
    from mdlc_assets.declaration.files import lifecycle_files
    from mdlc_assets.resources.storage import open_storage

    root = resources["landing"].root
    storage = open_storage(root)
    counted = {path.parent.name: len(storage.names(path.parent.name)) for path in lifecycle_files()}
    yield Finding("landing", f"{root}: " + ", ".join(f"{count} files of {name}" for name, count in counted.items()))


def _services(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Nothing where the environment names none of them."""
    from mdlc_assets.declaration.files import lifecycle_files

    asked = questions(environment, [path.parent.name for path in lifecycle_files()])
    if not asked:
        return
    import boto3
    from botocore.config import Config

    # An address that does not answer is told in seconds.
    limits = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    for found in answers(asked, lambda service: boto3.client(service, config=limits)):
        yield Finding(found.service, found.says, found.mend)


def aws_findings(client_of: Callable[[Any], Any]) -> Iterator[Finding]:
    """Whether SageMaker and CloudWatch let this role ask; each permission that is missing is named."""
    from botocore.exceptions import ClientError

    missing, busy, asked = [], [], 0
    for service, method, permission, request in _DRY_CALLS:
        try:
            getattr(client_of(service), method)(**request)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in EXPIRED:
                yield Finding("aws", f"the credentials are refused: {code}", "renew the credentials that boto3 finds")
                return
            if code in DENIED:
                missing.append(permission)
            if code in BUSY:
                # Refused before anybody looked at the role: no sign that it is allowed.
                busy.append(permission)
        asked += 1
    if missing:
        mend = "allow them to the role that this runs under; deploy/cloudformation/roles.yaml has them"
        yield Finding("aws", f"not allowed: {', '.join(missing)}", mend)
    if busy:
        mend = "try again; if it stays so, ask AWS for a higher rate of them"
        yield Finding("aws", f"throttled, so not known to be allowed: {', '.join(busy)}", mend)
    if not missing and not busy:
        yield Finding("aws", f"{asked} calls are allowed")
