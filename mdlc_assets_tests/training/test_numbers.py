"""Labels that are numbers: what fits them, their metrics by hand, and a candidate from rows to the gate's verdict."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.declaration.algorithms import REGRESSIONS
from mdlc_assets.declaration.errors import explain
from mdlc_assets.declaration.evaluation import Intervals
from mdlc_assets.training.algorithms import fit, load_model
from mdlc_assets.training.candidate import Rival, fit_candidate, judge_candidate
from mdlc_assets.training.metrics import Scored, intervals, measure
from mdlc_assets.training.model_card import card_files, model_card
from mdlc_assets.training.number_metrics import by_tenths
from mdlc_assets.training.windows import Protocol, protocol
from mdlc_assets_tests.conftest import SHIPPED

_AS_OF = date(2024, 4, 30)
_ALL = ("r2", "mae", "rmse", "wape", "gain_over_baseline")


@pytest.fixture(scope="module")
def bakery() -> LifecycleDeclaration:
    return read_declaration(SHIPPED / "bakery_demand" / "defs.yaml")


@pytest.fixture(scope="module")
def made(bakery: LifecycleDeclaration) -> tuple[pl.DataFrame, Protocol]:
    """A training set whose number follows from a promotion and from what was sold a week ago, with noise."""
    plan, rng, frames = protocol(bakery, _AS_OF), np.random.default_rng(5), []
    for day in plan.whole.days():
        ago = rng.uniform(10, 90, 30)
        promoted = rng.integers(0, 2, 30).astype(float)
        features: dict[str, Any] = {name: np.zeros(30) for name in bakery.features.names()}
        features |= {
            "sold_a_week_ago_1d": ago,
            "promoted": promoted,
            "is_weekend": np.full(30, day.weekday() >= 5) * 1.0,
        }
        part = "train" if day <= plan.train.last else "test"
        instant = pl.Series(
            [datetime(day.year, day.month, day.day, 6, tzinfo=UTC)] * 30, dtype=pl.Datetime("us", "UTC")
        )
        sold = ago + 40 * promoted + rng.normal(0, 5, 30)
        shelves = [f"shelf{i}" for i in range(30)]
        about = {"offer_id": [f"{day}/{i}" for i in range(30)], "opens_at": instant, "shelf": shelves}
        frames.append(pl.DataFrame({**about, **features, "sold": sold, "part": [part] * 30}))
    return pl.concat(frames), plan


def _scored(label: list[float], score: list[float], baseline: list[float] | None = None) -> Scored:
    n = len(label)
    naive = None if baseline is None else np.array(baseline)
    return Scored(np.array(score), np.array(label), np.arange(n), np.arange(n) // 2, naive)


def test_metrics_by_hand() -> None:
    found = measure(_scored([1, 2, 3, 6], [1, 3, 3, 4], [3, 3, 3, 3]), _ALL)
    assert found["mae"] == 0.75 and found["rmse"] == pytest.approx(np.sqrt(5 / 4))
    assert found["wape"] == pytest.approx(3 / 12)
    # The squares about the mean of 3 add up to 14; the baseline is wrong by 2 + 1 + 0 + 3.
    assert found["r2"] == pytest.approx(1 - 5 / 14) and found["gain_over_baseline"] == 0.5
    assert measure(_scored([2.1, 2.1], [2, 3]), ["r2", "mae"]) == {"r2": None, "mae": pytest.approx(0.5)}
    assert measure(_scored([], []), ["mae"]) == {"mae": None}


def test_what_came_is_held_against_what_was_foretold_in_bins() -> None:
    found = by_tenths(_scored([2, 4, 10, 12], [4, 2, 10, 6]), 2)
    assert found["observed_to_expected"] == pytest.approx(28 / 22)
    assert [(point["score"], point["share"]) for point in found["curve"]] == [(3, 3), (8, 11)]
    assert by_tenths(_scored([-1, 4], [1, 2]), 2)["observed_to_expected"] is None


def test_intervals_hold_the_truth_and_are_paired() -> None:
    rng = np.random.default_rng(0)
    label = rng.normal(50, 10, 2000)
    found = Scored(label + rng.normal(0, 4, 2000), label, rng.integers(0, 200, 2000), np.zeros(2000, int))
    sure = intervals(found, ["mae", "rmse", "r2"], declared=Intervals(resamples=300))
    for metric, truth in (("mae", 4 * np.sqrt(2 / np.pi)), ("rmse", 4), ("r2", 1 - 16 / 100)):
        low, high = sure[metric] or (0, 0)
        assert low < truth < high and high - low < 0.15 * truth
    # The other model is wrong by the same and a little more on each event: certain, though each by itself is not.
    worse = found.score + 0.2 * np.sign(found.score - label)
    low, high = intervals(found, ["mae"], against=worse)["mae"] or (0, 0)
    assert low == pytest.approx(-0.2) and high == pytest.approx(-0.2)


@pytest.mark.parametrize("algorithm", REGRESSIONS)
def test_every_regression_learns_and_comes_back_from_its_files(
    bakery: LifecycleDeclaration, made: tuple[pl.DataFrame, Protocol], algorithm: str
) -> None:
    model = bakery.model.model_copy(update={"algorithm": algorithm, "hyperparameters": {}, "standardise": True})
    rows = made[0].head(600)
    features = ["sold_a_week_ago_1d", "promoted"]
    fitted = fit(model, rows, features, "sold")
    said = fitted.score(rows)
    assert np.abs(said - rows["sold"].to_numpy()).mean() < 10
    assert said.max() > 1
    assert (load_model(fitted.files()).score(rows) == said).all()
    assert fit(model, rows, features, "sold").digest() == fitted.digest()


def test_a_candidate_is_judged_in_words_that_fit(
    bakery: LifecycleDeclaration, made: tuple[pl.DataFrame, Protocol]
) -> None:
    rows, plan = made
    fitted = fit_candidate(bakery, rows, plan)
    found = judge_candidate(bakery, rows, plan, 1, fitted.judged, None)
    document = found.document
    assert document["passed"], document["reasons"]
    assert document["positives"] is None
    assert document["metrics"]["r2"] > 0.8 and document["metrics"]["gain_over_baseline"] > 0.5
    assert set(document["slices"]) == {"weekend", "promotions"}
    card = model_card(bakery, document, {})
    files = card_files(bakery, found, card)
    assert {"evaluation/by_day.png", "evaluation/foretold_and_actual.png"} <= set(files)
    words = card + " ".join(document["reasons"])
    assert "times as much came as was foretold" in words
    assert not [word for word in ("positive", "precision", "auc") if word in words]
    # Beside a champion that only repeats last week it is better, and that is certain; the other way round it is not.
    naive = bakery.model.model_copy(update={"algorithm": "linear_regression", "hyperparameters": {}})
    repeats = fit(naive, rows, ["sold_a_week_ago_1d"], "sold")
    beside = judge_candidate(bakery, rows, plan, 2, fitted.judged, Rival(1, repeats)).document["champion"]
    assert beside["difference_interval"][0] > 0
    refused = judge_candidate(bakery, rows, plan, 2, repeats, Rival(1, fitted.judged)).document
    assert not refused["passed"]
    assert "worse than champion version 1" in " ".join(refused["reasons"])


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("labels.kind", "event", "does not fit labels of kind 'event'"),
        ("model.algorithm", "xgboost", "xgboost does not learn labels of kind 'number'"),
        ("model.gate.floors", {"auc_roc": 0.7}, "auc_roc does not fit labels of kind 'number'"),
        ("model.gate.floors", {"mae": 3}, "'mae' is better when it is lower"),
        ("model.evaluation.baseline", "sold_last_year", "no feature is called so"),
        ("model.evaluation.baseline", None, "there is no baseline to gain over"),
        ("model.evaluation.costs", {"miss": 1, "false_alarm": 1}, "not there for labels of kind 'number'"),
        ("monitoring.retrain.metric", "average_precision", "average_precision does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(place: str, value: object, said: str) -> None:
    attributes = yaml.safe_load((SHIPPED / "bakery_demand" / "defs.yaml").read_text())["attributes"]
    part = attributes
    *path, last = place.split(".")
    for name in path:
        part = part[name]
    part[last] = value
    with pytest.raises(ValidationError) as error:
        LifecycleDeclaration.model_validate(attributes)
    (problem,) = explain(error.value, LifecycleDeclaration)
    assert said in str(problem) and "Mend: " in str(problem)


def test_defaults_of_a_number_are_its_own(bakery: LifecycleDeclaration) -> None:
    attributes = yaml.safe_load((SHIPPED / "bakery_demand" / "defs.yaml").read_text())["attributes"]
    attributes["model"]["gate"] = {"floors": {"r2": 0}}
    attributes["monitoring"] = {}
    found = LifecycleDeclaration.model_validate(attributes)
    assert found.model.gate.compare_by == found.monitoring.retrain.metric == "r2"
    assert found.monitoring.closed_loop.metrics == ["r2", "mae", "wape"]
    assert found.model.evaluation.capacity is None
    # What the registry keeps of it can be read again.
    assert LifecycleDeclaration.model_validate(found.model_dump(mode="json")) == found
    assert bakery.labels.delay == timedelta(days=1)
