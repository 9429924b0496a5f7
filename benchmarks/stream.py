"""The stream's worker against a plain loop over the same store.

    python -m benchmarks.stream [events]

The loop reads each batch's JSON into a frame and has the online store learn it: no stream, no landing, no rules, no
marks. Both take the same events in batches of the same size, in turn; the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from mdlc_assets.declaration import read_declaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.realtime.stream_handler import StreamHandler
from mdlc_assets.realtime.stream_worker import Pace, StreamWorker
from mdlc_assets.resources.online_store import SqliteStore
from mdlc_assets.resources.storage import FolderStorage
from mdlc_assets.resources.streams.checkpoints import LocalCheckpoints
from mdlc_assets.resources.streams.embedded import EmbeddedStream

_ROUNDS, _BATCH = 3, 1_000
_FILE = Path(__file__).parents[1] / "mdlc_assets" / "lifecycles" / "payments_fraud" / "defs.yaml"


def main(events: int = 10_000) -> None:
    """Prints events per second of both, round by round, and the ratio."""
    lifecycle = read_declaration(_FILE)
    start = datetime(2018, 6, 1, tzinfo=UTC)
    rows = [
        {
            "transaction_id": i,
            "event_time": (start + timedelta(seconds=i * 8)).isoformat(),
            "customer_id": i % 4_999,
            "terminal_id": i % 9_973,
            "amount": i % 9_700 / 100,
            "account_age_days": i % 400,
        }
        for i in range(events)
    ]
    data = [json.dumps(row).encode() for row in rows]

    def worker(root: Path) -> float:
        stream = EmbeddedStream(root / "stream.db")
        stream.put([(str(i), one) for i, one in enumerate(data)])
        online = OnlineFeatures(lifecycle, SqliteStore(root / "online.db", 10))
        handler = StreamHandler(lifecycle, FolderStorage(root / "landing"), online)
        reader = StreamWorker(stream, LocalCheckpoints(root / "checkpoints.db", "b"), handler, Pace(batch=_BATCH))
        began = time.perf_counter()
        assert reader.run(until_empty=True).learnt == events
        return events / (time.perf_counter() - began)

    def loop(root: Path) -> float:
        online = OnlineFeatures(lifecycle, SqliteStore(root / "online.db", 10))
        began = time.perf_counter()
        for first in range(0, events, _BATCH):
            frame = pl.DataFrame([json.loads(one) for one in data[first : first + _BATCH]])
            online.learn(frame.with_columns(pl.col("event_time").str.to_datetime(time_unit="us", time_zone="UTC")))
        return events / (time.perf_counter() - began)

    measured = []
    for number in range(_ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:
            both = worker(Path(folder) / "worker"), loop(Path(folder) / "loop")
        if number:  # the first warms up
            measured.append(both)
            print(f"worker {both[0]:8,.0f} events/s   loop {both[1]:8,.0f}   {both[0] / both[1]:.2f}")
    print(f"median of the ratios {statistics.median(ours / theirs for ours, theirs in measured):.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
