"""`mdlc`, run as a person runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import read_declaration
from mdlc_assets.testing import sample_rows
from mdlc_assets_tests.conftest import SHIPPED


def _mdlc(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "mdlc"), *arguments],
        env={**os.environ, "MDLC_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


_HEAVY = ("dagster", "polars", "mlflow", "numpy", "pandas", "pyarrow", "boto3", "pydantic", "yaml", "rich", "sklearn")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, click.testing, mdlc_assets.cli as cli\n"
        "for line in (['--help'], ['new', '--help'], ['run', '--help'], ['approve', '--help']):\n"
        "    assert click.testing.CliRunner().invoke(cli.main, line).exit_code == 0\n"
        f"print([m for m in {_HEAVY!r} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_help_names_every_command_once() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    for name, command in main.commands.items():
        if command.hidden:
            continue
        assert len(re.findall(rf"^  {name} ", said, re.MULTILINE)) == 1, name
    assert said.index("Start:") < said.index("Run:") < said.index("Decide:") < said.index("Look:")


def test_no_color_means_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(main.commands, "painted", click.Command("painted", callback=_paint))
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in CliRunner().invoke(main, ["painted"], color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(main, ["painted"], color=True).output == "red\n"


def _paint() -> None:
    click.secho("red", fg="red")


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o nosort"), ("zsh", "#compdef"), ("fish", "complete ")]
)
def test_shells_complete(shell: str, mark: str) -> None:
    command = [str(Path(sys.executable).parent / "mdlc")]
    ran = subprocess.run(
        command, env={**os.environ, "_MDLC_COMPLETE": f"{shell}_source"}, capture_output=True, text=True, check=True
    )
    assert mark in ran.stdout


def test_validate_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    good = SHIPPED / "payments_fraud" / "defs.yaml"
    ran = _mdlc("validate", str(good), home=tmp_path)
    assert (ran.returncode, "good; payments_fraud has 15 features" in ran.stdout) == (0, True)
    bad = tmp_path / "defs.yaml"
    bad.write_text(good.read_text().replace("algorithm: xgboost", "algorithm: xgbost"))
    ran = _mdlc("validate", str(bad), home=tmp_path)
    assert ran.returncode == 1
    assert "model.algorithm" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_mistakes_get_sentences_not_tracebacks(tmp_path: Path) -> None:
    for arguments, said in (
        (("approve", "1", "--reason", "why not", "--approver", "a@b.co"), "has no version 1"),
        (("rollback", "--reason", "why not", "--approver", "a@b.co"), "no earlier champion"),
        (("reject", "7", "--reason", "why not", "--approver", "a@b.co"), "has no version 7"),
        (("history", "--lifecycle", "payments"), "payments_fraud"),
        (("demo", "--source", str(SHIPPED)), "80 days"),
    ):
        ran = _mdlc(*arguments, home=tmp_path)
        assert ran.returncode != 0, arguments
        assert said in ran.stderr, (arguments, ran.stderr[-500:])
        assert "Traceback" not in ran.stderr, arguments


def test_validate_for_scripts(tmp_path: Path) -> None:
    good, bad = SHIPPED / "payments_fraud" / "defs.yaml", tmp_path / "defs.yaml"
    bad.write_text(good.read_text().replace("algorithm: xgboost", "algorithm: xgbost"))
    ran = CliRunner().invoke(main, ["validate", "--json", str(good), str(bad)])
    assert ran.exit_code == 1
    first, second = json.loads(ran.stdout)
    assert (first["name"], first["problems"]) == ("payments_fraud", [])
    assert second["file"] == str(bad)
    assert [(p["field"], p["mend"]) for p in second["problems"]] == [("model.algorithm", "write 'xgboost'")]


def test_run_for_scripts(tmp_path: Path) -> None:
    landing = tmp_path / "landing" / "payments_fraud" / "transactions"
    landing.mkdir(parents=True)
    declaration = read_declaration(SHIPPED / "payments_fraud" / "defs.yaml")
    sample_rows(declaration, declaration.dataset.start, 30).write_parquet(landing / "2018-04-01.parquet")
    ran = CliRunner().invoke(main, ["--home", str(tmp_path), "run", "payments_fraud", "history", "train", "--json"])
    assert ran.exit_code == 1, "one day is too early to train"
    history, train = json.loads(ran.stdout)
    assert (history["success"], history["first"], history["error"]) == (True, "2018-04-01", "")
    assert not train["success"]
    assert "Mend: train as of" in train["error"]


def test_only_a_declared_stream_has_a_lag(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["--home", str(tmp_path), "run", "bakery_demand", "stream_lag"])
    assert ran.exit_code == 1
    assert "bakery_demand declares none" in ran.output and "Mend: add `stream: {}`" in ran.output


def test_hooks_call_what_is_there() -> None:
    root = Path(__file__).parents[1]
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"], "nothing is fetched"
    for hook in hooks[0]["hooks"]:
        assert (Path(sys.executable).parent / Path(hook["entry"].split()[0]).name).exists(), hook["id"]
