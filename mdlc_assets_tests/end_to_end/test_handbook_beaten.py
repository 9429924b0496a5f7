"""One declared model above every row of the handbook's table, through the platform's own assets, and no leak."""

from __future__ import annotations

import json
from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.demo.handbook import (
    BACKTEST,
    BARS,
    FILE,
    SEARCHED,
    Proof,
    ablations,
    judge_variant,
    measure_variant,
    prove,
    prove_handbook,
    with_model,
)
from mdlc_assets.demo.table import AS_OF, METRICS, ROWS
from mdlc_assets.features.table import feature_table
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.resources.registry import Registry
from mdlc_assets.training.windows import protocol
from mdlc_assets_tests.conftest import PAYMENTS, handbook_day

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PAYMENTS.exists(), reason="the shared payments are not beside this checkout"),
]
_DELAY = timedelta(days=7)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("handbook_beaten"))


@pytest.fixture(scope="module")
def lifecycle() -> LifecycleDeclaration:
    return load_lifecycle(FILE).declaration


@pytest.fixture(scope="module")
def proof(home: Home) -> Proof:
    (found,) = prove_handbook(PAYMENTS, home)
    return found


def test_it_is_the_handbooks_split(proof: Proof) -> None:
    document = proof.document
    assert (document["train"], document["test"]) == ("2018-07-25 to 2018-07-31", "2018-08-08 to 2018-08-14")
    assert (document["train_rows"], document["test_rows"]) == (67_240, 58_264)


@pytest.mark.parametrize("metric", METRICS)
def test_it_is_above_the_bar_and_every_row(proof: Proof, metric: str) -> None:
    published = max(row.published[METRICS.index(metric)] for row in ROWS)
    assert proof.metrics[metric] >= BARS[metric] > published
    low, high = proof.intervals[metric]
    assert low < proof.metrics[metric] < high


def test_nothing_was_chosen_on_the_weeks_it_is_shown_on(lifecycle: LifecycleDeclaration) -> None:
    searched = [day for as_of in SEARCHED for day in protocol(lifecycle, as_of).test.days()]
    for as_of in (*BACKTEST, AS_OF):
        assert protocol(lifecycle, as_of).test.first > max(searched)
    weeks = [protocol(lifecycle, as_of).test.first for as_of in (*BACKTEST, AS_OF)]
    assert len(set(weeks)) == 7


def test_the_registry_keeps_the_study(home: Home, lifecycle: LifecycleDeclaration, proof: Proof) -> None:
    registry: Registry = embedded_resources(home)["registry"]
    version = registry.version(lifecycle.name, proof.document["version"])
    kept = json.loads(registry.files(version, "search")["trials.json"])
    assert lifecycle.model.search is not None
    assert len(kept["trials"]) == lifecycle.model.search.trials
    assert (kept["learnt"], kept["judged"]) == ("2018-07-25 to 2018-07-29", "2018-07-30 to 2018-07-31")
    (best,) = [trial for trial in kept["trials"] if trial["best"]]
    params = registry._client().get_run(version.run_id).data.params
    for name, value in best["hyperparameters"].items():
        assert json.loads(params[name]) == value


def test_the_same_day_gives_the_same_model(home: Home, lifecycle: LifecycleDeclaration, proof: Proof) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        (again,) = prove(load_lifecycle(FILE), home, instance, [AS_OF])
        made = instance.get_latest_materialization_event(dg.AssetKey([lifecycle.name, "candidate_model"]))
    assert made is not None
    assert made.asset_materialization is not None
    shown = made.asset_materialization.metadata["search"].value
    assert str(shown).count("\n| ") == 21
    assert again.digest == proof.digest
    assert again.document["version"] == proof.document["version"]
    assert again.metrics == proof.metrics


def test_shuffled_labels_teach_nothing(home: Home, lifecycle: LifecycleDeclaration, proof: Proof) -> None:
    """Directions are left out, since they are knowledge of their own: held to them, noise too ranks frauds high."""
    rows = embedded_resources(home)["lake"].table(lifecycle.name, "training_set").read_day(AS_OF)
    fixed = {"n_estimators": 100, "max_depth": 3, "n_jobs": 1}
    blind = with_model(lifecycle, search=None, monotone={}, hyperparameters=fixed)
    train, rest = rows.filter(pl.col("part") == "train"), rows.filter(pl.col("part") != "train")
    found = []
    for seed in range(4):
        shuffled = train.with_columns(pl.col("is_fraud").shuffle(seed=seed))
        found.append(measure_variant(blind, pl.concat([shuffled, rest]), rows, AS_OF))
    assert np.mean([metrics["average_precision"] or 1 for metrics in found]) < 0.05
    assert abs(np.mean([metrics["auc_roc"] or 0 for metrics in found]) - 0.5) < 0.15


def test_features_are_those_of_the_instant(home: Home, lifecycle: LifecycleDeclaration, proof: Proof) -> None:
    """Of forty payments of the test week all later payments, and all labels not yet known at the instant, are taken
    away; those that are left give the same features. Frauds are among them, and terminals with known frauds."""
    test = embedded_resources(home)["lake"].table(lifecycle.name, "training_set").read_day(AS_OF)
    test = test.filter(pl.col("part") == "test")
    frauds = test.filter(pl.col("is_fraud") == 1)
    chosen = [frauds.sample(15, seed=1), test.sample(15, seed=2)]
    chosen.append(test.filter(pl.col("terminal_frauds_7d") > 0).sample(10, seed=3))
    days = lifecycle.days(date(2018, 4, 25), date(2018, 8, 14))
    every = [handbook_day(day) for day in days]
    events, labels = pl.concat(e for e, _ in every), pl.concat(one for _, one in every)
    names = lifecycle.features.names()
    for row in pl.concat(chosen).iter_rows(named=True):
        instant, here = row["event_time"], events.filter(pl.col("transaction_id") == row["transaction_id"])
        ours = (pl.col("customer_id") == here["customer_id"].item()) | (
            pl.col("terminal_id") == here["terminal_id"].item()
        )
        past = events.filter(ours & (pl.col("event_time") <= instant))
        known = labels.join(past.select("transaction_id", "event_time"), on="transaction_id")
        known = known.filter(pl.col("event_time") + _DELAY <= instant).select(labels.columns)
        found = feature_table(lifecycle, past, known, instant.date(), instant.date())
        found = found.filter(pl.col("transaction_id") == row["transaction_id"])
        for name in names:
            assert found[name].item() == pytest.approx(row[name], rel=1e-12, abs=1e-12), (row["transaction_id"], name)


def test_no_single_feature_carries_it(home: Home, lifecycle: LifecycleDeclaration, proof: Proof) -> None:
    """A leak tends to sit in one column: alone, each of them is far from what all together do."""
    rows = embedded_resources(home)["lake"].table(lifecycle.name, "training_set").read_day(AS_OF)
    fixed = {"n_estimators": 40, "max_depth": 3, "n_jobs": 1, "max_bin": 512}
    for name in lifecycle.model.features:
        alone = with_model(lifecycle, search=None, monotone={}, hyperparameters=fixed, features=[name])
        metrics = measure_variant(alone, rows, rows, AS_OF)
        assert (metrics["average_precision"] or 1) < proof.metrics["average_precision"] - 0.1, name


def test_it_is_the_amounts_against_the_usual(home: Home, lifecycle: LifecycleDeclaration, proof: Proof) -> None:
    lake, variants = embedded_resources(home)["lake"], ablations(lifecycle)
    without = judge_variant(variants["no amounts against the customer's usual"], lake, AS_OF)
    assert all((without[metric] or 0) < BARS[metric] for metric in METRICS)
    longer = judge_variant(variants["four weeks of training"], lake, AS_OF)
    assert all((longer[metric] or 0) >= BARS[metric] for metric in METRICS)
