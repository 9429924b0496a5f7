"""One event at a time gives the rows that a whole day gives."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features
from mdlc_assets.features.events import EntityState, EventFeatures
from mdlc_assets.features.table import feature_table
from mdlc_assets.simulator.world import Simulator

_DAYS = 42


@pytest.fixture(scope="module", params=["shipped", "with all sorts"])
def lifecycle(request: pytest.FixtureRequest, payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    if request.param == "shipped":
        return payments_fraud
    family = {
        "entity": "customer_id",
        "windows": ["6h", "9d"],
        "where": "amount > 20",
        "default": -1,
        "aggregate": {
            "spread": "std(amount)",
            "total": "sum(amount)",
            "top": "max(amount)",
            "shops": "distinct_count(terminal_id)",
        },
    }
    features = Features.model_validate({"windows": [family]})
    return payments_fraud.model_copy(update={"features": features})


def test_event_by_event_is_as_the_day(lifecycle: LifecycleDeclaration) -> None:
    world = Simulator(start=lifecycle.dataset.start, customers=60, terminals=90)
    days = [lifecycle.dataset.start + timedelta(days=i) for i in range(_DAYS)]
    events = pl.concat(map(world.transactions, days))
    labels = pl.concat(map(world.labels, days[:-7]))
    expected = feature_table(lifecycle, events, labels, days[-1], days[-1])

    labelled = events.join(labels.select("transaction_id", "is_fraud"), on="transaction_id", how="left")
    labelled = labelled.sort("event_time", "transaction_id")
    today = pl.col("event_time").dt.date() == days[-1]
    filled = EventFeatures(lifecycle)
    filled.fill(labelled.filter(~today))
    engine = EventFeatures(lifecycle)
    engine.fill(labelled.filter(~today))
    new = labelled.filter(today).drop("is_fraud")
    # One by one, except that events of the same instant see each other.
    parts = [engine.features(same) for _, same in new.group_by("event_time", maintain_order=True)]
    assert pl.concat(parts).equals(expected)
    assert filled.features(new).equals(expected), "or all at once"


def test_labels_are_learnt_when_they_are_known(payments_fraud: LifecycleDeclaration) -> None:
    world = Simulator(start=payments_fraud.dataset.start, customers=40, terminals=20)
    days = [payments_fraud.dataset.start + timedelta(days=i) for i in range(_DAYS)]
    engine = EventFeatures(payments_fraud)
    events, labels = pl.concat(map(world.transactions, days)), pl.concat(map(world.labels, days))
    labelled = events.join(labels.select("transaction_id", "is_fraud"), on="transaction_id")
    day = pl.col("event_time").dt.date()
    for number, this in enumerate(days):
        if number >= 7:
            engine.learn(labelled.filter(day == days[number - 7]).sort("event_time", "transaction_id"))
        found = engine.features(events.filter(day == this))
    assert found.equals(feature_table(payments_fraud, events, labels, this, this))
    assert found["terminal_fraud_share_30d"].max() > 0  # type: ignore[operator]


def test_a_late_event_is_put_where_it_belongs(payments_fraud: LifecycleDeclaration) -> None:
    family = EventFeatures(payments_fraud).families[0]
    state = EntityState.of(family, np.array([10, 30]), np.array([1.0, 3.0]))
    state.add(family, 20, np.array([2.0]))
    whole = EntityState.of(family, np.array([10, 20, 30]), np.array([1.0, 2.0, 3.0]))
    assert state.size == 3
    assert (state.times[:3] == whole.times[:3]).all()
    assert (state.sums[:4] == whole.sums[:4]).all()
    state.forget(family, 10)
    assert state.times[: state.size].tolist() == [20, 30]
    assert state.sums[state.size, 2] == 5


def test_state_lets_go_of_what_no_window_reaches(payments_fraud: LifecycleDeclaration) -> None:
    family = EventFeatures(payments_fraud).families[0]
    state = EntityState.of(family, np.empty(0, np.int64), np.empty((0, 1)))
    hour = 3_600_000_000
    for number in range(24 * 400):
        state.add(family, number * hour, np.array([1.0]))
    assert 24 * 30 <= state.size < 24 * 120, "a year of hourly events, of which 30 days count"
    assert len(state.times) < 24 * 130
