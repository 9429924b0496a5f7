"""From stored state or from all events: the same features to the last bit, through the lake's files."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.features import Features
from mdlc_assets.features.days import Days
from mdlc_assets.features.engines import compute_features
from mdlc_assets.features.state import StateMismatchError
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.simulator.world import Simulator

_FIRST = date(2018, 4, 1)
_DAY = timedelta(days=1)


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
    for day, state in source.make_states(days):
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
    at_once = dict(Days(payments_fraud, lake).make_states([last]))[last]
    for number in (3, 4, 20, 43):
        _write_states(payments_fraud, lake, _FIRST + timedelta(days=number))
    assert dict(Days(payments_fraud, lake).make_states([last]))[last].equals(at_once)


def test_state_of_another_declaration_is_never_read(payments_fraud: LifecycleDeclaration, lake: Lake) -> None:
    last = _FIRST + timedelta(days=44)
    _write_states(payments_fraud, lake, last)
    family = {"entity": "customer_id", "windows": ["2d"], "aggregate": {"n": "count"}}
    other = payments_fraud.model_copy(update={"features": Features.model_validate({"windows": [family]})})
    ((_, engine),) = compute_features(other, lake, [last])
    assert engine == "bulk"
    with pytest.raises(
        StateMismatchError, match=r"feature_state of 2018-05-14 .*Mend: `mdlc features rebuild payments_fraud`"
    ):
        Days(other, lake).state(last - _DAY)
    made = dict(Days(other, lake).make_states([last]))
    assert len(made) == 45, "from the beginning"


def test_missing_labels_are_named_and_not_taken_for_honest(payments_fraud: LifecycleDeclaration, lake: Lake) -> None:
    absent = _FIRST + timedelta(days=30)
    lake.table(payments_fraud.name, "labels").delete_day(absent)
    day = absent + timedelta(days=7)
    with pytest.raises(DayAbsentError, match="payments_fraud/labels has no data for 2018-05-01"):
        list(Days(payments_fraud, lake).make_states([day]))
    with pytest.raises(DayAbsentError, match="payments_fraud/labels has no data for 2018-05-01"):
        list(compute_features(payments_fraud, lake, [day]))
