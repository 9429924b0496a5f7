"""From stored state or from all events: the same features to the last bit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features
from mdlc_assets.features.days import Days
from mdlc_assets.features.engines import compute_features
from mdlc_assets.features.incremental import incremental_table
from mdlc_assets.features.state import StateMismatchError, advance
from mdlc_assets.features.table import feature_table
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.simulator.world import Simulator

_FIRST = date(2018, 4, 1)
_DAY = timedelta(days=1)

# Instants near midnight and at whole hours, so that edges of days and of windows are hit.
_SECONDS = st.sampled_from([0, 1, 2, 3_599, 3_600, 43_200, 86_398, 86_399])
_EVENTS = st.lists(
    st.tuples(st.integers(0, 5), _SECONDS, st.integers(0, 2), st.integers(0, 1), st.integers(0, 500), st.booleans()),
    min_size=1,
    max_size=25,
)
_WIDTHS = st.sampled_from(["1s", "1h", "30h", "1d", "2d", "4d"])
_FAMILIES = st.lists(
    st.fixed_dictionaries(
        {
            "entity": st.sampled_from(["customer_id", "terminal_id"]),
            "windows": st.lists(_WIDTHS, min_size=1, max_size=2, unique=True),
            "delay": st.sampled_from(["0s", "1h", "1d", "36h", "2d"]),
            "where": st.sampled_from([None, "amount > 1"]),
            "default": st.sampled_from([0.0, -1.0]),
        }
    ),
    min_size=1,
    max_size=3,
)


def _declare(lifecycle: LifecycleDeclaration, families: list[dict]) -> LifecycleDeclaration:  # type: ignore[type-arg]
    windows = []
    for i, family in enumerate(families):
        sums = {f"{how}_{i}": f"{how}(amount)" for how in ("sum", "mean", "std")}
        windows.append({**family, "aggregate": {f"n_{i}": "count", **sums}})
    features = Features.model_validate({"rows": {"twice": "amount * 2"}, "windows": windows})
    return lifecycle.model_copy(update={"features": features})


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=_EVENTS, families=_FAMILIES)
def test_state_gives_what_all_events_give(
    payments_fraud: LifecycleDeclaration,
    events: list[tuple[int, int, int, int, int, bool]],
    families: list[dict],  # type: ignore[type-arg]
) -> None:
    lifecycle = _declare(payments_fraud, families)
    start = datetime(2018, 4, 1, tzinfo=UTC)
    table = pl.DataFrame(
        [
            {
                "transaction_id": i,
                "event_time": start + timedelta(days=day, seconds=second),
                "customer_id": customer,
                "terminal_id": terminal,
                "amount": cents / 100,
                "is_fraud": int(fraud),
            }
            for i, (day, second, customer, terminal, cents, fraud) in enumerate(events)
        ],
        schema_overrides={"event_time": pl.Datetime("us", "UTC"), "is_fraud": pl.Int8},
    ).sort("event_time", "transaction_id")

    def events_of(day: date) -> pl.DataFrame | None:
        return None if day < _FIRST else table.filter(pl.col("event_time").dt.date() == day)

    states: dict[date, pl.DataFrame] = {}
    labels = table.select("transaction_id", "is_fraud")
    for number in range(6):
        day = _FIRST + timedelta(days=number)
        if events_of(day).height:  # type: ignore[union-attr]
            whole = feature_table(lifecycle, table.drop("is_fraud"), labels, day, day)
            assert incremental_table(lifecycle, day, events_of, states.get).equals(whole)
        states[day] = advance(lifecycle, states.get(day - _DAY), day, events_of)


@pytest.fixture
def lake(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> Lake:
    """Forty-five days of a small world, validated and labelled."""
    lake = Lake(root=str(tmp_path))
    world = Simulator(start=_FIRST, customers=60, terminals=90)
    for number in range(45):
        day = _FIRST + timedelta(days=number)
        lake.table(payments_fraud.name, "validated").write_day(day, world.transactions(day))
        if number < 38:
            lake.table(payments_fraud.name, "labels").write_day(day, world.labels(day))
    return lake


def _write_states(lifecycle: LifecycleDeclaration, lake: Lake, *days: date) -> None:
    source = Days(lifecycle, lake)
    for day, state in source.make_states(days).items():
        source.states.write_day(day, state)


def test_the_handbooks_features_day_by_day(payments_fraud: LifecycleDeclaration, lake: Lake) -> None:
    last = _FIRST + timedelta(days=44)
    days = [_FIRST + timedelta(days=i) for i in range(45)]
    ((bulk, engine),) = compute_features(payments_fraud, lake, days)
    assert engine == "bulk"
    _write_states(payments_fraud, lake, last)
    for day in (days[0], days[6], days[9], days[38], last):
        ((found, engine),) = compute_features(payments_fraud, lake, [day])
        assert engine == "incremental"
        assert found[day].equals(bulk[day])


def test_state_made_in_steps_is_the_same_as_at_once(payments_fraud: LifecycleDeclaration, lake: Lake) -> None:
    last = _FIRST + timedelta(days=44)
    at_once = Days(payments_fraud, lake).make_states([last])[last]
    for number in (3, 4, 20, 43):
        _write_states(payments_fraud, lake, _FIRST + timedelta(days=number))
    assert Days(payments_fraud, lake).make_states([last])[last].equals(at_once)


def test_state_of_another_declaration_is_never_read(payments_fraud: LifecycleDeclaration, lake: Lake) -> None:
    last = _FIRST + timedelta(days=44)
    _write_states(payments_fraud, lake, last)
    other = _declare(payments_fraud, [{"entity": "customer_id", "windows": ["2d"]}])
    ((_, engine),) = compute_features(other, lake, [last])
    assert engine == "bulk"
    with pytest.raises(StateMismatchError, match=r"feature_state of 2018-05-14 .*Mend: materialise feature_state"):
        Days(other, lake).state(last - _DAY)
    made = Days(other, lake).make_states([last])
    assert len(made) == 45, "from the beginning"


def test_missing_labels_are_named_and_not_taken_for_honest(payments_fraud: LifecycleDeclaration, lake: Lake) -> None:
    absent = _FIRST + timedelta(days=30)
    lake.table(payments_fraud.name, "labels").delete_day(absent)
    day = absent + timedelta(days=7)
    with pytest.raises(DayAbsentError, match="payments_fraud/labels has no data for 2018-05-01"):
        Days(payments_fraud, lake).make_states([day])
    with pytest.raises(DayAbsentError, match="payments_fraud/labels has no data for 2018-05-01"):
        list(compute_features(payments_fraud, lake, [day]))


def test_columns_that_cannot_be_subtracted_go_in_bulk(payments_fraud: LifecycleDeclaration, lake: Lake) -> None:
    last = _FIRST + timedelta(days=44)
    family = {"entity": "customer_id", "windows": ["2d"], "aggregate": {"top": "max(amount)"}}
    features = Features.model_validate({"windows": [family]})
    lifecycle = payments_fraud.model_copy(update={"features": features})
    _write_states(lifecycle, lake, last)
    ((_, engine),) = compute_features(lifecycle, lake, [last])
    assert engine == "bulk"
