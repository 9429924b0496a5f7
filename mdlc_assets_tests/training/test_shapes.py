"""Metrics of anomaly scores, clusters and forecasts, on data whose answer is known."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training.algorithms import fit
from mdlc_assets.training.forecasts import (
    Forecast,
    backtest,
    deepar_forecasts,
    deepar_lines,
    forecast_metrics,
    origins,
    seasonal_naive,
)
from mdlc_assets.training.metrics import Scored, measure
from mdlc_assets.training.unsupervised import anomaly_metrics, anomaly_overlap, cluster_agreement, cluster_metrics
from mdlc_assets_tests.training.training_frames import declared


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters"),
    [("isolation_forest", {}), ("k_means", {"n_clusters": 2}), ("principal_components", {"n_components": 1})],
)
def test_what_is_strange_scores_high_without_labels(
    payments_fraud: LifecycleDeclaration, algorithm: str, hyperparameters: dict[str, int]
) -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=990)
    usual = np.column_stack([a, a + rng.normal(scale=0.1, size=990)])
    # To both sides of the line that the usual ones lie on, and far from each other.
    distance = np.array([4, -4, 4.4, -4.4, 4.8, -4.8, 5.2, -5.2, 5.6, -5.6])
    strange = np.column_stack([distance, -distance])
    rows = pl.DataFrame(np.vstack([usual, strange]), schema=["a", "b"])
    model = declared(payments_fraud, algorithm, hyperparameters=hyperparameters).model
    # The label is not there, and not asked for.
    scores = fit(model, rows, ["a", "b"], "is_fraud").score(rows)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert set(np.argsort(-scores)[:10]) == set(range(990, 1000))
    assert (anomaly_metrics(scores, share=0.01)["separation"] or 0) > 2
    label = (np.arange(1000) >= 990).astype(int)
    assert measure(Scored(scores, label, np.arange(1000), np.ones(1000)))["average_precision"] == pytest.approx(1)


def test_anomalies_that_become_many_exceed_the_reference() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=5000)
    assert anomaly_metrics(rng.normal(size=5000), reference=reference)["exceeding"] == pytest.approx(0.01, abs=0.005)
    assert (anomaly_metrics(rng.normal(size=5000) + 2, reference=reference)["exceeding"] or 0) > 0.3
    assert anomaly_metrics(np.ones(50))["separation"] is None
    assert anomaly_overlap(reference, reference + 1) == 1.0
    assert anomaly_overlap(reference, -reference) == 0.0
    with pytest.raises(ValueError, match="scores must be finite"):
        anomaly_metrics(np.array([1.0, np.nan]))


def test_clusters_that_are_apart_are_told_from_those_that_are_not() -> None:
    rng = np.random.default_rng(1)
    centres = np.repeat([[0, 0], [10, 0], [0, 10]], 100, axis=0)
    values, clusters = centres + rng.normal(size=(300, 2)), np.repeat([0, 1, 2], 100)
    apart, mixed = cluster_metrics(values, clusters), cluster_metrics(values, rng.permutation(clusters))
    assert (apart["silhouette"] or 0) > 0.7 > 0.1 > (mixed["silhouette"] or 0)
    assert (apart["davies_bouldin"] or 9) < (mixed["davies_bouldin"] or 0)
    assert apart["smallest_share"] == pytest.approx(1 / 3)
    assert cluster_metrics(values, np.zeros(300))["silhouette"] is None
    assert cluster_agreement(clusters, (clusters + 1) % 3) == 1.0
    assert abs(cluster_agreement(clusters, rng.permutation(clusters))) < 0.05


def test_forecast_metrics_by_hand() -> None:
    forecast = Forecast(np.array([10.0, 20.0]), {0.1: np.array([8.0, 15.0]), 0.9: np.array([12.0, 19.0])})
    found = forecast_metrics(np.array([11.0, 22.0]), forecast, np.array([1.0, 3.0, 5.0]))
    assert found["mae"] == 1.5 and found["rmse"] == pytest.approx(np.sqrt(2.5))
    assert found["smape"] == pytest.approx((2 / 21 + 4 / 42) / 2)
    # The history changes by 2 a step.
    assert found["mase"] == 0.75
    assert found["coverage"] == 0.5 and found["promised"] == pytest.approx(0.8)
    losses = (0.1 * 3 + 0.1 * 7 + 0.1 * 1 + 0.9 * 3) / 2
    assert found["weighted_quantile_loss"] == pytest.approx(2 * losses / 33)
    assert forecast_metrics(np.zeros(1), Forecast(np.zeros(1)), np.zeros(5))["smape"] is None
    with pytest.raises(ValueError, match="compare the same steps"):
        forecast_metrics(np.zeros(2), Forecast(np.zeros(3)), np.zeros(5))


def test_a_backtest_never_shows_what_is_foretold() -> None:
    series = np.tile([1.0, 5.0, 3.0], 10)
    seen: list[int] = []

    def foretell(history: np.ndarray, horizon: int) -> Forecast:
        seen.append(len(history))
        return seasonal_naive(history, horizon, season=3)

    found = backtest(series, foretell, horizon=3, least_history=6, count=4, season=3)
    assert seen == [18, 21, 24, 27]
    assert [metrics["mae"] for metrics in found] == [0.0] * 4
    wrong = backtest(series, lambda history, horizon: seasonal_naive(history, horizon), horizon=3, least_history=6)
    assert all((metrics["mae"] or 0) > 1 for metrics in wrong)
    assert origins(30, 3, least_history=26, count=4) == [27]
    with pytest.raises(ValueError, match="too few for a history of 40"):
        origins(30, 3, least_history=40, count=4)


def test_deepar_reads_our_lines_and_we_its_answer() -> None:
    lines = deepar_lines({"shop": (datetime(2018, 4, 1), [1, float("nan"), 3])}, {"shop": [2]})
    assert json.loads(lines) == {"start": "2018-04-01 00:00:00", "target": [1.0, None, 3.0], "cat": [2]}
    answer = b'{"mean": [4.0, 5.0], "quantiles": {"0.1": [3.0, 3.5], "0.9": [5.0, 6.0]}}\n'
    (forecast,) = deepar_forecasts(answer)
    assert forecast.mean.tolist() == [4.0, 5.0]
    assert forecast.quantiles[0.9].tolist() == [5.0, 6.0]
