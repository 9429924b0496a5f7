"""One event at a time gives the rows that a whole day gives, from memory and through the online store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features
from mdlc_assets.features.events import EntityState, EventFeatures, microseconds
from mdlc_assets.features.table import feature_table
from mdlc_assets.resources.online_store import OnlineStore
from mdlc_assets.simulator.world import Simulator

_DAYS = 42


@pytest.fixture(scope="module", params=["shipped", "with deviations"])
def lifecycle(request: pytest.FixtureRequest, payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    if request.param == "shipped":
        return payments_fraud
    family = {
        "entity": "customer_id",
        "windows": ["6h", "9d"],
        "where": "amount > 20",
        "default": -1,
        "aggregate": {"spread": "std(amount)", "total": "sum(amount)"},
    }
    features = Features.model_validate({"windows": [family]})
    return payments_fraud.model_copy(update={"features": features})


def test_event_by_event_is_as_the_day(lifecycle: LifecycleDeclaration, tmp_path: Path) -> None:
    world = Simulator(start=lifecycle.dataset.start, customers=60, terminals=90)
    days = [lifecycle.dataset.start + timedelta(days=i) for i in range(_DAYS)]
    events = pl.concat(map(world.transactions, days))
    labels = pl.concat(map(world.labels, days[:-7]))
    expected = feature_table(lifecycle, events, labels, days[-1], days[-1])

    engine = EventFeatures(lifecycle)
    store = OnlineStore(path=str(tmp_path / "store.db"))
    labelled = events.join(labels.select("transaction_id", "is_fraud"), on="transaction_id", how="left")
    labelled = labelled.sort("event_time", "transaction_id")
    today = pl.col("event_time").dt.date() == days[-1]
    rows = [
        (number, str(entity), state.times, state.totals)
        for number, states in enumerate(engine.states_of(labelled.filter(~today)))
        for entity, state in states.items()
    ]
    assert store.fill(lifecycle.name, str(days[-2]), "d", rows) == len(rows)
    assert store.filled(lifecycle.name) == (str(days[-2]), "d")

    states: dict[tuple[int, str], EntityState] = {}

    def state_of(number: int, entity: object) -> EntityState:
        key = (number, str(entity))
        if key not in states:
            states[key] = EntityState(*(store.get(lifecycle.name, number, str(entity)) or ([], [])))
        return states[key]

    found = []
    # Events of the same instant all count, so all of an instant are taken in before any is computed.
    for _, same in labelled.filter(today).group_by("event_time", maintain_order=True):
        for event in same.iter_rows(named=True):
            for number, taken in enumerate(engine.numbers_of(event)):
                if taken is not None:
                    state_of(number, taken[0]).add(microseconds(event["event_time"]), taken[1])
        for event in same.iter_rows(named=True):
            own = [state_of(number, event[family.entity]) for number, family in enumerate(engine.families)]
            found.append(engine.compute(microseconds(event["event_time"]), own))
    columns = [column.name for column in lifecycle.features.window_columns()]
    assert pl.DataFrame(found).select(columns).equals(expected.select(columns))


def test_a_late_event_is_put_where_it_belongs() -> None:
    state = EntityState.of([10, 30], [[1, 3]])
    state.add(20, [2])
    assert state == EntityState.of([10, 20, 30], [[1, 2, 3]])
    state.forget(10)
    assert state.times == [20, 30]
    assert state.totals[0][-1] - state.totals[0][0] == 5


def test_what_needs_all_events_is_refused(payments_fraud: LifecycleDeclaration) -> None:
    family = {"entity": "customer_id", "windows": ["1d"], "aggregate": {"top": "max(amount)"}}
    features = Features.model_validate({"windows": [family]})
    with pytest.raises(ValueError, match="need all events"):
        EventFeatures(payments_fraud.model_copy(update={"features": features}))
