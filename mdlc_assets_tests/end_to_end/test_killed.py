"""Kill -9 during any asset, run again: the same bytes in the lake, nothing doubled, nothing lost."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.demo.feed import SimulatedFeed
from mdlc_assets.home import Home

_DAYS = 16
_RUN = """
import sys
from datetime import date
from pathlib import Path
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.demo.loop import open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle

first, labelled, last = (date.fromisoformat(text) for text in sys.argv[2:])
loop = open_loop(load_lifecycle(next(path for path in lifecycle_files() if "payments" in str(path))), Home(sys.argv[1]))
for workflow, end in (("labels", labelled), ("history", last)):
    ran = loop.run(workflow, first, end)
    assert ran.success, ran.error
"""


@pytest.mark.slow
def test_killed_anywhere_and_run_again(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    expected = _lake_after(_land(tmp_path / "whole", payments_fraud), payments_fraud)
    assert {name.split("/")[1] for name in expected} >= {
        "raw",
        "labels",
        "validated",
        "quarantine",
        "features",
    }

    home = _land(tmp_path / "killed", payments_fraud)
    for table in ("labels", "raw", "validated", "quality_report", "features", "feature_state"):
        process = _start(home, payments_fraud)
        folder = home.lake / payments_fraud.name / table
        kept = len(list(folder.glob("date=*/[!.]*")))
        # As soon as the step has written its first day of several: in the midst of it.
        while process.poll() is None and _written(folder) <= kept and not _rewritten(folder, process):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in home.lake.rglob("*.parquet"):
            if not path.name.startswith("."):
                assert path.read_bytes()[-4:] == b"PAR1", f"{path} is half written"
    assert _lake_after(home, payments_fraud) == expected


def _written(folder: Path) -> int:
    return len(list(folder.glob("date=*/[!.]*")))


def _rewritten(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has replaced a file that an earlier, killed one left."""
    began = process.began  # type: ignore[attr-defined]
    return any(path.stat().st_mtime > began for path in folder.glob("date=*/[!.]*"))


def _land(root: Path, lifecycle: LifecycleDeclaration) -> Home:
    home = Home(root)
    feed = SimulatedFeed(home.landing, lifecycle, _DAYS)
    for day in feed.days:
        feed.deliver(day)
        feed.deliver_labels(day)
    return home


def _start(home: Home, lifecycle: LifecycleDeclaration) -> subprocess.Popen[bytes]:
    first: date = lifecycle.dataset.start
    days = (first, first + timedelta(days=_DAYS - 8), first + timedelta(days=_DAYS - 1))
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(home.root), *map(str, days)],
        env={**os.environ, "MDLC_HOME": str(home.root)},
        stderr=subprocess.PIPE,
    )
    process.began = began  # type: ignore[attr-defined]
    return process


def _lake_after(home: Home, lifecycle: LifecycleDeclaration) -> dict[str, str]:
    process = _start(home, lifecycle)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()[-2000:]
    return {
        path.relative_to(home.lake).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.lake.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
