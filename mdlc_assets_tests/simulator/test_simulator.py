"""The simulated world: each day by itself, fraud of three kinds, and incidents that do what they say."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from mdlc_assets.simulator import incidents
from mdlc_assets.simulator.world import Simulator

_START = date(2018, 4, 1)
_DAY = date(2018, 5, 20)


@pytest.fixture(scope="module")
def world() -> Simulator:
    return Simulator(start=_START)


def test_a_day_follows_from_seed_and_day_alone(world: Simulator) -> None:
    again = Simulator(start=_START)
    again.transactions(_START)
    assert again.transactions(_DAY).equals(world.transactions(_DAY))
    assert not Simulator(start=_START, seed=8).transactions(_DAY).equals(world.transactions(_DAY))


def test_days_keep_the_declared_rules(world: Simulator) -> None:
    days = [_START + timedelta(days=i) for i in range(10)]
    rows = pl.concat(map(world.transactions, days))
    assert rows["transaction_id"].is_unique().all()
    assert rows["transaction_id"].is_sorted()
    assert rows["event_time"].is_sorted()
    assert set(rows["event_time"].dt.date()) == set(days)
    assert (rows["amount"] >= 0).all()
    ages = rows.select(
        "customer_id", pl.col("account_age_days") - (pl.col("event_time").dt.date() - _START).dt.total_days()
    )
    assert ages.unique().height == rows["customer_id"].n_unique()


def test_fraud_is_rare_and_of_three_kinds(world: Simulator) -> None:
    days = [_START + timedelta(days=i) for i in range(60)]
    labels = pl.concat(map(world.labels, days))
    rows = pl.concat(map(world.transactions, days)).join(labels, on="transaction_id")
    assert 0.004 < rows["is_fraud"].mean() < 0.015  # type: ignore[operator]
    assert (rows.filter(pl.col("amount") > 220)["is_fraud"] == 1).all()
    first = rows.filter(pl.col("event_time").dt.date() == _START)
    assert first["is_fraud"].sum() > 5, "the world has a past"
    assert (labels["known_at"] - rows["event_time"] == timedelta(days=7)).all()


def test_sticking_age(world: Simulator) -> None:
    rows = world.transactions(_DAY)
    stuck = incidents.sticking_age(rows)
    assert (stuck["account_age_days"] == rows["account_age_days"] - 1).all()
    some = incidents.sticking_age(rows, 0.3)
    share = (some["account_age_days"] != rows["account_age_days"]).mean()
    assert 0.2 < share < 0.4  # type: ignore[operator]


def test_the_other_incidents(world: Simulator) -> None:
    rows, labels = world.transactions(_DAY), world.labels(_DAY)
    assert not incidents.missing_hours(rows, [10, 11])["event_time"].dt.hour().is_in([10, 11]).any()
    assert incidents.dropped_rows(rows, 0.75).height == pytest.approx(rows.height / 4, abs=1)
    assert incidents.duplicated_rows(rows).height == 2 * rows.height
    drifted = incidents.drifted_amount(rows, 1.5)["amount"]
    assert ((drifted * 100 - (drifted * 100).round()).abs() < 1e-6).all()
    assert drifted.sum() == pytest.approx(1.5 * rows["amount"].sum(), rel=1e-3)
    assert incidents.nulls(rows, "amount", 0.1)["amount"].null_count() == pytest.approx(0.1 * rows.height, abs=1)
    new_rows, new_labels = incidents.new_fraud_pattern(rows, labels, 0.01)
    hit = new_rows.join(new_labels, on="transaction_id").filter(pl.col("amount") == 1.0)
    assert hit.height >= 0.01 * rows.height - 1
    assert hit["is_fraud"].mean() > 0.9  # type: ignore[operator]
    assert new_labels["is_fraud"].sum() > labels["is_fraud"].sum()


def test_they_work_on_files_with_other_names(world: Simulator) -> None:
    rows = world.transactions(_DAY).rename({"amount": "TX_AMOUNT"})
    assert incidents.drifted_amount(rows, 2.0, column="TX_AMOUNT")["TX_AMOUNT"].sum() > rows["TX_AMOUNT"].sum()
