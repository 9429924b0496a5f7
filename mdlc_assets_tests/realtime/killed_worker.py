"""A process that imports once, and then lets a new worker loose for each line it is sent.

Each worker is a process of its own, made by a fork before anything has been computed, so that it starts in a fraction
of a second and can be killed for real. `ready <pid>` is said when a worker is at its third batch (or its first one, for
the line `at once`), `ended <code>` when it is gone; for `drain` it goes when nothing is left.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What takes the longest to import, once for all workers.
import pandera.backends.polars.container  # noqa: F401

import mdlc_assets.features.event_kernels
import mdlc_assets.features.kernel
import mdlc_assets.quality.schemas  # noqa: F401
from mdlc_assets.declaration import read_declaration
from mdlc_assets.realtime.stream_handler import Handled
from mdlc_assets.realtime.stream_worker import Pace
from mdlc_assets.resources.streams.records import Record
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.realtime.streaming import Place

# Small batches, that there are many places between two effects; a lease so short that its end need not be awaited long.
PACE = Pace(batch=40, lease=0.2, idle=0.01, first_pause=0.01, longest_pause=0.05)


def main() -> None:
    """Serve lines until there are no more."""
    place = Place(Path(sys.argv[1]), read_declaration(SHIPPED / "payments_fraud" / "defs.yaml"), int(sys.argv[2]))
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            worker = place.worker(pace=PACE)
            handle = worker.handler.handle
            calls: list[int] = []

            def told(
                records: Sequence[Record], handle: Any = handle, calls: list[int] = calls, last: str = line
            ) -> Handled:
                # The first batch takes long in a new process; the kills are to fall between the later ones too.
                calls.append(1)
                if len(calls) == (3 if last.startswith("go on") else 1):
                    _say(f"ready {os.getpid()}")
                return handle(records)

            worker.handler.handle = told  # type: ignore[method-assign]
            worker.run(until_empty=line.strip() == "drain")
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
