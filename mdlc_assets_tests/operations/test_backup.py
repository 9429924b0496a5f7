"""`mdlc backup` and `mdlc restore` on a real home: MLflow, audit trail, lake, Dagster's state come back and go on."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.operations.backup import BackupError, back_up, backups_at, restore
from mdlc_assets.resources.registry import Candidate, Registry
from mdlc_assets.resources.storage import open_storage
from mdlc_assets.training.algorithms import fit
from mdlc_assets.training.approval import approve
from mdlc_assets_tests.conftest import SHIPPED

_NAME = "payments_fraud"


def _mdlc(home: Home, *line: str) -> str:
    ran = CliRunner().invoke(main, ["--home", str(home.root), *line])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def _register(registry: Registry, lifecycle: LifecycleDeclaration, as_of: str) -> int:
    rows = pl.DataFrame({"a": np.arange(50.0), "y": np.arange(50) % 2})
    fitted = fit(lifecycle.model.model_copy(update={"hyperparameters": {"n_estimators": 2}}), rows, ["a"], "y")
    files = {f"{folder}/{name}": content for folder in ("model", "judged") for name, content in fitted.files().items()}
    tags = {"mdlc.train": "some days", "mdlc.gate": "passed"}
    return registry.register(_NAME, Candidate(as_of, fitted.digest(), files, ["a"], {"seed": 0}, tags)).version


def _state(home: Home) -> dict[str, str]:
    """What the commands say, and every file that is not a database."""
    said = {
        "history": _mdlc(home, "history", "--json"),
        "audit": _mdlc(home, "audit"),
        "chain": str(embedded_resources(home)["registry"].audit_problems(_NAME)),
    }
    files = {
        str(path.relative_to(home.root)): path.read_bytes().hex()
        for path in home.root.rglob("*")
        if path.is_file() and path.read_bytes()[:6] != b"SQLite" and not path.name.endswith(("-wal", "-shm"))
    }
    return said | files


def live(root: str) -> None:
    """A version registered and approved, a day in the lake, an event in Dagster; prints what the home answers."""
    home, lifecycle = Home(root), load_lifecycle(SHIPPED / _NAME / "defs.yaml").declaration
    home.prepare()
    resources = embedded_resources(home)
    registry, day = resources["registry"], lifecycle.dataset.start
    version = _register(registry, lifecycle, "2018-06-01")
    approve(registry, lifecycle, version, "ann@example.com", "the first", override=True)
    resources["lake"].table(_NAME, "raw").write_day(day, pl.DataFrame({"id": [1, 2]}))
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization([_NAME, "raw"], partition=f"{day}"))
    sys.stdout.write("\n" + json.dumps(_state(home)))


@pytest.mark.slow
def test_a_restored_home_answers_the_same_and_goes_on(
    s3_root: str, tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    home, folder, day = Home(tmp_path / "home"), str(tmp_path / "kept"), payments_fraud.dataset.start
    # A process of its own, as before a loss: SQLite refuses connections whose file was moved away.
    code = f"from mdlc_assets_tests.operations.test_backup import live; live({str(home.root)!r})"
    where = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], cwd=where, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    before = json.loads(ran.stdout.splitlines()[-1])

    assert "MB, of which" in _mdlc(home, "backup", s3_root)
    back_up(home, folder)
    embedded_resources(home)["lake"].table(_NAME, "raw").write_day(day + timedelta(days=1), pl.DataFrame({"id": [3]}))
    again = back_up(home, folder)
    assert again.sent < again.size / 10, "what has not changed is not sent again"
    assert len(backups_at(folder)) == 2
    shutil.rmtree(home.root)

    _mdlc(home, "restore", s3_root)
    assert _state(home) == before
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey([_NAME, "raw"])) == {f"{day}"}
    registry = embedded_resources(home)["registry"]
    version = _register(registry, payments_fraud, "2018-06-02")
    approve(registry, payments_fraud, version, "bob@example.com", "better", override=True)
    assert registry.champion(_NAME).version == version == 2
    assert registry.audit_problems(_NAME) == []

    shutil.rmtree(home.root)
    _mdlc(home, "restore", folder)
    raw = embedded_resources(home)["lake"].table(_NAME, "raw")
    assert raw.days() == [day, day + timedelta(days=1)], "the newest is taken"


def test_a_database_in_use_is_copied_as_of_one_moment(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    database, stop = home.root / "pairs.db", threading.Event()
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE pairs (a INT, b INT)")
        connection.execute("INSERT INTO pairs VALUES (0, 0)")

    def write() -> None:
        writer = sqlite3.connect(database, timeout=60, isolation_level=None)
        while not stop.is_set():
            writer.executescript("BEGIN; UPDATE pairs SET a = a + 1; UPDATE pairs SET b = b + 1; COMMIT;")
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        names = [back_up(home, str(tmp_path / "kept")).name for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    seen = []
    for name in names:
        shutil.rmtree(home.root)
        restore(home, str(tmp_path / "kept"), name)
        (row,) = sqlite3.connect(database).execute("SELECT a, b FROM pairs").fetchall()
        assert row[0] == row[1]
        seen.append(row[0])
    assert seen == sorted(seen)
    assert seen[-1] > 0


class _Ends(Exception):  # noqa: N818 - not an error of ours
    pass


def test_one_that_breaks_off_is_no_backup_and_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, place = Home(tmp_path / "home"), str(tmp_path / "kept")
    home.root.mkdir()
    for i in range(5):
        (home.root / f"{i}.txt").write_text(f"{i}")
    kind = type(open_storage(place))
    real, left = kind.write, [3]

    def breaks(self: object, name: str, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise _Ends
        real(self, name, content)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(kind, "write", breaks)
        with pytest.raises(_Ends):
            back_up(home, place)
    assert backups_at(place) == []
    assert back_up(home, place).sent == 2, "what was sent is not sent again"

    shutil.rmtree(home.root)
    changed = sorted(path for path in (tmp_path / "kept" / "objects").rglob("*") if path.is_file())[-1]
    content = changed.read_bytes()
    for wrong, said in ((b"other", "is not what was backed up"), (None, "is gone")):
        changed.write_bytes(wrong) if wrong else changed.unlink()
        with pytest.raises(BackupError, match=rf"\d\.txt: its content .*{said}.*Mend: "):
            restore(home, place)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"], "nothing is left of it"
    changed.write_bytes(content)
    assert restore(home, place).files == 5


def test_refusals_name_their_mend(tmp_path: Path) -> None:
    home, place = Home(tmp_path / "home"), str(tmp_path / "kept")
    with pytest.raises(BackupError, match="there is no such folder"):
        back_up(home, place)
    with pytest.raises(BackupError, match="no backup is there"):
        restore(home, place)
    home.root.mkdir()
    (home.root / "a.txt").write_text("a")
    with pytest.raises(BackupError, match="lies inside the home"):
        back_up(home, str(home.root / "kept"))
    name = back_up(home, place).name
    with pytest.raises(BackupError, match="is not empty"):
        restore(home, place)
    with pytest.raises(BackupError, match=r"no backup 'x' is there.*choose one of"):
        restore(home, place, "x")
    with pytest.raises(BackupError, match=f"is of the home {home.root}, not of"):
        restore(Home(tmp_path / "elsewhere"), place)
    listed = tmp_path / "kept" / "backups" / f"{name}.json"
    document = json.loads(listed.read_text())
    shutil.rmtree(home.root)
    listed.write_text(json.dumps(document | {"format": 9}))
    with pytest.raises(BackupError, match="has format 9, this version reads 1"):
        restore(home, place)
    listed.write_text(json.dumps(document | {"files": {"../out.txt": document["files"]["a.txt"]}}))
    with pytest.raises(BackupError, match="leads out of the home"):
        restore(home, place)
    assert not (tmp_path / "out.txt").exists()
    ran = CliRunner().invoke(main, ["--home", str(home.root), "backup", place], env={"MDLC_LAKE": "s3://b/lake"})
    assert ran.exit_code == 1
    assert "versioned buckets" in ran.output
