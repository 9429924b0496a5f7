"""Intervals against scikit-learn draw by draw, calibration, thresholds, slices, fair comparison, the gate."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.evaluation import Costs, Evaluation, Gate, Intervals, SliceGate
from mdlc_assets.training.backtest import backtest_frame, summary_lines
from mdlc_assets.training.candidate import fair_folder
from mdlc_assets.training.declared import training_problems
from mdlc_assets.training.gate import judge
from mdlc_assets.training.metrics import METRICS, Scored, interval, intervals, measure
from mdlc_assets.training.model_card import verdict_text
from mdlc_assets.training.reliability import reliability
from mdlc_assets.training.resampling import Draws
from mdlc_assets.training.thresholds import by_capacity, by_cost, row_costs
from mdlc_assets.training.windows import protocol

_REFERENCE = {
    "auc_roc": roc_auc_score,
    "average_precision": average_precision_score,
    "brier": brier_score_loss,
    "log_loss": log_loss,
}


def _some(rows: int = 3000, seed: int = 0, share: float = 0.05) -> Scored:
    """Events with many equal scores, of entities with one to some events, over five days."""
    rng = np.random.default_rng(seed)
    label = (rng.uniform(size=rows) < share).astype(np.int8)
    score = np.round(np.clip(rng.beta(1, 8, rows) + 0.3 * label * rng.uniform(size=rows), 0.001, 0.999), 2)
    score = np.clip(score, 0.01, 0.99)
    return Scored(score, label, rng.integers(0, rows // 6, rows), rng.integers(0, 5, rows))


@pytest.mark.parametrize("by", ["entity", "day"])
@pytest.mark.parametrize("metric", list(_REFERENCE))
def test_each_draw_is_what_scikit_learn_says_with_weights(metric: str, by: str) -> None:
    found = _some()
    draws = Draws(found, Intervals(by=by, resamples=100), seed=3)
    values = draws.values(found, [metric])[metric]
    counts = np.concatenate(list(draws._counts(draws.units)), axis=1)
    assert counts.sum(axis=0).tolist() == [draws.units] * 100
    for i in range(0, 100, 9):
        weights = counts[draws.unit, i]
        expected = _REFERENCE[metric](found.label, found.score, sample_weight=weights)
        assert values[i] == pytest.approx(expected, abs=1e-12)


def test_a_draw_of_everybody_once_is_the_metric_itself() -> None:
    found = _some()
    for by in ("entity", "day"):
        draws = Draws(found, Intervals(by=by), seed=0)
        from mdlc_assets.training.resampling import _Ranked

        ranked = _Ranked(found, draws.unit, draws.units)
        for metric, expected in measure(found, [*METRICS, "card_precision_7"]).items():
            evaluate = draws._evaluator(found, metric, ranked)
            assert evaluate(np.ones((draws.units, 2))).tolist() == pytest.approx([expected] * 2, abs=1e-12)


def test_draws_do_not_depend_on_how_many_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _some()
    whole = intervals(found, METRICS, declared=Intervals(resamples=100))
    monkeypatch.setattr("mdlc_assets.training.resampling._CELLS", 5_000)
    assert intervals(found, METRICS, declared=Intervals(resamples=100)) == whole


def test_events_of_one_entity_make_an_interval_wider() -> None:
    rng = np.random.default_rng(1)
    entity = np.repeat(np.arange(60), 50)
    # Whole entities are good or bad, and well or badly scored: 3000 events say no more than 60.
    label = (rng.uniform(size=60) < 0.4).astype(np.int8)[entity]
    score = np.clip(label * 0.3 + rng.uniform(size=60)[entity], 0, 1)
    together = interval(Scored(score, label, entity, entity * 0), "auc_roc") or (0, 0)
    alone = interval(Scored(score, label, np.arange(3000), entity * 0), "auc_roc") or (0, 0)
    assert together[1] - together[0] > 3 * (alone[1] - alone[0])


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    truth = measure(_some(200_000, seed=99))["auc_roc"] or 0
    held = 0
    for seed in range(100):
        low, high = interval(_some(2000, seed=seed), "auc_roc", declared=Intervals(resamples=300, level=0.9)) or (0, 0)
        held += low <= truth <= high
    # 90 of 100 are expected; 3.4 standard errors below that is 80.
    assert 80 <= held <= 99


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    found = _some()
    other = np.clip(found.score + np.random.default_rng(5).normal(0, 0.01, len(found.score)), 0, 1)
    low, high = interval(found, "average_precision", against=other) or (0, 0)
    alone = interval(found, "average_precision") or (0, 0)
    assert high - low < (alone[1] - alone[0]) / 2
    assert interval(found, "average_precision", against=found.score) == (0, 0)


def test_too_few_positives_give_no_interval() -> None:
    found = _some(60, seed=2, share=0.0)
    found.label[3] = 1
    assert interval(found, "auc_roc") is None


def test_scores_that_mean_what_they_say() -> None:
    rng = np.random.default_rng(0)
    score = rng.beta(1, 9, 20_000)
    label = (rng.uniform(size=20_000) < score).astype(np.int8)
    found = reliability(Scored(score, label, label, label), 10)
    assert found["observed_to_expected"] == pytest.approx(1, abs=0.08)
    assert sum(point["low"] <= point["score"] <= point["high"] for point in found["curve"]) >= 8
    twice = Scored(np.clip(score * 2, 0, 1), label, label, label)
    assert reliability(twice, 10)["observed_to_expected"] == pytest.approx(0.5, abs=0.05)
    fair, wrong = (measure(Scored(s, label, label, label)) for s in (score, twice.score))
    assert (fair["expected_calibration_error"] or 1) < 0.01 < 0.08 < (wrong["expected_calibration_error"] or 0)
    assert (fair["brier"] or 1) < (wrong["brier"] or 0)


def test_the_threshold_with_the_least_cost_is_the_best_of_all() -> None:
    found = _some(400)
    rng = np.random.default_rng(0)
    miss, alarm = rng.uniform(5, 50, 400), rng.uniform(1, 4, 400)
    best = by_cost(found, miss, alarm)
    assert best is not None

    def cost(threshold: float, part: np.ndarray) -> float:
        acted = found.score >= threshold
        fraud = found.label == 1
        return float(miss[part & fraud & ~acted].sum() + alarm[part & ~fraud & acted].sum())

    every = np.ones(400, bool)
    tried = [*np.unique(found.score), 2.0]
    assert best["cost_a_day_same_days"] == pytest.approx(min(cost(t, every) for t in tried) / 5)
    honest = 0.0
    for day in range(5):
        today = found.day == day
        honest += cost(min(tried[::-1], key=lambda t: cost(t, ~today)), today)
    assert best["cost_a_day"] == pytest.approx(honest / 5)
    assert best["cost_a_day"] >= best["cost_a_day_same_days"]
    assert by_cost(found, miss * 0, alarm)["alarms_a_day"] == 0  # type: ignore[index]


def test_costs_may_follow_the_event() -> None:
    rows = pl.DataFrame({"amount": [10.0, 20.0]})
    miss, alarm = row_costs(rows, Costs(miss="amount * 2", false_alarm=3))
    assert (miss.tolist(), alarm.tolist()) == ([20, 40], [3, 3])


def test_a_threshold_fills_the_capacity_and_no_more() -> None:
    found = _some()
    by = by_capacity(found, 20)
    assert by is not None
    assert by["entities_a_day"] <= 20
    lower = found.score[found.score < by["threshold"]].max()
    chosen = pl.DataFrame({"e": found.entity, "d": found.day, "s": found.score}).filter(pl.col("s") >= lower)
    assert chosen.unique(["e", "d"]).height / 5 > 20
    assert by_capacity(found, 10_000)["recall"] == 1  # type: ignore[index]


def _document(**more: Any) -> dict[str, Any]:
    return {
        "version": 7,
        "test_rows": 5000,
        "positives": 40,
        "metrics": {"average_precision": 0.5, "auc_roc": 0.9, "brier": 0.01},
        "intervals": {"average_precision": (0.45, 0.55)},
        "calibration": {"observed_to_expected": 1.1, "curve": []},
        "champion": None,
        "slices": {},
        **more,
    }


def _beside(value: float, low: float, high: float) -> dict[str, Any]:
    return {"version": 3, "metrics": {"average_precision": value}, "difference_interval": (low, high)}


@pytest.mark.parametrize(
    ("gate", "document", "passed", "said"),
    [
        ({}, {}, True, "no champion to compare with"),
        ({"floors": {"average_precision": 0.4}}, {}, True, "0.500 (0.450 to 0.550) reaches the floor 0.4"),
        ({"floors": {"average_precision": 0.6}}, {}, False, "is below the floor 0.6"),
        ({"floors": {"card_precision_100": 0.6}}, {}, False, "cannot be computed and is below the floor"),
        ({"ceilings": {"brier": 0.005}}, {}, False, "brier 0.010 is above the ceiling 0.005"),
        ({"ceilings": {"brier": 0.02}}, {}, True, "brier 0.010 stays within the ceiling 0.02"),
        ({"calibration": (0.9, 1.2)}, {}, True, "1.10 positives for each that the scores expect, within 0.9 to 1.2"),
        ({"calibration": (0.5, 1.0)}, {}, False, "outside 0.5 to 1"),
        ({"least_positives": 50}, {}, False, "40 positives among 5000 test rows are too few"),
        ({}, {"champion": _beside(0.505, -0.02, 0.01)}, True, "0.005 worse than champion version 3 (0.505)"),
        ({}, {"champion": _beside(0.6, -0.2, -0.05)}, False, "0.100 worse than champion version 3"),
        (
            {"certain": True},
            {"champion": _beside(0.505, -0.02, 0.01)},
            False,
            "not certain, since the difference is -0.020",
        ),
        ({"certain": True}, {"champion": _beside(0.4, 0.05, 0.15)}, True, "0.100 better than champion version 3"),
        (
            {},
            {"champion": {"version": 3, "metrics": {}, "not_compared": "it is newer"}},
            True,
            "not compared with champion",
        ),
        ({}, {"champion": {"version": 3, "metrics": {}, "difference_interval": None}}, False, "cannot be compared"),
    ],
)
def test_the_gate_in_words(gate: dict[str, Any], document: dict[str, Any], passed: bool, said: str) -> None:
    verdict = judge(Gate(**{"floors": {}, "may_lose": 0.01, **gate}), _document(**document))
    assert verdict.passed is passed
    assert said in "; ".join(verdict.reasons)


def _slice(value: float, positives: int = 30, champion: float | None = None) -> dict[str, Any]:
    beside = None if champion is None else _beside(champion, -0.1, 0.1)
    metrics = {"average_precision": value}
    return {"rows": 900, "positives": positives, "metrics": metrics, "intervals": {}, "champion": beside}


@pytest.mark.parametrize(
    ("found", "passed", "said"),
    [
        (_slice(0.3), True, "slice night: average_precision 0.300 reaches the floor 0.2"),
        (_slice(0.1), False, "slice night: average_precision 0.100 is below the floor 0.2"),
        (_slice(0.1, positives=3), True, "slice night is not judged: 3 positives are too few"),
        (_slice(0.3, champion=0.5), False, "slice night: average_precision 0.300 is 0.200 worse"),
        (_slice(0.3, champion=0.32), True, "0.05 may be lost"),
    ],
)
def test_a_slice_may_not_sink(found: dict[str, Any], passed: bool, said: str) -> None:
    declared = SliceGate(floors={"average_precision": 0.2}, may_lose=0.05)
    verdict = judge(Gate(floors={}, slices={"night": declared}), _document(slices={"night": found}))
    assert verdict.passed is passed
    assert said in "; ".join(verdict.reasons)


def test_what_refuses_comes_first_with_what_to_do(payments_fraud: LifecycleDeclaration) -> None:
    verdict = judge(Gate(floors={"auc_roc": 0.5, "average_precision": 0.6}), _document())
    document = _document(passed=verdict.passed, reasons=verdict.reasons, champion=_beside(0.5, 0, 0))
    first, *reasons, last = verdict_text(payments_fraud, document, date(2018, 6, 5)).splitlines()
    assert first == (
        "Version 7 as of 2018-06-05 is REFUSED by its gate and does not serve. Champion version 3 stays in service."
    )
    assert "is below the floor 0.6" in reasons[0]
    assert "team:fraud-science" in last and "--override" in last


@pytest.mark.parametrize(
    ("refit", "train", "folder"),
    [
        ("2018-07-01 to 2018-08-01", "2018-06-24 to 2018-07-25", "model"),
        ("2018-07-01 to 2018-08-12", "2018-06-24 to 2018-07-25", "judged"),
        ("2018-08-01 to 2018-08-20", "2018-07-25 to 2018-08-14", None),
    ],
)
def test_a_champion_is_not_judged_on_days_it_learnt_from(
    payments_fraud: LifecycleDeclaration, refit: str, train: str, folder: str | None
) -> None:
    plan = protocol(payments_fraud, date(2018, 8, 21))
    assert str(plan.test) == "2018-08-12 to 2018-08-14"
    assert fair_folder({"mdlc.refit": refit, "mdlc.train": train}, plan) == folder


def test_slices_and_costs_are_checked_before_anything_runs(payments_fraud: LifecycleDeclaration) -> None:
    declared = Evaluation(
        slices={
            "good": "is_night = 1 AND amount > 50",
            "unknown": "amont > 5",
            "number": "amount",
            "label": "is_fraud = 1",
        },
        costs=Costs(miss="amount", false_alarm="'much'"),
    )
    model = payments_fraud.model.model_copy(update={"evaluation": declared})
    problems = training_problems(payments_fraud.model_copy(update={"model": model}))
    assert [problem.field.removeprefix("model.evaluation.") for problem in problems] == [
        "slices.unknown",
        "slices.number",
        "slices.label",
        "costs.false_alarm",
    ]
    assert all(problem.mend for problem in problems)


def test_a_backtest_in_sentences() -> None:
    documents = {
        date(2018, 6, day): {
            **_document(metrics={"average_precision": value}),
            "test": "some days",
            "passed": value > 0.3,
            "reasons": ["too low"],
        }
        for day, value in ((1, 0.4), (2, 0.2), (8, 0.6))
    }
    frame = backtest_frame(documents)
    assert frame["value"].to_list() == [0.4, 0.2, 0.6]
    first, metric, close = summary_lines(documents, ["average_precision"], 3)
    assert first == "3 as-of days, 2018-06-01 to 2018-06-08; the gate passed 2 of them."
    assert "0.400 on average" in metric and "worst 0.200 as of 2018-06-02" in metric
    assert close.startswith("1 as-of days are closer than 3 test days")
