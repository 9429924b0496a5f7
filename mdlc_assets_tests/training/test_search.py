"""A search chooses on training days alone, the same each time; features and directions are the model's own."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Model, Windows
from mdlc_assets.declaration.ranges import Range
from mdlc_assets.training.algorithms import TrainingDataError, fit
from mdlc_assets.training.candidate import candidate_params, fit_candidate
from mdlc_assets.training.declared import training_problems
from mdlc_assets.training.metrics import measure, scored
from mdlc_assets.training.search import search
from mdlc_assets.training.sets import usable_test_rows
from mdlc_assets.training.windows import protocol

_AS_OF = date(2018, 5, 14)
_FEATURES = ["amount", "terminal_fraud_share_7d"]
_SEARCH: dict[str, Any] = {
    "trials": 6,
    "judge_days": 2,
    "maximise": "auc_roc",
    "space": {"max_depth": {"integer": [1, 3]}, "learning_rate": {"number": [0.01, 0.5], "log": True}},
}


def _lifecycle(payments_fraud: LifecycleDeclaration, **update: Any) -> LifecycleDeclaration:
    given = payments_fraud.model.model_dump()
    given |= {
        "hyperparameters": {"n_estimators": 5, "n_jobs": 1},
        "search": _SEARCH,
        "features": _FEATURES,
        "windows": {"train_days": 5, "gap_days": 0, "test_days": 2},
        **update,
    }
    return payments_fraud.model_copy(update={"model": Model.model_validate(given)})


def _rows(lifecycle: LifecycleDeclaration) -> pl.DataFrame:
    """200 events a day. A fraud is where exactly one of the two features is high, which takes a depth of two."""
    plan, rng = protocol(lifecycle, _AS_OF), np.random.default_rng(3)
    days = [day for day in plan.whole.days() for _ in range(200)]
    amount, share = rng.uniform(size=(2, len(days)))
    fraud = ((amount > 0.5) != (share > 0.5)) ^ (rng.uniform(size=len(days)) < 0.1)
    return pl.DataFrame(
        {
            "event_time": pl.Series([datetime(d.year, d.month, d.day, 12, tzinfo=UTC) for d in days]).cast(
                pl.Datetime("us", "UTC")
            ),
            "customer_id": rng.integers(0, 50, len(days)),
            "amount": amount,
            "terminal_fraud_share_7d": share,
            "is_fraud": fraud.astype(np.int8),
            "part": ["train" if day <= plan.train.last else "test" for day in days],
        }
    )


def test_the_same_rows_give_the_same_trials_and_model(payments_fraud: LifecycleDeclaration) -> None:
    lifecycle = _lifecycle(payments_fraud)
    rows, plan = _rows(lifecycle), protocol(lifecycle, _AS_OF)
    first, second = (fit_candidate(lifecycle, rows, plan) for _ in range(2))
    assert first.search is not None
    assert first.search == second.search
    assert first.digest() == second.digest()
    other = fit_candidate(_lifecycle(payments_fraud, seed=1), rows, plan)
    assert other.search is not None
    assert [t.hyperparameters for t in other.search.trials] != [t.hyperparameters for t in first.search.trials]


def test_the_test_days_play_no_part(payments_fraud: LifecycleDeclaration) -> None:
    lifecycle = _lifecycle(payments_fraud, refit=False)
    rows, plan = _rows(lifecycle), protocol(lifecycle, _AS_OF)
    turned = pl.when(pl.col("part") == "test").then(1 - pl.col("is_fraud")).otherwise("is_fraud").cast(pl.Int8)
    other = fit_candidate(lifecycle, rows.with_columns(is_fraud=turned), plan)
    assert other.digest() == fit_candidate(lifecycle, rows, plan).digest()


def test_a_trial_learns_from_the_first_days_and_is_judged_on_the_last(payments_fraud: LifecycleDeclaration) -> None:
    lifecycle = _lifecycle(payments_fraud)
    train = _rows(lifecycle).filter(pl.col("part") == "train")
    found = search(lifecycle, train, _FEATURES)
    assert found is not None
    assert (found.learnt, found.judged) == ("2018-05-01 to 2018-05-03", "2018-05-04 to 2018-05-05")
    day = pl.col("event_time").dt.day()
    for trial in found.trials:
        given = {"n_estimators": 5, "n_jobs": 1, **trial.hyperparameters}
        model = lifecycle.model.model_copy(update={"hyperparameters": given})
        judges = train.filter(day >= 4)
        score = fit(model, train.filter(day <= 3), _FEATURES, "is_fraud").score(judges)
        result = scored(judges, score, label="is_fraud", entity="customer_id", time="event_time")
        assert measure(result)["auc_roc"] == pytest.approx(trial.value, abs=1e-12)
    # A depth of one cannot see what it is about.
    assert found.best.hyperparameters["max_depth"] > 1
    assert found.best.value > 0.8 > min(trial.value for trial in found.trials)


def test_what_was_tried_and_found_is_kept(payments_fraud: LifecycleDeclaration) -> None:
    lifecycle = _lifecycle(payments_fraud)
    fitted = fit_candidate(lifecycle, _rows(lifecycle), protocol(lifecycle, _AS_OF))
    assert fitted.search is not None
    kept = json.loads(fitted.files()["search/trials.json"])
    assert [trial["number"] for trial in kept["trials"]] == list(range(6))
    (best,) = [trial for trial in kept["trials"] if trial["best"]]
    params = candidate_params(lifecycle, fitted.search)
    assert json.loads(params["max_depth"]) == best["hyperparameters"]["max_depth"]
    assert json.loads(params["search"])["trials"] == 6
    assert fitted.search.table().count("\n| ") == 7
    # Judged and refitted models have the features of the model, not all that are declared.
    assert fitted.judged.features == fitted.served.features == _FEATURES


def test_days_of_one_class_are_refused(payments_fraud: LifecycleDeclaration) -> None:
    lifecycle = _lifecycle(payments_fraud)
    train = _rows(lifecycle).filter(pl.col("part") == "train")
    quiet = pl.when(pl.col("event_time").dt.day() >= 4).then(0).otherwise("is_fraud").cast(pl.Int8)
    with pytest.raises(TrainingDataError, match=r"from 2018-05-04 to 2018-05-05 have 400 rows of one class.*Mend"):
        search(lifecycle, train.with_columns(is_fraud=quiet), _FEATURES)


@pytest.mark.parametrize("algorithm", ["xgboost", "gradient_boosting", "random_forest", "decision_tree"])
def test_a_score_keeps_its_direction(payments_fraud: LifecycleDeclaration, algorithm: str) -> None:
    small = {} if algorithm in {"gradient_boosting", "decision_tree"} else {"n_estimators": 10}
    update = {"algorithm": algorithm, "hyperparameters": small, "search": None}
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"amount": rng.uniform(size=2_000), "terminal_fraud_share_7d": rng.uniform(size=2_000)})
    # Falls with the amount on the whole: a model that may do what it likes would follow.
    rows = rows.with_columns(is_fraud=(pl.col("amount") < pl.Series(rng.uniform(size=2_000))).cast(pl.Int8))
    grid = pl.DataFrame({"amount": np.linspace(0, 1, 200), "terminal_fraud_share_7d": np.full(200, 0.5)})
    free = fit(_lifecycle(payments_fraud, **update).model, rows, _FEATURES, "is_fraud").score(grid)
    assert (np.diff(free) < -1e-6).any()
    for direction, sign in (("increasing", 1), ("decreasing", -1)):
        held = _lifecycle(payments_fraud, **update, monotone={"amount": direction})
        score = fit(held.model, rows, _FEATURES, "is_fraud").score(grid)
        assert (sign * np.diff(score) >= -1e-9).all()


def test_frauds_of_earlier_training_days_are_long_dealt_with(payments_fraud: LifecycleDeclaration) -> None:
    windows = Windows(train_days=5, gap_days=0, test_days=2)
    lifecycle = _lifecycle(payments_fraud, leave_out_known=True, windows=windows, search=None)
    plan = protocol(lifecycle, _AS_OF)
    # Customer 0 on the first training day, customer 1 on the last, each with a fraud; all pay on the test days.
    days = [plan.train.first, plan.train.last, *plan.test.days() * 3]
    rows = pl.DataFrame(
        {
            "event_time": pl.Series([datetime(d.year, d.month, d.day, tzinfo=UTC) for d in days]),
            "customer_id": [0, 1, 0, 0, 1, 1, 2, 2],
            "is_fraud": [1, 1, 0, 0, 0, 0, 0, 0],
            "part": ["train"] * 2 + ["test"] * 6,
        }
    ).with_columns(pl.col("event_time").cast(pl.Datetime("us", "UTC")))
    assert set(usable_test_rows(lifecycle, rows, plan)["customer_id"]) == {2}
    lately = _lifecycle(payments_fraud, leave_out_known=True, windows=windows, search=None, known_days=4)
    assert set(usable_test_rows(lately, rows, plan)["customer_id"]) == {0, 2}


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"search": {**_SEARCH, "judge_days": 5}}, "learn from none"),
        ({"search": {**_SEARCH, "space": {"n_jobs": {"integer": [1, 2]}}}}, "both given and searched for"),
        ({"search": {**_SEARCH, "space": {"max_depth": {"integer": [3, 1]}}}}, "3 is greater than 1"),
        ({"search": {**_SEARCH, "space": {"gamma": {"number": [0, 1], "log": True}}}}, "cannot begin at 0"),
        ({"search": {**_SEARCH, "space": {"gamma": {}}}}, "this one has none"),
        ({"search": {**_SEARCH, "space": {"gamma": {"choice": [1], "integer": [1, 2]}}}}, "integer, choice"),
    ],
)
def test_a_wrong_search_is_refused(payments_fraud: LifecycleDeclaration, update: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _lifecycle(payments_fraud, **update)


@pytest.mark.parametrize(
    ("update", "field", "mend"),
    [
        ({"search": {**_SEARCH, "space": {"max_dept": {"integer": [1, 3]}}}}, "search.space.max_dept", "'max_depth'"),
        ({"features": ["amount", "amounts"]}, "features.1", "'amount'"),
        ({"features": ["amount", "amount"]}, "features.1", "name it once"),
        ({"monotone": {"is_night": "increasing"}}, "monotone.is_night", "use one of amount"),
        (
            {
                "algorithm": "logistic_regression",
                "hyperparameters": {},
                "search": None,
                "monotone": {"amount": "decreasing"},
            },
            "monotone.amount",
            "a model of trees",
        ),
    ],
)
def test_names_nobody_knows_are_named(
    payments_fraud: LifecycleDeclaration, update: dict[str, Any], field: str, mend: str
) -> None:
    (problem,) = training_problems(_lifecycle(payments_fraud, **update))
    assert problem.field == f"model.{field}"
    assert mend in problem.mend


def test_a_range_in_words() -> None:
    assert Range(integer=(2, 6)).spelled() == "2 to 6"
    assert Range(number=(0.01, 0.3), log=True).spelled() == "0.01 to 0.3, logarithmic"
    assert Range(choice=["exact", "hist"]).spelled() == "one of exact, hist"
