"""`mdlc doctor` on installations that are whole, and on ones that lack something: what it says, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner, Result

from mdlc_assets.cli import main
from mdlc_assets.home import Home
from mdlc_assets.operations.doctor import _DRY_CALLS, aws_findings

_KEYS = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}


def _doctor(home: Path, **environment: str) -> tuple[Result, dict[str, dict[str, Any]]]:
    usual = {"MDLC_HOME": str(home), "DAGSTER_HOME": None}
    ran = CliRunner().invoke(main, ["doctor", "--json"], env=usual | environment)
    found = json.loads(ran.stdout[ran.stdout.index("[") :])
    return ran, {finding["check"]: finding for finding in found}


def test_a_whole_installation_is_called_good(tmp_path: Path) -> None:
    Home(tmp_path).prepare()
    ran, found = _doctor(tmp_path)
    assert ran.exit_code == 0, found
    assert set(found) == {"home", "declarations", "exposure", "dagster", "mlflow", "lake", "landing"}
    assert not [finding for finding in found.values() if finding["mend"]]
    assert "0 files of payments_fraud" in found["landing"]["says"]
    assert not list((tmp_path / "lake" / "_doctor").glob("*")), "the trial was taken away"


def test_everything_wrong_is_told_with_its_mend(tmp_path: Path) -> None:
    lifecycles = tmp_path / "lifecycles"
    (lifecycles / "broken").mkdir(parents=True)
    (lifecycles / "broken" / "defs.yaml").write_text("name: broken\n")
    ran, found = _doctor(
        tmp_path / "home",
        MDLC_LIFECYCLES=str(lifecycles),
        MDLC_SERVE_HOST="0.0.0.0",
        MDLC_LAKE=str(tmp_path / "lake"),
        MDLC_LANDING=str(tmp_path / "landing"),
        MDLC_PAGES=str(tmp_path / "pages"),
        MDLC_ARTIFACTS=str(tmp_path / "artifacts"),
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )
    assert ran.exit_code == 1
    assert "defs.yaml" in found["declarations"]["says"]
    assert "may listen on 0.0.0.0 without a token" in found["exposure"]["says"]
    assert found["exposure"]["mend"].startswith("set MDLC_ENDPOINT_TOKEN")
    assert "has no dagster.yaml" in found["dagster"]["says"]
    assert "127.0.0.1:9 gives no answer" in found["mlflow"]["says"]
    assert found["lake"]["mend"] == ""


def test_settings_that_are_missing_are_all_named(tmp_path: Path) -> None:
    ran, found = _doctor(tmp_path, MDLC_LAKE=str(tmp_path / "lake"))
    assert ran.exit_code == 1
    assert found["settings"]["says"].startswith("MDLC_LANDING, MDLC_PAGES, MLFLOW_TRACKING_URI, MDLC_ARTIFACTS")


def test_a_short_token_is_no_protection(tmp_path: Path) -> None:
    _, found = _doctor(tmp_path, MDLC_ENDPOINT_TOKEN="abc")
    assert found["exposure"]["says"] == "MDLC_ENDPOINT_TOKEN has 3 characters"
    _, found = _doctor(tmp_path, MDLC_ENDPOINT_TOKEN="a" * 16, MDLC_TOKEN="abcd")
    assert found["exposure"]["says"] == "MDLC_TOKEN has 4 characters"


@pytest.mark.parametrize("below", ["", "home"])
def test_a_home_that_is_a_file_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    ran, found = _doctor(tmp_path / "file" / below)
    assert ran.exit_code == 1
    assert "is a file, not a folder. It cannot be written." in found["home"]["says"]
    assert found["home"]["mend"] == "name another, or move the file"


def test_a_lake_that_is_not_there_is_told(s3_root: str, tmp_path: Path) -> None:
    given = {name: f"{s3_root}/{name}" for name in ("MDLC_LANDING", "MDLC_PAGES", "MDLC_ARTIFACTS")}
    mlflow = f"sqlite:///{tmp_path}/mlflow.db"
    ran, found = _doctor(tmp_path, **given, MDLC_LAKE="s3://not-there/lake", MLFLOW_TRACKING_URI=mlflow)
    assert ran.exit_code == 1
    assert "NoSuchBucket" in found["lake"]["says"] + found["lake"]["mend"]
    assert found["landing"]["mend"] == ""


def _answering(codes: dict[str, str]) -> Any:
    """Clients that refuse the named methods with a code, and know nothing of what the others ask for."""

    def client_of(service: str) -> Any:
        client = boto3.client(service, **_KEYS)
        stub = Stubber(client)
        for named, method, _, _ in _DRY_CALLS:
            if named == service and method in asked:
                stub.add_client_error(method, codes.get(method, "ValidationException"), "no", 400)
        stub.activate()
        return client

    asked: set[str] = set()

    def one_at_a_time(service: str) -> Any:
        pending = [method for named, method, _, _ in _DRY_CALLS if named == service and method not in done]
        asked.clear()
        asked.add(pending[0])
        done.add(pending[0])
        return client_of(service)

    done: set[str] = set()
    return one_at_a_time


def test_permissions_that_are_missing_are_named() -> None:
    (finding,) = aws_findings(_answering({"describe_transform_job": "AccessDeniedException"}))
    assert finding.says == "not allowed: sagemaker:DescribeTransformJob"
    assert "deploy/cloudformation/roles.yaml" in finding.mend
    (finding,) = aws_findings(_answering({}))
    assert finding.good
    assert finding.says == f"{len(_DRY_CALLS)} calls are allowed"
    (finding,) = aws_findings(_answering({"describe_training_job": "ExpiredTokenException"}))
    assert finding.says == "the credentials are refused: ExpiredTokenException"


def test_a_throttled_call_is_not_taken_for_an_allowed_one() -> None:
    refused = {"describe_endpoint": "ThrottlingException", "list_models": "AccessDeniedException"}
    missing, busy = aws_findings(_answering(refused))
    assert missing.says == "not allowed: sagemaker:ListModels"
    assert busy.says == "throttled, so not known to be allowed: sagemaker:DescribeEndpoint"
    assert "higher rate" in busy.mend
