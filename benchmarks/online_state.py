"""Features of one event out of the online store, with few entities and with many in it; how fast events are learnt.

    python -m benchmarks.online_state

Both stores hold some busy entities with the same events, and others, many more in the large one, with one event each;
the busy lie scattered among the others. The same events of busy entities are asked of both in turn, then events of any
entities, and the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.lifecycles import __file__ as shipped
from mdlc_assets.resources.online_store.sqlite import SqliteStore

_FEW, _MANY = 5_000, 500_000
_ASKED, _EVENTS, _ROUNDS = 400, 60, 9
_END = datetime(2018, 6, 1, tzinfo=UTC)


def _events(first_id: int, customers: np.ndarray, terminals: np.ndarray, days: float) -> pl.DataFrame:
    chance = np.random.default_rng(first_id)
    count = len(customers)
    seconds = np.sort(chance.uniform(0, days * 86_400, count)).astype(np.int64)
    return pl.DataFrame(
        {
            "transaction_id": np.arange(first_id, first_id + count),
            "event_time": pl.Series([_END]).dt.offset_by(f"-{int(days)}d").repeat_by(count).explode()
            + pl.Series(seconds * 1_000_000).cast(pl.Duration("us")),
            "customer_id": customers,
            "terminal_id": terminals,
            "amount": chance.integers(100, 20_000, count) / 100,
            "account_age_days": chance.integers(1, 900, count),
        }
    )


def _busy(entities: int) -> np.ndarray:
    return np.arange(_ASKED) * (entities // _ASKED)


def _fill(lifecycle: LifecycleDeclaration, path: Path, entities: int) -> tuple[OnlineFeatures, float, float]:
    """A store with so many entities of either sort; events and labels learnt per second."""
    online = OnlineFeatures(lifecycle, SqliteStore(path))
    chance = np.random.default_rng(0)
    busy = _busy(entities)
    asked = np.repeat(busy, _EVENTS)
    known = _events(0, chance.permutation(asked), chance.permutation(asked), 37)
    begin = time.perf_counter()
    online.learn(known)
    rate = known.height / (time.perf_counter() - begin)
    others = np.setdiff1d(np.arange(entities), busy)
    online.learn(_events(1_000_000, others, others, 37))
    labels = known.select("transaction_id", (pl.col("transaction_id") % 9 == 0).cast(pl.Int8).alias("is_fraud"))
    begin = time.perf_counter()
    online.learn_labels(labels)
    return online, rate, labels.height / (time.perf_counter() - begin)


def _asked(entities: int, which: str) -> list[dict[str, object]]:
    chance = np.random.default_rng(1)
    chosen = [_busy(entities)[chance.integers(0, _ASKED, 500)] for _ in range(2)]
    if which == "any":
        chosen = [chance.integers(0, entities, 500) for _ in range(2)]
    new = _events(10_000_000, *chosen, 1)
    return new.with_columns(pl.col("event_time") + timedelta(days=1)).to_dicts()


def _latencies(online: OnlineFeatures, asked: list[dict[str, object]]) -> np.ndarray:
    found = np.empty(len(asked))
    for i, event in enumerate(asked):
        begin = time.perf_counter()
        online.features_of(event)
        found[i] = time.perf_counter() - begin
    return found * 1e6


def main() -> None:
    lifecycle = read_declaration(Path(shipped).parent / "payments_fraud" / "defs.yaml")
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for entities in (_FEW, _MANY):
            stores[entities], rate, labels = _fill(lifecycle, Path(folder) / f"{entities}.db", entities)
            print(f"{entities:>7,} entities: {rate:,.0f} events/s and {labels:,.0f} labels/s learnt, one process")
        print("\n| asked | entities | p50, us | p99, us |\n|---|---|---|---|")
        ratios = {}
        for which in ("busy", "any"):
            p50: dict[int, list[float]] = {entities: [] for entities in stores}
            p99: dict[int, list[float]] = {entities: [] for entities in stores}
            asked = {entities: _asked(entities, which) for entities in stores}
            for number in range(_ROUNDS + 1):
                for entities, online in stores.items():
                    found = _latencies(online, asked[entities])
                    if number:  # the first round warms up
                        p50[entities].append(float(np.median(found)))
                        p99[entities].append(float(np.quantile(found, 0.99)))
            for entities in stores:
                middle, slow = statistics.median(p50[entities]), statistics.median(p99[entities])
                print(f"| {which} | {entities:,} | {middle:.0f} | {slow:.0f} |")
            ratios[which] = statistics.median(many / few for many, few in zip(p50[_MANY], p50[_FEW], strict=True))
        for which, ratio in ratios.items():
            print(f"\n{which}: many / few at p50, median of {_ROUNDS} rounds: {ratio:.2f} (bar: at most 1.20)")


if __name__ == "__main__":
    main()
