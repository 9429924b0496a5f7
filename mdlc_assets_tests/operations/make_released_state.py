"""Makes `state_of_<commit>.tar.xz`: a small home and what the code of that commit said and did with it.

    mkdir /tmp/old && git archive <commit> | tar x -C /tmp/old && cd /tmp/old
    PYTHONPATH=/tmp/old python <here>/make_released_state.py <here>/state_of_<commit>.tar.xz

Only what lasts from release to release is used: the test kit, `mdlc`, and what fills the online store.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import yaml

from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.testing import SamplePlatform, sample_platform

_SHIPPED = "mdlc_assets/lifecycles/payments_fraud/defs.yaml"
_DAYS, _ROWS, _DELAY = 9, 40, "2d"
_SAID = {"history": ["history", "--json"], "audit": ["audit"], "verified": ["audit", "--verify"]}


def declare(folder: Path) -> Path:
    """The shipped declaration of that commit, with short windows, labels known early and few trees."""
    declared = yaml.safe_load(Path(_SHIPPED).read_text().replace("delay: 7d", f"delay: {_DELAY}"))
    model = declared["attributes"]["model"]
    model["hyperparameters"] |= {"n_estimators": 8, "max_depth": 3}
    model["windows"] = {"train_days": 3, "gap_days": 0, "test_days": 1}
    model["gate"]["approval"] = "person"
    declared["attributes"]["monitoring"]["open_loop"]["reference_days"] = 7
    path = folder / "defs.yaml"
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    return path


def live(platform: SamplePlatform, declared: Path) -> str:
    """Nine days: history, a version trained, refused, another approved, days scored, the store filled.

    Returns the run that trained the champion.
    """
    days = platform.land_samples(days=_DAYS, rows=_ROWS)
    ran = [platform.run("labels", days[:-2]), platform.run("history", days[:-2])]
    ran += [platform.run("train", [days[-4]]), platform.run("train", [days[-3]])]
    name = platform.declaration.name
    mdlc(platform.home.root, declared, "reject", "1", "--approver", "bob@example.com", "--reason", "too few days")
    approval = {"version": 2, "reason": "the first", "approver": "ann@example.com", "override": True}
    ran.append(platform.loop.run("approve", config={f"{name}__champion": {"config": approval}}))
    ran += [platform.run("batch_inference", [day]) for day in days[-2:]]
    fill_store(platform.declaration, platform.loop.resources["lake"], platform.loop.resources["online_store"].store)
    assert all(one.success for one in ran), ran
    return ran[3].run_id


def mdlc(home: Path, declared: Path, *line: str) -> str:
    """What a command answers."""
    command = [sys.executable, "-c", "from mdlc_assets.cli import main; main()", "--home", str(home), *line]
    environ = {**os.environ, "MDLC_LIFECYCLES": str(declared.parent.parent)}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def slim(home: Path, run: str) -> None:
    """Of Dagster's logs of each run only that run's stays, pictures that nothing reads and space that was freed go."""
    for events in (home / "dagster" / "history" / "runs").glob("*-*.db*"):
        if events.name.split(".")[0] != run:
            events.unlink()
    shutil.rmtree(home / "dagster" / "storage")
    for picture in (home / "mlflow").rglob("*.png"):
        picture.unlink()
    for database in home.rglob("*.db"):
        with closing(sqlite3.connect(database)) as opened:
            _without_pictures(opened)
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            opened.execute("VACUUM")


def _without_pictures(opened: sqlite3.Connection) -> None:
    """An asset's plot lies in its event as text."""
    opened.create_function("plain", 1, lambda text: re.sub(r"(data:image/png;base64,)[\w+/=]+", r"\1", text or ""))
    for (table,) in opened.execute("SELECT name FROM sqlite_master WHERE name = 'event_logs'").fetchall():
        opened.execute(f"UPDATE {table} SET event = plain(event)")
    opened.commit()


def main(archive: str) -> None:
    """Live, ask, keep; then live one more day on a copy, whose tables are what a later version is held against."""
    with tempfile.TemporaryDirectory(prefix="mdlc-released-") as made:
        root = Path(made)
        (root / "lifecycles" / "payments_fraud").mkdir(parents=True)
        declared = declare(root / "lifecycles" / "payments_fraud")
        with sample_platform(declared, root / "home") as platform:
            run = live(platform, declared)
        said = {key: mdlc(root / "home", declared, *line) for key, line in _SAID.items()}
        kept = root / "kept"
        shutil.copytree(root / "home", kept / "home")
        shutil.copytree(root / "lifecycles", kept / "lifecycles")
        with sample_platform(declared, root / "home") as platform:
            next_day = platform.days(_DAYS + 1)[-1]
            landed = platform.land(next_day, platform.sample(next_day, _ROWS))
            labelled, ran = (
                platform.run("labels", [next_day - timedelta(days=2)]),
                platform.run("batch_inference", [next_day]),
            )
            assert labelled.success, labelled.error
            assert ran.success, ran.error
            (kept / "next_day").mkdir()
            shutil.copyfile(landed, kept / "next_day" / "landed.parquet")
            for table in ("features", "batch_predictions", "decisions"):
                platform.table(table, [next_day]).write_parquet(kept / "next_day" / f"{table}.parquet")
        slim(kept / "home", run)
        also = {"home": str(root / "home"), "day": f"{next_day}", "run": run}
        (kept / "said.json").write_text(json.dumps(also | said, indent=1))
        for useless in [*kept.rglob("*-shm"), *kept.rglob("*-wal")]:
            useless.unlink()
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            tar.add(kept, arcname=".")


if __name__ == "__main__":
    main(sys.argv[1])
