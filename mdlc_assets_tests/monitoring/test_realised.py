"""Intervals, estimates and the closed loop's document, against scikit-learn and worlds whose truth is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.closed_loop import realised, with_slices
from mdlc_assets.monitoring.estimate import Calibration, estimate, expected
from mdlc_assets.training.metrics import Scored, calibration_interval

_MEASURES = {"auc_roc": roc_auc_score, "average_precision": average_precision_score}


def _events(rows: int = 6_000, seed: int = 0, digits: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties that are true chances, labels and entities."""
    rng = np.random.default_rng(seed)
    score = np.round(rng.beta(0.4, 4, rows), digits)
    return score, (rng.random(rows) < score).astype(np.int8), rng.integers(0, 500, rows)


def test_events_of_one_entity_stay_together() -> None:
    score, label, _ = _events()
    day = np.zeros(len(score), int)
    alone = calibration_interval(Scored(score, label, np.arange(len(score)), day))
    copies = calibration_interval(Scored(*(np.tile(x, 9) for x in (score, label, np.arange(len(score)), day))))
    assert alone and copies
    assert copies[1] - copies[0] == pytest.approx(alone[1] - alone[0], rel=0.05)


@pytest.mark.parametrize("metric", sorted(_MEASURES))
def test_an_estimate_comes_close_where_scores_mean_what_they_did(metric: str) -> None:
    before_score, before_label, _ = _events(40_000, seed=1)
    # Another mix of events, whose scores are pushed up by a model that is too sure.
    score, label, _ = _events(40_000, seed=2)
    kept = np.random.default_rng(3).random(len(score)) < np.where(score < 0.1, 0.4, 1.0)
    calibration = Calibration(before_score**0.5, before_label, 5)
    found = expected(calibration, score[kept] ** 0.5, score[kept] ** 0.5, 1)
    assert found is not None
    truth = _MEASURES[metric](label[kept], score[kept])
    assert found["metrics"][metric] == pytest.approx(truth, abs=0.02)
    assert abs(found["metrics"][metric] - truth) < abs(found["calibrated_on"]["metrics"][metric] - truth)
    assert found["share"] == pytest.approx(label[kept].mean(), abs=0.01)


def test_no_estimate_from_a_handful_of_positives() -> None:
    calibration = Calibration(np.linspace(0, 1, 100), np.r_[np.zeros(95), np.ones(5)].astype(int), 1)
    assert expected(calibration, np.array([0.5]), np.array([0.5]), 1) is None
    assert estimate(np.array([0.1, 0.2]), np.zeros(2)) == {}


def _scored_days(lifecycle: LifecycleDeclaration, days: int, lift: float = 1.0) -> pl.DataFrame:
    frames = []
    for i in range(days):
        score, label, entity = _events(2_000, seed=10 + i)
        time = datetime(2018, 6, 1 + i, tzinfo=UTC)
        frames.append(
            pl.DataFrame(
                {
                    lifecycle.dataset.id: np.arange(len(score)) + 10_000 * i,
                    lifecycle.dataset.time: [time + timedelta(seconds=k) for k in range(len(score))],
                    lifecycle.model.entity: entity,
                    "score": score * lift,
                    "model_version": np.full(len(score), 3),
                    lifecycle.labels.column: label,
                    "known_at": [time + timedelta(days=7, seconds=k) for k in range(len(score))],
                }
            )
        )
    return pl.concat(frames)


def test_the_document_of_a_day(payments_fraud: LifecycleDeclaration) -> None:
    rows = _scored_days(payments_fraud, 7)
    names = payments_fraud.features.names()
    features = rows.select(
        "transaction_id",
        *(pl.lit(0.0).alias(name) for name in names if name != "is_night"),
        (pl.col("transaction_id") % 4 == 0).cast(pl.Float64).alias("is_night"),
    )
    recent = with_slices(payments_fraud, rows, features)
    today = rows.filter(pl.col("event_time").dt.day() == 7)
    found = realised(
        payments_fraud, today, recent, rows, {"metrics": {"average_precision": 0.5}, "intervals": {}}, 2_500
    )
    assert found["rows"] == 2_000
    assert found["metrics"]["average_precision"] == pytest.approx(
        average_precision_score(today["is_fraud"], today["score"])
    )
    low, high = found["recent"]["interval"]
    assert low < found["recent"]["metrics"]["average_precision"] < high
    assert found["interval"][1] - found["interval"][0] > high - low, "a day says less than a week"
    assert found["slices"]["night"]["rows"] == 3_500
    assert found["slices"]["large_amounts"] == {
        "rows": 0,
        "positives": 0,
        "metrics": dict.fromkeys(("auc_roc", "average_precision", "card_precision_100")),
        "interval": None,
        "calibration": None,
    }
    assert found["lateness"] == {
        "median": 7.0,
        "p90": 7.0,
        "longest": 7.0,
        "without_label": pytest.approx(0.2),
    }
    assert found["promised"] == {"average_precision": 0.5}


@pytest.mark.parametrize("lift", [1.0, 0.5])
def test_calibration_over_the_window(payments_fraud: LifecycleDeclaration, lift: float) -> None:
    rows = _scored_days(payments_fraud, 7, lift)
    found = realised(
        payments_fraud, rows, with_slices(payments_fraud, rows, _none(payments_fraud, rows)), rows, None, rows.height
    )
    window = found["calibration_window"]
    assert window["ratio"] == pytest.approx(1 / lift, rel=0.05)
    low, high = window["interval"]
    assert low < 1 / lift < high
    for one in window["bins"]:
        assert one["share"] == pytest.approx(one["score"] / lift, abs=0.1)


def _none(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("transaction_id", *(pl.lit(0.0).alias(name) for name in lifecycle.features.names()))
