"""The online store filled from the lake: again, after a kill, after a change, for another declaration."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.features.state import StateMismatchError
from mdlc_assets.features.table import feature_table
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.online_store import SqliteStore
from mdlc_assets.simulator.world import Simulator

_DAYS = 50  # more than are in reach, 37 and 7 to spare


class _KilledStore(SqliteStore):
    """Stops for good in the middle of the filling."""

    left = 5

    def fill(self, *asked: Any) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        super().fill(*asked)


@pytest.fixture
def lake(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> Lake:
    lake, world = (
        Lake(root=str(tmp_path / "lake")),
        Simulator(start=payments_fraud.dataset.start, customers=30, terminals=20),
    )
    for number in range(_DAYS):
        day = payments_fraud.dataset.start + timedelta(days=number)
        events = world.transactions(day).sort("event_time", "transaction_id")
        lake.table("payments_fraud", "validated").write_day(day, events)
        if number < _DAYS - 7:
            fraud = (pl.col("transaction_id") % 7 == 0).cast(pl.Int8).alias("is_fraud")
            lake.table("payments_fraud", "labels").write_day(day, world.labels(day).with_columns(fraud))
    return lake


def _check(lifecycle: LifecycleDeclaration, lake: Lake, store: SqliteStore) -> None:
    """The last days' features from the store are those of the lake."""
    validated, labels = (lake.table(lifecycle.name, name) for name in ("validated", "labels"))
    last = validated.days()[-1]
    first = last - timedelta(days=7)
    events = validated.read(validated.days())
    expected = feature_table(lifecycle, events, labels.read(labels.days()), first, last)
    asked = events.join(expected.select("transaction_id"), on="transaction_id", how="semi")
    found = OnlineFeatures(lifecycle, store).features(asked)
    assert found.sort("event_time", "transaction_id").equals(expected)
    assert expected["terminal_fraud_share_30d"].max() > 0  # type: ignore[operator]


def test_filled_again_it_does_what_is_new(payments_fraud: LifecycleDeclaration, lake: Lake, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    validated, labels = (lake.table("payments_fraud", name) for name in ("validated", "labels"))
    last = validated.days()[-1]
    first = fill_store(payments_fraud, lake, store)
    assert (first.days, first.removed) == (45, 0) and first.through == last
    _check(payments_fraud, lake, store)
    assert fill_store(payments_fraud, lake, store).days == 0
    # Some events are gone, one is corrected, labels have come and changed; the stream was ahead of the lake.
    changed = last - timedelta(days=3)
    rows = validated.read_day(changed)
    amount = pl.when(pl.col("transaction_id") == rows["transaction_id"][0]).then(1.5).otherwise("amount")
    validated.write_day(changed, rows.with_columns(amount.alias("amount")).filter(pl.col("customer_id") != 3))
    known = labels.days()[-2]
    flipped = labels.read_day(known).with_columns((1 - pl.col("is_fraud")).cast(pl.Int8).alias("is_fraud"))
    labels.write_day(known, flipped[:-2])
    tomorrow = rows.with_columns(pl.col("event_time") + timedelta(days=4), pl.col("transaction_id") + 10**9)
    OnlineFeatures(payments_fraud, store).learn(tomorrow)
    again = fill_store(payments_fraud, lake, store)
    assert again.days == 2 and again.removed == rows.filter(pl.col("customer_id") == 3).height > 0
    _check(payments_fraud, lake, store)
    space = OnlineFeatures(payments_fraud, store).space
    assert set(tomorrow["transaction_id"]) <= set(store.ids(space, 0, 1 << 62))
    validated.write_day(last + timedelta(days=1), tomorrow)
    assert fill_store(payments_fraud, lake, store).swept > 0
    _check(payments_fraud, lake, store)


def test_killed_and_run_again(payments_fraud: LifecycleDeclaration, lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill_store(payments_fraud, lake, _KilledStore(tmp_path / "store.db"))
    store = SqliteStore(tmp_path / "store.db")
    assert fill_store(payments_fraud, lake, store).days == 40
    _check(payments_fraud, lake, store)


def test_another_declaration_s_state_is_never_read(
    payments_fraud: LifecycleDeclaration, lake: Lake, tmp_path: Path
) -> None:
    store = SqliteStore(tmp_path / "store.db")
    fill_store(payments_fraud, lake, store)
    rows = {**payments_fraud.features.rows, "twice": "amount * 2"}
    features = payments_fraud.features.model_copy(update={"rows": rows})
    other = payments_fraud.model_copy(update={"features": features})
    with pytest.raises(StateMismatchError, match="Mend: materialise online_features"):
        OnlineFeatures(other, store).features_of({})
    killed = _KilledStore(tmp_path / "store.db")
    with pytest.raises(KeyboardInterrupt):
        fill_store(other, lake, killed)
    with pytest.raises(StateMismatchError, match="is being filled"):
        OnlineFeatures(other, store).features_of({})
    fill_store(other, lake, store)
    _check(other, lake, store)
    assert store.ids(OnlineFeatures(payments_fraud, store).space, 0, 1 << 62) == [], "the old one's state is gone"


def test_an_empty_lake_says_so(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    with pytest.raises(DayAbsentError, match="validated"):
        fill_store(payments_fraud, Lake(root=str(tmp_path)), SqliteStore(tmp_path / "store.db"))
