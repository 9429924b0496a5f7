"""`--json`: every command that answers something gives one JSON document on stdout, and nothing else there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import read_declaration
from mdlc_assets.testing import sample_rows
from mdlc_assets_tests.conftest import SHIPPED

_WITHOUT = {
    "demo": "a story for people; its exit code says whether all went well",
    "dev": "goes on until it is stopped",
    "serve": "goes on until it is stopped",
    "schema": "answers with a JSON document anyhow",
    "reference": "writes pages for the documentation",
}
_NAME = "payments_fraud"


def _commands(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _commands(below, (*path, name))
    else:
        yield " ".join(path), command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days have landed."""
    root = tmp_path_factory.mktemp("home")
    landing = root / "landing" / _NAME / "transactions"
    landing.mkdir(parents=True)
    declaration = read_declaration(SHIPPED / _NAME / "defs.yaml")
    for i in range(2):
        day = declaration.days(declaration.dataset.start, declaration.dataset.end)[i]  # type: ignore[arg-type]
        sample_rows(declaration, day, 30).write_parquet(landing / f"{day}.parquet")
    return root


def _mdlc(home: Path, *line: str) -> tuple[int, str, str]:
    ran = CliRunner().invoke(main, ["--home", str(home), *line, "--json"], env={"MDLC_LIFECYCLES": ""})
    assert ran.exception is None or isinstance(ran.exception, SystemExit), repr(ran.exception)
    return ran.exit_code, ran.stdout, ran.stderr


def _document(home: Path, *line: str, code: int = 0) -> Any:
    found, out, err = _mdlc(home, *line)
    assert found == code, out + err
    assert bool(err) or not code, "what is refused says why on stderr"
    return json.loads(out)


def test_every_command_has_it_or_a_reason() -> None:
    has = {name for name, command in _commands() if "--json" in [opt for p in command.params for opt in p.opts]}
    names = {name for name, _ in _commands()}
    assert has & set(_WITHOUT) == set()
    assert names - has == set(_WITHOUT)


def test_stdout_holds_the_document_alone(home: Path) -> None:
    """In a process of its own, whose real stdout neither Dagster, MLflow nor a progress bar writes to."""
    command = [str(Path(sys.executable).parent / "mdlc"), "--home", str(home), "run", _NAME, "history", "train"]
    ran = subprocess.run([*command, "--json"], env={**os.environ}, capture_output=True, text=True, check=False)
    history, train = json.loads(ran.stdout)
    assert ran.returncode == 1, "two days are too few to train"
    assert (history["success"], history["first"], history["last"]) == (True, "2018-04-01", "2018-04-02")
    assert not train["success"] and train["error"] in ran.stderr
    assert "Traceback" not in ran.stderr


def test_what_is_there(home: Path, tmp_path: Path) -> None:
    assert _document(home, "validate", str(SHIPPED / _NAME / "defs.yaml"))[0]["problems"] == []
    assert {"check", "says", "mend"} <= _document(home, "doctor")[0].keys()
    assert _document(home, "history") == []
    assert _document(home, "audit") == {"lifecycle": _NAME, "entries": []}
    verified = _document(home, "audit", "--verify")
    assert (verified["entries"], verified["problems"]) == (0, [])
    assert _document(home, "stop")["done"] is True
    assert _document(home, "stream", "dead", _NAME) == []
    assert _document(home, "stream", "redrive", _NAME) == []
    to = ("--to", str(tmp_path / "asl"), "--role", "arn:aws:iam::123456789012:role/mdlc", "--region", "eu-west-1")
    places = ("--bucket", "s3://data", "--image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mdlc:1")
    exported = _document(home, "export", "step-functions", _NAME, *to, *places)
    assert all(Path(file).exists() for file in exported["files"]) and len(exported["files"]) > 3


def test_what_is_done(home: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(home / "landing" / _NAME / "transactions" / "2018-04-02.parquet")
    later = rows.with_columns(pl.col("event_time").dt.offset_by("1d"))
    later.write_parquet(tmp_path / "later.parquet")
    landed = _document(home, "land", _NAME, str(tmp_path / "later.parquet"))
    assert (landed["rows"], landed["days"]) == (30, ["2018-04-03"])
    again = _mdlc(home, "land", _NAME, str(tmp_path / "later.parquet"))
    assert again[:2] == (1, "") and "Mend: --add" in again[2], "refused before it began: no document"
    put = _document(home, "stream", "put", _NAME, str(tmp_path / "later.parquet"))
    assert list(put["records"].values()) == [30]
    read = _document(home, "stream", "read", _NAME, "--until-empty")
    assert (read["landed"], read["dead"]) == (30, {})
    own = shutil.copytree(home / "landing", tmp_path / "own" / "landing").parent
    made = _document(own, "backup", str(tmp_path / "kept"))
    shutil.rmtree(own)
    back = _document(own, "restore", str(tmp_path / "kept"))
    assert (made["files"], made["name"]) == (back["files"], back["name"])


def test_what_is_refused(home: Path) -> None:
    rejected = _document(home, "reject", "7", "--reason", "why not", "--approver", "a@b.co", code=1)
    assert (rejected["done"], rejected["version"]) == (False, 7) and "has no version 7" in rejected["error"]
    approved = _document(home, "approve", "7", "--reason", "why not", "--approver", "a@b.co", code=1)
    assert not approved["done"] and approved["run"], "the run is on record"
    rolled = _document(home, "rollback", "--reason", "why not", "--approver", "a@b.co", code=1)
    assert "no earlier champion" in rolled["error"]
    taken = _document(home, "take-back", "--reason", "why not", "--who", "a@b.co", code=1)
    assert "No rollout" in taken["error"]
    assert _document(home, "audit", "--event", "no-such", code=1)["seen"] == []


def test_the_usual_lifecycle_is_your_own(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (SHIPPED / "bakery_demand" / "defs.yaml").read_text()

    (tmp_path / "own").mkdir()

    def asked(*names: str) -> tuple[int, str, str]:
        for name in names:
            (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "own" / name / "defs.yaml").write_text(text.replace("name: bakery_demand", f"name: {name}", 1))
        env = {"MDLC_LIFECYCLES": str(tmp_path / "own")}
        ran = CliRunner().invoke(main, ["--home", str(home), "audit", "--json"], env=env)
        return ran.exit_code, ran.stdout, ran.stderr

    assert json.loads(asked()[1])["lifecycle"] == _NAME, "the demo's, since there is none"
    assert json.loads(asked("bread")[1])["lifecycle"] == "bread"
    code, out, err = asked("bread", "cakes")
    assert (code, out) == (2, "") and "2 could be meant: bread, cakes. Mend: name one." in err
