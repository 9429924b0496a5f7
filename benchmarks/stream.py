"""The stream's worker beside a plain loop over the same store.

    python -m benchmarks.stream [events]

All are given the same records of simulated payments, in turn, three rounds, each into a store of its own. The worker
reads them from the embedded stream, judges, lands and learns them, and marks what is done. The loops hold the records
in memory already and do nothing but decode and learn them, as many at once as the worker, or one at a time. Printed
are medians, the ratios of each round's.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.home import Home
from mdlc_assets.lifecycles import __file__ as shipped
from mdlc_assets.realtime.stream_handler import StreamHandler
from mdlc_assets.realtime.stream_worker import Pace, StreamWorker
from mdlc_assets.resources.online_store import SqliteStore
from mdlc_assets.resources.storage import FolderStorage
from mdlc_assets.resources.streams.checkpoints import LocalCheckpoints
from mdlc_assets.resources.streams.embedded import EmbeddedStream
from mdlc_assets.simulator.world import Simulator

_ROUNDS, _SHARDS, _BATCH = 3, 4, 1_000
_SINGLY = 500
Entries = Sequence[tuple[str, bytes]]


def _entries(lifecycle: LifecycleDeclaration, count: int) -> list[tuple[str, bytes]]:
    world, rows = Simulator(start=lifecycle.dataset.start, customers=2_000, terminals=3_000), []
    day = lifecycle.dataset.start
    while len(rows) < count:
        rows += world.transactions(day).sort("event_time").to_dicts()
        day += timedelta(days=1)
    return [(str(row["customer_id"]), json.dumps(row, default=str).encode()) for row in rows[:count]]


def _worker(lifecycle: LifecycleDeclaration, home: Home, entries: Entries) -> float:
    """Seconds of the worker, from the first read to the last mark."""
    stream = EmbeddedStream(home.streams / f"{lifecycle.name}.db", shards=_SHARDS)
    for first in range(0, len(entries), 2_000):
        stream.put(entries[first : first + 2_000])
    online = OnlineFeatures(lifecycle, SqliteStore(home.root / "store.db"))
    handler = StreamHandler(lifecycle, FolderStorage(home.landing), online)
    checkpoints = LocalCheckpoints(home.streams / "checkpoints.db", lifecycle.name)
    worker = StreamWorker(stream, checkpoints, handler, Pace(batch=_BATCH))
    began = time.perf_counter()
    done = worker.run(until_empty=True)
    spent = time.perf_counter() - began
    assert (done.landed, done.learnt) == (len(entries), len(entries))
    return spent


def _loop(lifecycle: LifecycleDeclaration, home: Home, entries: Entries, at_once: int) -> float:
    """Seconds of the plain loop."""
    home.root.mkdir(parents=True, exist_ok=True)
    online = OnlineFeatures(lifecycle, SqliteStore(home.root / "store.db"))
    time_column = pl.col(lifecycle.dataset.time).str.to_datetime("%Y-%m-%d %H:%M:%S%z", time_unit="us", time_zone="UTC")
    began = time.perf_counter()
    for first in range(0, len(entries), at_once):
        rows = [json.loads(data) for _, data in entries[first : first + at_once]]
        online.learn(pl.DataFrame(rows).with_columns(time_column))
    spent = time.perf_counter() - began
    assert len(online.store.ids(online.space, 0, 2**62)) == len(entries)
    return spent


def main(count: int = 10_000) -> None:
    """Print the figures."""
    lifecycle = read_declaration(Path(shipped).parent / "payments_fraud" / "defs.yaml")
    entries = _entries(lifecycle, count)
    ways: dict[str, Callable[[Home], tuple[float, int]]] = {
        "worker: read, judge, land, learn, mark": lambda home: (_worker(lifecycle, home, entries), count),
        f"plain loop, {_BATCH:,} at once": lambda home: (_loop(lifecycle, home, entries, _BATCH), count),
        "plain loop, one at a time": lambda home: (_loop(lifecycle, home, entries[:_SINGLY], 1), _SINGLY),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        # The first round warms up: what is compiled, and read for the first time.
        for number in range(_ROUNDS + 1):
            for place, (name, way) in enumerate(ways.items()):
                seconds, events = way(Home(Path(folder) / f"{number}-{place}"))
                if number:
                    rates[name].append(events / seconds)
    worker = next(iter(rates.values()))
    print("| | events/s | worker / this |\n|---|---|---|")
    for name, found in rates.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(worker, found, strict=True))
        print(f"| {name} | {statistics.median(found):,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
