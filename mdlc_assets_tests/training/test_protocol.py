"""Days, training sets without leaks, metrics."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from mdlc_assets.asset_style import end_of
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Windows
from mdlc_assets.training.metrics import Scored, card_precision, interval, measure
from mdlc_assets.training.sets import LeakError, refuse_leaks, training_rows, usable_test_rows
from mdlc_assets.training.windows import TooEarlyError, protocol


def _with(lifecycle: LifecycleDeclaration, **update: object) -> LifecycleDeclaration:
    return lifecycle.model_copy(update={"model": lifecycle.model.model_copy(update=update)})


@pytest.fixture
def handbook(payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    windows = Windows(train_days=7, gap_days=7, test_days=7)
    return _with(payments_fraud, windows=windows, refit=False, leave_out_known=True)


def test_the_handbooks_split(handbook: LifecycleDeclaration) -> None:
    plan = protocol(handbook, date(2018, 8, 21))
    assert str(plan.train) == "2018-07-25 to 2018-07-31"
    assert str(plan.test) == "2018-08-08 to 2018-08-14"


def test_refit_takes_the_newest_labelled_days(handbook: LifecycleDeclaration) -> None:
    plan = protocol(_with(handbook, refit=True), date(2018, 8, 21))
    assert str(plan.refit) == "2018-08-08 to 2018-08-14"


def test_too_early_names_the_first_possible_day(handbook: LifecycleDeclaration) -> None:
    with pytest.raises(TooEarlyError, match="as of 2018-04-28 or later"):
        protocol(handbook, date(2018, 4, 20))
    assert protocol(handbook, date(2018, 4, 28)).train.first == date(2018, 4, 1)


def _rows(lifecycle: LifecycleDeclaration) -> tuple[pl.DataFrame, pl.DataFrame]:
    plan = protocol(lifecycle, date(2018, 8, 21))
    times = [datetime.combine(day, datetime.min.time()) for day in plan.whole.days()]
    features = pl.DataFrame(
        {
            "transaction_id": range(len(times)),
            "event_time": pl.Series(times).cast(pl.Datetime("us", "UTC")),
            "customer_id": [i % 3 for i in range(len(times))],
            **{name: [float(i) for i in range(len(times))] for name in lifecycle.features.names()},
        }
    )
    labels = features.select(
        "transaction_id",
        pl.lit(1, pl.Int8).alias("is_fraud"),
        (pl.col("event_time") + timedelta(days=7)).alias("known_at"),
    )
    return features, labels


def test_only_labels_known_by_then_are_used(handbook: LifecycleDeclaration) -> None:
    as_of = date(2018, 8, 21)
    plan = protocol(handbook, as_of)
    features, labels = _rows(handbook)
    rows = training_rows(handbook, features, labels, plan, end_of(as_of))
    assert rows.height == 21
    assert rows["part"].to_list() == ["train"] * 7 + ["gap"] * 7 + ["test"] * 7
    late = labels.with_columns(
        pl.when(pl.col("transaction_id") == 20)
        .then(pl.lit(end_of(as_of)))
        .otherwise(pl.col("known_at"))
        .alias("known_at")
    )
    assert training_rows(handbook, features, late, plan, end_of(as_of)).height == 20


def test_a_planted_leak_is_caught(handbook: LifecycleDeclaration) -> None:
    features, labels = _rows(handbook)
    leaking = features.join(labels, on="transaction_id")
    with pytest.raises(LeakError, match="1 labels were not known"):
        refuse_leaks(leaking, end_of(date(2018, 8, 20)))


def test_cards_already_known_are_left_out(handbook: LifecycleDeclaration) -> None:
    plan = protocol(handbook, date(2018, 8, 21))
    features, labels = _rows(handbook)
    fraud = labels.with_columns(
        pl.when(pl.col("transaction_id") == 7).then(1).otherwise(0).cast(pl.Int8).alias("is_fraud")
    )
    rows = training_rows(handbook, features, fraud, plan, end_of(date(2018, 8, 21)))
    # Customer 7 % 3 = 1 has a fraud on the first day after training: known from the second test day on.
    kept = usable_test_rows(handbook, rows, plan)
    assert kept["transaction_id"].to_list() == [14, 15, 17, 18, 20]
    assert [i % 3 for i in (16, 19)] == [1, 1]


def _scored(score: list[float], label: list[int], entity: list[int], day: list[int]) -> Scored:
    return Scored(np.array(score), np.array(label), np.array(entity), np.array(day))


def test_card_precision_counts_cards_once() -> None:
    # Day 1: cards 1 (0.9, honest row and fraud row) and 2; day 2: card 1 again, found already, and card 3.
    found = _scored([0.9, 0.2, 0.8, 0.9, 0.7], [0, 1, 0, 1, 1], [1, 1, 2, 1, 3], [1, 1, 1, 2, 2])
    assert card_precision(found, 1) == pytest.approx((1 + 1) / 2)
    assert card_precision(found, 2) == pytest.approx((0.5 + 0.5) / 2)


def test_metrics_of_one_class_are_none() -> None:
    found = _scored([0.1, 0.2], [0, 0], [1, 2], [1, 1])
    assert set(measure(found).values()) == {None}
    assert interval(found, "auc_roc") is None


def test_the_interval_holds_the_metric_and_excludes_chance() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 600)
    score = label * 0.3 + rng.uniform(size=600)
    found = Scored(score, label, np.arange(600) // 3, np.ones(600))
    low, high = interval(found, "auc_roc") or (0, 0)
    assert 0.5 < low < (measure(found)["auc_roc"] or 0) < high
    difference = interval(found, "auc_roc", against=rng.uniform(size=600)) or (0, 0)
    assert difference[0] > 0
