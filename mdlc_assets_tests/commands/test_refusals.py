"""What the surroundings refuse: AWS, disks, a registry that does not answer. A sentence with its mend, no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.commands.refusals import in_words
from mdlc_assets_tests.conftest import SHIPPED

_WAITS_S = 120


def _backup(home: Path, place: str = "s3://mdlc-is-not-there/backup") -> str:
    (home / "lake").mkdir(parents=True, exist_ok=True)
    (home / "lake" / "part.parquet").write_bytes(b"rows")
    ran = CliRunner().invoke(main, ["--home", str(home), "backup", place])
    assert ran.exit_code == 1, ran.output
    assert isinstance(ran.exception, SystemExit), repr(ran.exception)
    return ran.stderr


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home on a machine where nobody is logged in at AWS."""
    # An earlier test of this process may have left a session that is.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "AWS: Unable to locate credentials. Mend: log in (`aws sso login`), or set AWS_PROFILE."),
        ({"AWS_ACCESS_KEY_ID": "half"}, "AWS: Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY. Mend:"),
        ({"AWS_PROFILE": "prod"}, "The config profile (prod) could not be found. Mend: correct AWS_PROFILE"),
        ({"AWS_DEFAULT_REGION": "eu west 1"}, "doesn't match a supported format. Mend: correct AWS_DEFAULT_REGION"),
    ],
)
def test_aws_without_what_it_wants(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert said in _backup(nowhere)


def test_a_bucket_that_is_not_there(s3_root: str, tmp_path: Path) -> None:
    said = _backup(tmp_path / "home")
    assert "The specified bucket does not exist" in said
    assert "Mend: deploy the stack that makes it, or correct its name" in said


def test_an_address_where_aws_is_not(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{_free_port()}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    assert "or see that this machine reaches AWS." in _backup(nowhere)


@pytest.mark.parametrize("below", ["", "/home", "/home/of/models"])
def test_a_home_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "visits.csv").write_text("at,label\n2024-03-01,1\n")
    for command in (["new", "visits", "--data", "visits.csv", "--yes"], ["history"]):
        ran = CliRunner().invoke(main, command, env={"MDLC_HOME": f"{tmp_path}/notes.txt{below}"})
        assert ran.exit_code == 1
        assert f"MDLC_HOME {tmp_path}/notes.txt{below}: " in ran.stderr
        assert "is a file, not a folder. Mend: name another, or move the file." in ran.stderr
    assert not (tmp_path / "lifecycles").exists(), "it was found out before anything was written"


def test_a_place_that_nobody_may_write_to(tmp_path: Path) -> None:
    with pytest.raises(OSError) as refused:
        Path("/sys/mdlc").mkdir()
    said = in_words(refused.value)
    assert said.startswith("/sys/mdlc: ") and "Mend: " in said


def test_faults_of_ours_keep_their_traceback() -> None:
    for error in (KeyError("temp"), FileNotFoundError(2, "No such file", "part"), ValueError("Mend: not ours")):
        assert in_words(error) == ""


def test_a_feed_that_nobody_reads(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("a,b\n1,2\n")
    command = ["--home", str(tmp_path / "home"), "land", "payments_fraud", str(data), "--feed", "label"]
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 1
    assert "--feed label: payments_fraud reads no such feed. Mend: write 'labels'." in ran.stderr


def test_two_of_one_name_are_wrong_wherever_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdlc_assets.declaration.files import SameNameError
    from mdlc_assets.definitions import build_definitions

    text = (SHIPPED / "pump_anomalies" / "defs.yaml").read_text()
    for folder in ("pumps", "pumps_2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "defs.yaml").write_text(text.replace("pump_anomalies", "pumps"))
    monkeypatch.setenv("MDLC_LIFECYCLES", str(tmp_path))
    ran = CliRunner().invoke(main, ["validate"])
    assert ran.exit_code == 1
    assert "pumps_2/defs.yaml: name: both declare a lifecycle 'pumps'. Mend:" in ran.stderr
    with pytest.raises(SameNameError, match=r"both declare a lifecycle 'pumps'\. Mend:"):
        build_definitions()
    one = str(tmp_path / "pumps" / "defs.yaml")
    assert CliRunner().invoke(main, ["validate", one, one]).exit_code == 0, "the same file twice is one"


def test_a_registry_that_does_not_answer_is_said_before_it_is_waited_for(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{_free_port()}"
    needed = dict.fromkeys(("MDLC_LAKE", "MDLC_LANDING", "MDLC_PAGES", "MDLC_ARTIFACTS"), str(tmp_path))
    environment = {**os.environ, **needed, "MLFLOW_TRACKING_URI": address, "MDLC_HOME": str(tmp_path / "home")}
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [str(Path(sys.executable).parent / "mdlc"), "serve", "payments_fraud"]
        service = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        end = time.monotonic() + _WAITS_S
        while "Mend:" not in log.read_text() and time.monotonic() < end and service.poll() is None:
            time.sleep(0.1)
    finally:
        service.kill()
        service.wait()
    assert f"MLFLOW_TRACKING_URI {address}: nothing answers there (Connection refused)" in log.read_text()
    assert "Mend: start MLflow, or correct the address." in log.read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
