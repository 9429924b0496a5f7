"""All days of a folder, from raw files to features, in one Dagster run, as a backfill launches it.

    python -m benchmarks.history ../shared/payments

Prints seconds and peak memory of the whole process, imports and compilation included.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mdlc_assets.declaration import read_declaration
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.demo.feed import FolderFeed
from mdlc_assets.home import Home

_ASSETS = ("labels", "raw", "validated", "quarantine", "daily_metrics", "quality_report", "feature_state", "features")


def main(source: Path) -> None:
    lifecycle = read_declaration(next(path for path in lifecycle_files() if "payments" in str(path)))
    with tempfile.TemporaryDirectory() as folder:
        home = Home(folder)
        home.prepare()
        feed = FolderFeed(home.landing, lifecycle, source)
        for day in feed.days:
            feed.deliver(day)
        command = [
            str(Path(sys.executable).parent / "dagster"),
            "asset",
            "materialize",
            "-m",
            "mdlc_assets.definitions",
        ]
        command += ["--select", " or ".join(f"key:{lifecycle.name}/{name}" for name in _ASSETS)]
        command += ["--partition-range", f"{feed.days[0]}...{feed.days[-1]}"]
        environment = {**os.environ, "MDLC_HOME": folder, "DAGSTER_HOME": str(home.dagster)}
        began = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken = time.perf_counter() - began
        features = embedded_resources(home)["lake"].table(lifecycle.name, "features")
        rows = features.read(feed.days, [lifecycle.dataset.id]).height
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"| raw files to features, {len(feed.days)} days in one run | {taken:.1f} s |")
    print(f"| rows of features | {rows:,} |\n| peak memory | {peak:.2f} GB |")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
