"""Features in real time equal the feature table, whatever was learnt in which order and how often."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.features.table import feature_table
from mdlc_assets.resources.online_store.sqlite import SqliteStore
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.features import random_worlds as worlds

_FIRST, _LAST = worlds.FIRST, worlds.FIRST + timedelta(days=worlds.DAYS - 1)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    events=st.lists(worlds.EVENT, min_size=1, max_size=25),
    drawn=st.lists(worlds.FAMILY, min_size=1, max_size=3),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_the_order_the_features_are_the_table_s(
    payments_fraud: LifecycleDeclaration,
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[Any, ...]],
    drawn: list[dict[str, Any]],
    chance: random.Random,
) -> None:
    lifecycle = worlds.declare(payments_fraud, drawn)
    table = worlds.frame(events)
    store = SqliteStore(tmp_path_factory.mktemp("store") / "store.db")
    online = OnlineFeatures(lifecycle, store)
    bare, labels = table.drop("is_fraud"), table.select("transaction_id", "is_fraud")
    steps = [(online.learn, part) for part in bare.iter_slices(2)]
    steps += [(online.learn_labels, part) for part in labels.iter_slices(2)]
    steps += chance.choices(steps, k=len(steps) // 2)
    chance.shuffle(steps)
    for learn, part in steps:
        learn(part)
    expected = feature_table(lifecycle, bare, labels, _FIRST, _LAST)
    asked = bare.sample(fraction=1.0, shuffle=True, seed=chance.randrange(1000))
    found = online.features(asked)
    assert found["transaction_id"].equals(asked["transaction_id"])
    worlds.same(lifecycle, expected, found.sort("event_time", "transaction_id"))
    for row, event in zip(found.to_dicts(), asked.to_dicts(), strict=True):
        fast = online.features_of(event)
        assert fast.tolist() == pytest.approx(
            [float("nan") if row[n] is None else row[n] for n in lifecycle.features.names()], abs=0, rel=0, nan_ok=True
        )


def test_asked_before_they_are_learnt(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    world = Simulator(start=payments_fraud.dataset.start, customers=30, terminals=20)
    days = [payments_fraud.dataset.start + timedelta(days=i) for i in range(20)]
    events, labels = pl.concat(map(world.transactions, days)), pl.concat(map(world.labels, days))
    labels = labels.with_columns((pl.col("transaction_id") % 7 == 0).cast(pl.Int8).alias("is_fraud"))
    online = OnlineFeatures(payments_fraud, SqliteStore(tmp_path / "store.db"))
    online.learn_labels(labels)
    parts = []
    for together in events.sort("event_time", "transaction_id").partition_by("event_time", maintain_order=True):
        # Events of the same instant see each other, so they are learnt before; the others after.
        if together.height > 1:
            online.learn(together)
        parts.append(online.features(together))
        online.learn(together)
    expected = feature_table(payments_fraud, events, labels, days[0], days[-1])
    assert pl.concat(parts).sort("event_time", "transaction_id").equals(expected)
    assert expected["terminal_fraud_share_30d"].max() > 0  # type: ignore[operator]
    assert online.features(events).sort("event_time", "transaction_id").equals(expected)
