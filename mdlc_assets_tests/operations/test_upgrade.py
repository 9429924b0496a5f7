"""What an earlier release left is read: `state_of_80e5143.tar.gz` was made by that commit's code."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from dagster._core.test_utils import environ

from mdlc_assets.cli import main
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.testing import SamplePlatform, sample_platform

pytestmark = pytest.mark.slow
_STATE = Path(__file__).parent / "state_of_80e5143.tar.gz"


@dataclass
class _Released:
    """A home of that release under this code, what its commands said, and the tables of its next day."""

    platform: SamplePlatform
    said: dict[str, str]
    next_day: Path

    def ask(self, *line: str) -> str:
        ran = CliRunner().invoke(main, ["--home", str(self.platform.home.root), *line])
        assert ran.exit_code == 0, ran.output
        return ran.stdout


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Released]:
    root = tmp_path_factory.mktemp("released")
    with tarfile.open(_STATE) as tar:
        tar.extractall(root, filter="data")
    said = json.loads((root / "said.json").read_text())
    _move(root / "home" / "mlflow" / "mlflow.db", said["home"], str(root / "home"))
    declared = root / "lifecycles" / "payments_fraud" / "defs.yaml"
    with environ({"MDLC_LIFECYCLES": str(root / "lifecycles")}), sample_platform(declared, root / "home") as platform:
        yield _Released(platform, said, root / "next_day")


def _move(database: Path, old: str, new: str) -> None:
    """MLflow names artifacts by their whole paths."""
    with closing(sqlite3.connect(database)) as opened, opened:
        for (table,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for column in [one[1] for one in opened.execute(f"PRAGMA table_info('{table}')")]:
                there = f"UPDATE \"{table}\" SET \"{column}\" = replace(\"{column}\", ?, ?) WHERE instr(\"{column}\", ?)"
                opened.execute(there, (old, new, old))


def test_the_commands_answer_as_they_did(released: _Released) -> None:
    before, now = json.loads(released.said["history"]), json.loads(released.ask("history", "--json"))
    assert [one["version"] for one in now] == [one["version"] for one in before]
    for old, new in zip(before, now, strict=True):
        assert {key: new[key] for key in old} == old
    assert released.ask("audit") == released.said["audit"]
    assert released.ask("audit", "--verify") == released.said["verified"]


def test_its_champion_scores_a_new_day_the_same(released: _Released) -> None:
    platform, day = released.platform, date.fromisoformat(released.said["day"])
    landing = platform.home.landing / "payments_fraud" / "transactions"
    shutil.copy(released.next_day / "landed.parquet", landing / f"{day}.parquet")
    ran = platform.run("batch_inference", [day])
    assert ran.success, (ran.error, ran.stopped_by)
    for name in ("features", "batch_predictions", "decisions"):
        expected = pl.read_parquet(released.next_day / f"{name}.parquet")
        kept = [column for column in expected.columns if column not in {"scored_at", "decided_at"}]
        assert platform.table(name, [day]).select(kept).equals(expected.select(kept)), name

    resources = platform.loop.resources
    filling = fill_store(platform.declaration, resources["lake"], resources["online_store"].store)
    assert (filling.days, filling.through) == (1, day), "what the store held is kept"
