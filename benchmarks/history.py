"""All days of a folder, from raw files to features, through Dagster in one run each for labels and data.

    python -m benchmarks.history ../shared/payments

Prints seconds and peak memory of the whole process, imports and compilation included.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from mdlc_assets.definitions import lifecycle_files
from mdlc_assets.demo.feed import FolderFeed
from mdlc_assets.demo.loop import open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle


def main(source: Path) -> None:
    lifecycle = load_lifecycle(next(path for path in lifecycle_files() if "payments" in str(path)))
    with tempfile.TemporaryDirectory() as folder:
        home = Home(folder)
        feed = FolderFeed(home.landing, lifecycle.declaration, source)
        for day in feed.days:
            feed.deliver(day)
        loop = open_loop(lifecycle, home)
        began = time.perf_counter()
        for workflow in ("labels", "history"):
            started = time.perf_counter()
            ran = loop.run(workflow, feed.days[0], feed.days[-1])
            assert ran.success, ran.error
            print(f"| {workflow}, {len(feed.days)} days | {time.perf_counter() - started:.1f} s |")
        print(f"| both | {time.perf_counter() - began:.1f} s |")
        rows = (
            loop.resources["lake"]
            .table(lifecycle.declaration.name, "features")
            .read(feed.days, ["transaction_id"])
            .height
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| rows of features | {rows} |\n| peak memory | {peak:.2f} GB |")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/payments"))
