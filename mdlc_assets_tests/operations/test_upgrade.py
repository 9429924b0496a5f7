"""What an earlier commit left is carried on. Nothing has been published yet: 80e5143 stands for the release before.

`state_of_80e5143.tar.xz` was made by that commit's code, with `make_released_state.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster
import dagster as dg
import mlflow
import polars as pl
import pytest
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from dagster._core.test_utils import environ

from mdlc_assets.cli import main
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.testing import SamplePlatform, sample_platform

pytestmark = pytest.mark.slow
_STATE = Path(__file__).parent / "state_of_80e5143.tar.xz"
_AT_OWN_TIME = {"scored_at", "decided_at"}
_MIGRATIONS = {
    "dagster/history/runs.db": Path(dagster.__file__).parent / "_core/storage/alembic",
    "dagster/history/runs/index.db": Path(dagster.__file__).parent / "_core/storage/alembic",
    "dagster/schedules/schedules.db": Path(dagster.__file__).parent / "_core/storage/alembic",
    "mlflow/mlflow.db": Path(mlflow.__file__).parent / "store/db_migrations",
}
"""Databases of a home, and how the packages that are installed come to their tables."""


@dataclass
class _Released:
    """A home of that commit under this code, what its commands said, and the tables of its next day."""

    platform: SamplePlatform
    said: dict[str, str]
    next_day: Path

    def ask(self, *line: str) -> str:
        ran = CliRunner().invoke(main, ["--home", str(self.platform.home.root), *line])
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    def rows(self, table: str, day: date) -> pl.DataFrame:
        found = self.platform.table(table, [day])
        return found.select([column for column in found.columns if column not in _AT_OWN_TIME])


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Released]:
    """The home in another place, its databases migrated as docs/production.md says."""
    root = tmp_path_factory.mktemp("released")
    with tarfile.open(_STATE) as tar:
        tar.extractall(root, filter="data")
    said = json.loads((root / "said.json").read_text())
    _move(root / "home" / "mlflow" / "mlflow.db", said["home"], str(root / "home"))
    _run("mlflow", "db", "upgrade", f"sqlite:///{root}/home/mlflow/mlflow.db")
    _run("dagster", "instance", "migrate", DAGSTER_HOME=str(root / "home" / "dagster"))
    declared = root / "lifecycles" / "payments_fraud" / "defs.yaml"
    with environ({"MDLC_LIFECYCLES": str(root / "lifecycles")}), sample_platform(declared, root / "home") as platform:
        yield _Released(platform, said, root / "next_day")


def _move(database: Path, old: str, new: str) -> None:
    """MLflow names artifacts by their whole paths."""
    with closing(sqlite3.connect(database)) as opened, opened:
        for (table,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for column in [one[1] for one in opened.execute(f"PRAGMA table_info('{table}')")]:
                there = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'
                opened.execute(there, (old, new, old))


def _run(*line: str, **more: str) -> None:
    command = [str(Path(sys.executable).parent / line[0]), *line[1:]]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **more})
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_its_databases_are_as_the_installed_packages_want_them(released: _Released) -> None:
    for name, migrations in _MIGRATIONS.items():
        with closing(sqlite3.connect(released.platform.home.root / name)) as opened:
            found = [one for (one,) in opened.execute("SELECT version_num FROM alembic_version")]
        assert found == ScriptDirectory(str(migrations)).get_heads() != [], name


def test_the_commands_answer_as_they_did(released: _Released) -> None:
    before, now = json.loads(released.said["history"]), json.loads(released.ask("history", "--json"))
    assert [one["version"] for one in now] == [one["version"] for one in before] == [1, 2]
    for old, new in zip(before, now, strict=True):
        assert {key: new[key] for key in old} == old
    assert released.ask("audit") == released.said["audit"]
    assert released.ask("audit", "--verify") == released.said["verified"]
    assert released.platform.loop.resources["registry"].champion("payments_fraud").version == 2


def test_dagster_knows_what_was_made_and_by_which_run(released: _Released) -> None:
    instance, days = released.platform.loop.instance, released.platform.days(9)
    for table in ("raw", "features"):
        made = instance.get_materialized_partitions(dg.AssetKey(["payments_fraud", table]))
        assert made >= {f"{day}" for day in days}, table
    run = instance.get_run_by_id(released.said["run"])
    assert run
    assert run.is_success
    assert instance.all_logs(run.run_id, dg.DagsterEventType.STEP_SUCCESS), "the log of its steps is read"


def test_an_old_day_is_scored_the_same_again(released: _Released) -> None:
    day = date.fromisoformat(released.said["day"]) - timedelta(days=1)
    stored = {name: released.rows(name, day) for name in ("features", "batch_predictions", "decisions")}
    assert stored["batch_predictions"].height == 40
    ran = released.platform.run("batch_inference", [day])
    assert ran.success, (ran.error, ran.stopped_by)
    for name, rows in stored.items():
        assert released.rows(name, day).select(rows.columns).equals(rows), name


def test_life_goes_on(released: _Released) -> None:
    """The old champion scores a new day as its own code did, is judged, and a retrained version takes its place."""
    platform, day = released.platform, date.fromisoformat(released.said["day"])
    judged = platform.run("monitor", [day - timedelta(days=2)])
    assert judged.success, (judged.error, judged.stopped_by)

    landing = platform.home.landing / "payments_fraud" / "transactions"
    shutil.copy(released.next_day / "landed.parquet", landing / f"{day}.parquet")
    ran = platform.run("batch_inference", [day])
    assert ran.success, (ran.error, ran.stopped_by)
    for name in ("features", "batch_predictions", "decisions"):
        expected = pl.read_parquet(released.next_day / f"{name}.parquet")
        kept = [column for column in expected.columns if column not in _AT_OWN_TIME]
        assert platform.table(name, [day]).select(kept).equals(expected.select(kept)), name

    resources = platform.loop.resources
    filling = fill_store(platform.declaration, resources["lake"], resources["online_store"].store)
    assert (filling.days, filling.through) == (2, day), "only the new day and that of the new labels: the rest is kept"

    trained = platform.run("train", [day - timedelta(days=1)])
    assert trained.success, (trained.error, trained.stopped_by)
    now = json.loads(released.ask("history", "--json"))
    assert [(one["version"], one["serves"]) for one in now] == [(1, False), (2, True), (3, False)]
    assert now[2]["compared_with"] not in ("", "none"), "the gate holds it against the champion of then"
    released.ask("approve", "3", "--approver", "ann@example.com", "--reason", "newer", "--override")
    assert resources["registry"].champion("payments_fraud").version == 3
    released.ask("rollback", "--approver", "ann@example.com", "--reason", "as before")
    assert resources["registry"].champion("payments_fraud").version == 2
    assert resources["registry"].audit_problems("payments_fraud") == []
