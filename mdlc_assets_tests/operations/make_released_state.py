"""Makes `state_of_<commit>.tar.gz`: a small home and what the code of that commit said and did with it.

    git worktree add /tmp/old <commit> && cd /tmp/old
    PYTHONPATH=/tmp/old python <here>/make_released_state.py <here>/state_of_<commit>.tar.gz

Only what lasts from release to release is used: the test kit, `mdlc`, and what fills the online store.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.testing import SamplePlatform, sample_platform

_SHIPPED = "mdlc_assets/lifecycles/payments_fraud/defs.yaml"
_DAYS, _ROWS = 18, 40
_SAID = {"history": ["history", "--json"], "audit": ["audit"], "verified": ["audit", "--verify"]}


def declare(folder: Path) -> Path:
    """The shipped declaration of that commit, with short windows and few trees."""
    declared = yaml.safe_load(Path(_SHIPPED).read_text())
    model = declared["attributes"]["model"]
    model["hyperparameters"] |= {"n_estimators": 8, "max_depth": 3}
    model["windows"] = {"train_days": 6, "gap_days": 0, "test_days": 2}
    model["gate"]["approval"] = "person"
    declared["attributes"]["monitoring"]["open_loop"]["reference_days"] = 7
    path = folder / "defs.yaml"
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    return path


def live(platform: SamplePlatform, declared: Path) -> None:
    """Eighteen days: history, a version trained, refused, another approved, days scored and judged, the store filled."""
    days = platform.land_samples(days=_DAYS, rows=_ROWS)
    ran = [platform.run("labels", days[:-6]), platform.run("history", days[:-2])]
    ran += [platform.run("train", [days[-4]]), platform.run("train", [days[-3]])]
    name = platform.declaration.name
    mdlc(platform.home.root, declared, "reject", "1", "--approver", "bob@example.com", "--reason", "too few days")
    approval = {"version": 2, "reason": "the first", "approver": "ann@example.com", "override": True}
    ran.append(platform.loop.run("approve", config={f"{name}__champion": {"config": approval}}))
    ran += [platform.run("batch_inference", [day]) for day in days[-2:]]
    fill_store(platform.declaration, platform.loop.resources["lake"], platform.loop.resources["online_store"].store)
    assert all(one.success for one in ran), ran


def mdlc(home: Path, declared: Path, *line: str) -> str:
    """What a command answers."""
    command = [sys.executable, "-c", "from mdlc_assets.cli import main; main()", "--home", str(home), *line]
    environ = {**os.environ, "MDLC_LIFECYCLES": str(declared.parent.parent)}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def main(archive: str) -> None:
    """Live, ask, keep; then live one more day on a copy, whose tables are what a later version is held against."""
    with tempfile.TemporaryDirectory(prefix="mdlc-released-") as made:
        root = Path(made)
        (root / "lifecycles" / "payments_fraud").mkdir(parents=True)
        declared = declare(root / "lifecycles" / "payments_fraud")
        with sample_platform(declared, root / "home") as platform:
            live(platform, declared)
        said = {key: mdlc(root / "home", declared, *line) for key, line in _SAID.items()}
        kept = root / "kept"
        shutil.copytree(root / "home", kept / "home")
        shutil.copytree(root / "lifecycles", kept / "lifecycles")
        with sample_platform(declared, root / "home") as platform:
            next_day = platform.days(_DAYS + 1)[-1]
            landed = platform.land(next_day, platform.sample(next_day, _ROWS))
            ran = platform.run("batch_inference", [next_day])
            assert ran.success, ran.error
            (kept / "next_day").mkdir()
            shutil.copyfile(landed, kept / "next_day" / "landed.parquet")
            for table in ("features", "batch_predictions", "decisions"):
                platform.table(table, [next_day]).write_parquet(kept / "next_day" / f"{table}.parquet")
        (kept / "said.json").write_text(json.dumps({"home": str(root / "home"), "day": f"{next_day}", **said}, indent=1))
        for useless in kept.rglob("*-shm"):
            useless.unlink()
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(kept, arcname=".")


if __name__ == "__main__":
    main(sys.argv[1])
