"""The template speaks of no trade: who foretells bread or watches pumps reads nothing of payments."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import mdlc_assets
from mdlc_assets.cli import main

_ROOT = Path(mdlc_assets.__file__).parent
_OWN_SUBJECT = ("lifecycles/payments_fraud", "demo", "simulator")
_WORD = re.compile(
    r"payment|fraud|terminal_|\bterminals\b|\bcards\b|credit.card|\bcustomers?\b|customer_", re.IGNORECASE
)
_ALLOWED = {
    # A guess from the names of columns: these are among many trades' words.
    "scaffold/look.py": ("customer|client", "fraud|churn", '"fraud"'),
    # The shipped lifecycle that the demo lives through, and the published figures that it is held to.
    "commands/demo.py": ("Fraud Detection Handbook", "shared/payments"),
    "training/metrics.py": ("Fraud Detection Handbook", "fraud-detection-handbook"),
    # Of a team's own customers: values that alerts and logs never hold.
    "monitoring/open_loop.py": ("stands for a customer",),
    "monitoring/problems.py": ("values of customers",),
    "resources/alerts.py": ("value of a customer",),
}


def _files() -> list[Path]:
    found = (path for path in _ROOT.rglob("*") if path.suffix in (".py", ".yaml", ".json", ".html", ".txt"))
    names = ((path, path.relative_to(_ROOT).as_posix()) for path in found)
    return sorted(path for path, name in names if not name.startswith(_OWN_SUBJECT))


def test_no_file_of_the_template_speaks_of_payments() -> None:
    wrong = []
    for path in _files():
        name = path.relative_to(_ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _WORD.search(line) and not any(words in line for words in _ALLOWED.get(name, ())):
                wrong.append(f"{name}:{number}: {line.strip()[:120]}")
    assert len(_files()) > 200, "the files are looked at"
    assert wrong == []


@pytest.mark.parametrize(("name", "words"), [(name, w) for name, all_ in _ALLOWED.items() for w in all_])
def test_every_exception_is_needed(name: str, words: str) -> None:
    lines = (_ROOT / name).read_text(encoding="utf-8").splitlines()
    assert any(words in line and _WORD.search(line) for line in lines)


def test_no_command_but_the_demo_and_its_table_names_the_demo() -> None:
    for name, command in main.commands.items():
        if name not in ("demo", "table"):
            below = command.commands.values() if isinstance(command, click.Group) else [command]
            for one in below:
                said = one.get_help(click.Context(one, info_name=name))
                assert not re.search("payment|fraud", said, re.IGNORECASE), said
