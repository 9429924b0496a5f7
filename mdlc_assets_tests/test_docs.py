"""What the documentation says is tried: its code runs, its YAML is taken, its commands are there, its site builds."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from mdlc_assets.cli import main
from mdlc_assets.commands.reference import pages
from mdlc_assets.declaration.schema import declaration_schema
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.docs_site import build_site

_ROOT = Path(__file__).parents[1]
_PAGES = sorted([_ROOT / "README.md", *(_ROOT / "docs").glob("*.md")])
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^ {4}(?:\.venv/bin/)?mdlc (?![A-Z])(.+)$", re.MULTILINE)
# Pieces of code that show a call in the middle of something; what stands around it is made here.
_AROUND = {
    "monitoring.md": "from datetime import timedelta\nfrom mdlc_assets.declaration import read_declaration\n"
    "from mdlc_assets.testing import sample_rows\n"
    "lifecycle = read_declaration('my_model/defs.yaml')\nnames = ['amount']\n"
    "days = [lifecycle.dataset.start + timedelta(days=i) for i in range(31)]\n"
    "healthy = {day: sample_rows(lifecycle, day) for day in days[:30]}\n"
    "today, rows_today = days[30], sample_rows(lifecycle, days[30])\n",
    "online_features.md": "from mdlc_assets.declaration import read_declaration\n"
    "from mdlc_assets.features.online import OnlineFeatures\n"
    "from mdlc_assets.resources.online_store import OnlineStore\n"
    "from mdlc_assets.simulator.world import Simulator\n"
    "lifecycle = read_declaration('my_model/defs.yaml')\nonline_store = OnlineStore(path='store.db')\n"
    "world = Simulator(lifecycle.dataset.start, customers=50)\n"
    "events, labels = world.transactions(lifecycle.dataset.start), world.labels(lifecycle.dataset.start)\n"
    "event = events.row(0, named=True)\n",
}


def _blocks(language: str) -> Iterator[Any]:
    for page in _PAGES:
        for number, found in enumerate(_BLOCK.finditer(page.read_text())):
            if found[1] == language:
                yield pytest.param(page.name, found[2], id=f"{page.name}-{number}")


def _commands() -> Iterator[Any]:
    for page in _PAGES:
        for found in _COMMAND.finditer(page.read_text()):
            line = re.split(r"\s{2,}|\s>|\s#|\s\|", found[1])[0]
            yield pytest.param(line, id=f"{page.name}: {line[:60]}")


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), _blocks("python"))
def test_python_runs(page: str, code: str, tmp_path: Path) -> None:
    for name in ("my_model", "lifecycles/rain"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copyfile(SHIPPED / "payments_fraud" / "defs.yaml", tmp_path / name / "defs.yaml")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _AROUND.get(page, "") + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def _as_a_piece(schema: Any) -> Any:
    """The schema of a piece of a declaration: what is there must be right, and nothing must be there."""
    if isinstance(schema, dict):
        return {key: _as_a_piece(part) for key, part in schema.items() if key != "required"}
    return [_as_a_piece(part) for part in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(("page", "text"), _blocks("yaml"))
def test_yaml_is_what_a_declaration_takes(page: str, text: str) -> None:
    content = yaml.safe_load(text)
    schema = declaration_schema()
    fields = schema["properties"]["attributes"]["properties"]
    if not set(content) & set(fields):
        assert content, "it is at least YAML"
        return
    piece = _as_a_piece({**schema["properties"]["attributes"], "$defs": schema["$defs"]})
    errors = [error.message for error in jsonschema.Draft202012Validator(piece).iter_errors(_as_json(content))]
    assert not errors


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_as_json(part) for part in value]
    return str(value) if isinstance(value, date) else value


@pytest.mark.parametrize("line", _commands())
def test_commands_are_there_with_their_options(line: str) -> None:
    command: click.Command = main
    words = shlex.split(line.replace("<", "").replace(">", ""))
    while isinstance(command, click.Group):
        if words[0].startswith("-"):
            return
        # Asked of the group itself, since one may have a command that goes without its name.
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    # `...` and text after the command are for people; an option that is not there fails.
    command.make_parser(click.Context(command)).parse_args([word for word in words if word != "..."])


def test_the_reference_has_every_field_and_command() -> None:
    made = pages(main)
    for name, part in declaration_schema()["$defs"].items():
        for field in part.get("properties", {}):
            assert f"| `{field}` |" in made["declaration.md"].split(f"## {name}\n")[1].split("\n## ")[0]
    for name, command in main.commands.items():
        assert command.hidden or f"## mdlc {name}\n" in made["commands.md"]
    assert "### SamplePlatform.check_windows" in made["testing.md"]


def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    ran = build_site(tmp_path)
    assert ran.returncode == 0, ran.stdout[-3000:]
    site = tmp_path / "site"
    for page in (tmp_path / "docs").rglob("*.md"):
        assert (site / page.relative_to(tmp_path / "docs")).with_suffix(".html").exists()
    loaded = re.compile(
        r"<(?:script|img|link rel=\"(?:stylesheet|preconnect)\")[^>]*(?:src|href)=\"(?:https?:)?//[^\"]+"
    )
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text()), page
