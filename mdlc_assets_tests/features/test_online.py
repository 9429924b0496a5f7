"""Features in real time equal the feature table, whatever was learnt in which order and how often."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.features.table import feature_table
from mdlc_assets.resources.online_store import DynamoStore, SqliteStore
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.features import random_worlds as worlds

_FIRST, _LAST = worlds.FIRST, worlds.FIRST + timedelta(days=worlds.DAYS - 1)


def _learn_in_any_order(
    online: OnlineFeatures, table: pl.DataFrame, chance: random.Random, *, at_once: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and labels, learnt in parts in some order, half of them once more; gives both."""
    events, labels = table.drop("is_fraud"), table.select("transaction_id", "is_fraud")
    steps = [(online.learn, part) for part in events.iter_slices(at_once)]
    steps += [(online.learn_labels, part) for part in labels.iter_slices(at_once)]
    steps += chance.choices(steps, k=len(steps) // 2)
    chance.shuffle(steps)
    for learn, part in steps:
        learn(part)
    return events, labels


def _ask(lifecycle: LifecycleDeclaration, online: OnlineFeatures, events: pl.DataFrame, labels: pl.DataFrame) -> None:
    """Each event's features, together and one by one, equal the table's."""
    expected = feature_table(lifecycle, events, labels, _FIRST, _LAST)
    asked = events.sample(fraction=1.0, shuffle=True, seed=1)
    found = online.features(asked)
    assert found["transaction_id"].equals(asked["transaction_id"])
    worlds.same(lifecycle, expected, found.sort("event_time", "transaction_id"))
    singly = [online.features_of(event).tolist() for event in asked.to_dicts()]
    names = lifecycle.features.names()
    together = found.select(names).with_columns(pl.all().fill_null(float("nan")))
    assert pl.DataFrame(singly, schema=dict.fromkeys(names, pl.Float64), orient="row").equals(together)


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
    online = OnlineFeatures(lifecycle, SqliteStore(tmp_path_factory.mktemp("store") / "store.db"))
    _ask(lifecycle, online, *_learn_in_any_order(online, worlds.frame(events), chance, at_once=2))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(
    events=st.lists(worlds.EVENT, min_size=10, max_size=20),
    drawn=st.lists(worlds.FAMILY, min_size=1, max_size=3),
    chance=st.randoms(use_true_random=False),
)
def test_the_same_from_dynamodb(
    payments_fraud: LifecycleDeclaration,
    dynamodb: str,
    events: list[tuple[Any, ...]],
    drawn: list[dict[str, Any]],
    chance: random.Random,
) -> None:
    lifecycle = worlds.declare(payments_fraud, drawn)
    store = DynamoStore(f"online-{chance.getrandbits(60)}", 20, endpoint_url=dynamodb)
    store.make_table({})
    online = OnlineFeatures(lifecycle, store)
    _ask(lifecycle, online, *_learn_in_any_order(online, worlds.frame(events), chance, at_once=5))


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
