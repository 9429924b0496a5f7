"""Models that nobody can tell right from wrong: declared, judged, and refused where something needs labels."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.simulator.pumps import Pumps
from mdlc_assets.training.candidate import Rival, fit_candidate, judge_candidate
from mdlc_assets.training.model_card import evaluation_figures, model_card
from mdlc_assets.training.windows import Protocol, protocol
from mdlc_assets_tests.conftest import SHIPPED

_FILE = SHIPPED / "pump_anomalies" / "defs.yaml"


def _declared(model: dict[str, Any] | None = None, **parts: Any) -> LifecycleDeclaration:
    attributes = yaml.safe_load(_FILE.read_text())["attributes"]
    attributes["model"] = {**attributes["model"], **(model or {})}
    return LifecycleDeclaration.model_validate({**attributes, **parts})


def _rows(lifecycle: LifecycleDeclaration, plan: Protocol) -> pl.DataFrame:
    """Training rows with features made by hand, the usual of each pump being known."""
    days = pl.concat([Pumps().transactions(day) for day in plan.whole.days()])
    over = {name: pl.col(name) - pl.col(name).mean().over("pump") for name in ("temperature", "vibration")}
    part = pl.when(pl.col("read_at").dt.date() >= plan.test.first).then(pl.lit("test")).otherwise(pl.lit("train"))
    return days.with_columns(
        over["temperature"].alias("warmer_than_usual"),
        over["vibration"].alias("shakes_more_than_usual"),
        pl.col("temperature").mean().over("pump").alias("mean_temperature_1d"),
        pl.col("vibration").mean().over("pump").alias("mean_vibration_1d"),
        part.alias("part"),
    )


def test_anomalies_are_judged_and_compared_without_labels() -> None:
    lifecycle = read_declaration(_FILE)
    assert lifecycle.labels.kind == "none" and lifecycle.model.gate.compare_by == "separation"
    plan = protocol(lifecycle, date(2026, 3, 26))
    rows = _rows(lifecycle, plan)
    fitted = fit_candidate(lifecycle, rows, plan)
    # The pump that wears out is what scores highest, though nobody said so.
    test = rows.filter(part="test")
    worn = Pumps().is_worn(plan.test.last, np.tile(np.arange(20), 24))
    assert worn.any(), "the last test day has a worn pump"
    last = test.filter(pl.col("read_at").dt.date() == plan.test.last)
    assert set(np.argsort(-fitted.judged.score(last))[: worn.sum()]) <= set(np.flatnonzero(worn))

    found = judge_candidate(lifecycle, rows, plan, 2, fitted.judged, Rival(1, fitted.served))
    document = found.document
    assert document["metrics"]["separation"] > 2
    low, high = document["intervals"]["separation"]
    assert low <= document["metrics"]["separation"] <= high
    assert 0.5 < document["champion"]["overlap"] <= 1
    assert any("same days" in reason for reason in document["reasons"])
    assert list(evaluation_figures(found)) == ["scores"]
    card = model_card(lifecycle, document, {})
    assert "positives" not in card and "strangest events in common with the champion" in card


def test_a_day_that_is_strange_as_a_whole_is_refused() -> None:
    lifecycle = read_declaration(_FILE)
    plan = protocol(lifecycle, date(2026, 3, 26))
    rows = _rows(lifecycle, plan)
    hot = pl.when(pl.col("part") == "test").then(9.0).otherwise(0.0)
    rows = rows.with_columns(pl.col("temperature") + hot, pl.col("warmer_than_usual") + hot)
    judged = fit_candidate(lifecycle, rows, plan).judged
    document = judge_candidate(lifecycle, rows, plan, 1, judged, None).document
    assert not document["passed"]
    assert any(reason.startswith("exceeding") and "above the ceiling" in reason for reason in document["reasons"])


def test_clusters_have_metrics_of_their_own() -> None:
    model = {
        "algorithm": "k_means",
        "hyperparameters": {"n_clusters": 3},
        "standardise": True,
        "features": ["mean_temperature_1d", "mean_vibration_1d"],
        "gate": {"floors": {"silhouette": 0.2, "smallest_share": 0.05}, "compare_by": "silhouette"},
    }
    lifecycle = _declared(model)
    plan = protocol(lifecycle, date(2026, 3, 26))
    rows = _rows(lifecycle, plan)
    fitted = fit_candidate(lifecycle, rows, plan)
    found = judge_candidate(lifecycle, rows, plan, 2, fitted.judged, Rival(1, fitted.served)).document
    assert found["passed"], found["reasons"]
    assert found["metrics"]["silhouette"] > 0.2 and found["metrics"]["davies_bouldin"] is not None
    assert found["champion"]["agreement"] == pytest.approx(1)
    assert any(reason.startswith("silhouette") and "champion" in reason for reason in found["reasons"])


@pytest.mark.parametrize(
    ("model", "parts", "said"),
    [
        ({"algorithm": "xgboost", "hyperparameters": {}}, {}, "learns from labels, and none are declared"),
        ({"gate": {"floors": {"auc_roc": 0.7}}}, {}, "auc_roc does not fit labels of kind 'none'"),
        ({"calibrate": {"method": "platt"}}, {}, "not there without labels"),
        ({}, {"labels": {"kind": "none", "delay": "1d"}}, "leave `labels` out|have nothing else"),
        ({}, {"labels": {"column": "broken", "delay": "1d"}}, "labels need a positive"),
    ],
)
def test_what_needs_labels_is_refused(model: dict[str, Any], parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _declared(model, **parts)
