"""The declaration that is above every row of the handbook's table, proved through the platform's own assets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from mdlc_assets.asset_style import end_of
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Windows
from mdlc_assets.demo.table import AS_OF, METRICS, bring_in, loop_on, run_well
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle, load_lifecycle
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets.training.algorithms import FittedModel, load_model
from mdlc_assets.training.candidate import fit_candidate
from mdlc_assets.training.metrics import Scored, card_precision, interval, measure, scored
from mdlc_assets.training.sets import training_rows, usable_test_rows
from mdlc_assets.training.windows import protocol

FILE = Path(__file__).parents[1] / "lifecycles" / "payments_fraud" / "handbook.yaml"
BARS = {"auc_roc": 0.880, "average_precision": 0.690, "card_precision_100": 0.300}
SEARCHED = (date(2018, 6, 12), date(2018, 6, 19), date(2018, 6, 26), date(2018, 7, 3), date(2018, 7, 10))
"""As-of days on which features and the space of hyperparameters were chosen: test weeks 05-30 to 07-03."""
BACKTEST = (
    date(2018, 7, 17),
    date(2018, 7, 24),
    date(2018, 7, 31),
    date(2018, 8, 7),
    date(2018, 8, 14),
    date(2018, 8, 28),
)
"""As-of days that nothing was chosen on: test weeks 07-04 to 08-07, and 08-15 to 08-21, after the handbook's."""
_AMOUNTS = ("amount_to_usual", "amount_deviations", "amount_to_largest", "recent_peak_to_usual")
_TIMES = (
    "terminal_days_since_genuine",
    "terminal_days_since_fraud",
    "terminal_days_since_first_fraud",
    "terminal_frauds_in_a_row",
)


@dataclass(frozen=True)
class Proof:
    """What an as-of day gave: the evaluation document, 95 % intervals by metric, and the model's digest."""

    document: dict[str, Any]
    intervals: dict[str, tuple[float, float]]
    digest: str

    @property
    def metrics(self) -> dict[str, float]:
        return self.document["metrics"]


def prove(lifecycle: ModelLifecycle, home: Home, instance: dg.DagsterInstance, as_of: Sequence[date]) -> list[Proof]:
    """Train and evaluate as of each day, on features that `bring_in` has brought in below `home`."""
    loop = loop_on(lifecycle, home, instance)
    lake, registry = loop.resources["lake"], loop.resources["registry"]
    found = []
    for day in as_of:
        run_well(loop, "train", day)
        found.append(_proof(lifecycle.declaration, lake, registry, day))
    return found


def prove_handbook(source: Path, home: Home, as_of: Sequence[date] = (AS_OF,)) -> list[Proof]:
    """The declaration of `FILE` as it is, from raw files to evaluation, as of each day."""
    lifecycle = load_lifecycle(FILE)
    with dg.DagsterInstance.ephemeral() as instance:
        bring_in(lifecycle, source, home, instance, max(as_of))
        return prove(lifecycle, home, instance, as_of)


def with_model(lifecycle: LifecycleDeclaration, **update: object) -> LifecycleDeclaration:
    """The declaration with some fields of its model exchanged."""
    return lifecycle.model_copy(update={"model": lifecycle.model.model_copy(update=update)})


def ablations(lifecycle: LifecycleDeclaration) -> dict[str, LifecycleDeclaration]:
    """The declaration, and what it is without each of the things that make it up, by what is said of it."""
    declared = lifecycle.model
    fixed = {"n_estimators": 150, "learning_rate": 0.05, "max_depth": 3, "min_child_weight": 5}
    fixed |= {"subsample": 0.8, "colsample_bytree": 0.5}
    plain = with_model(lifecycle, search=None, hyperparameters={**declared.hyperparameters, **fixed})

    def without(*names: str) -> LifecycleDeclaration:
        kept = [name for name in declared.features if name not in names]
        directions = {name: direction for name, direction in declared.monotone.items() if name in kept}
        return with_model(plain, features=kept, monotone=directions)

    return {
        "as declared, searched each time": lifecycle,
        "fixed hyperparameters instead of a search; so all below": plain,
        "no directions": with_model(plain, monotone={}),
        "no amounts against the customer's usual": without(*_AMOUNTS),
        "no times of the terminal's labels": without(*_TIMES),
        "neither": without(*_AMOUNTS, *_TIMES),
        "four weeks of training": with_model(plain, windows=Windows(train_days=28, gap_days=7, test_days=7)),
        **{f"without {name}": without(name) for name in declared.features},
    }


def judge_variant(lifecycle: LifecycleDeclaration, lake: Lake, as_of: date) -> dict[str, float | None]:
    """The metrics of a variant as of a day, from features and labels that lie in the lake."""
    plan = protocol(lifecycle, as_of)
    features, labels = (lake.table(lifecycle.name, table).read(plan.whole.days()) for table in ("features", "labels"))
    rows = training_rows(lifecycle, features, labels, plan, end_of(as_of))
    return measure_variant(lifecycle, rows, rows, as_of)


def measure_variant(
    lifecycle: LifecycleDeclaration, learns: pl.DataFrame, judges: pl.DataFrame, as_of: date
) -> dict[str, float | None]:
    """The metrics of a model that learns from some training set's training days, on the test days of another."""
    plan = protocol(lifecycle, as_of)
    test = usable_test_rows(lifecycle, judges, plan)
    return measure(_scored(lifecycle, test, fit_candidate(lifecycle, learns, plan).judged))


def capacity_interval(found: Scored, capacity: int = 100, resamples: int = 200, seed: int = 0) -> tuple[float, float]:
    """A 95 % bootstrap interval of card precision. Entities are drawn with replacement; one drawn twice is two."""
    rng = np.random.default_rng(seed)
    order = np.argsort(found.entity, kind="stable")
    entities, starts = np.unique(found.entity[order], return_index=True)
    ends = [*starts[1:], len(order)]
    rows_of = [order[start:end] for start, end in zip(starts, ends, strict=True)]
    values = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(entities), len(entities))
        rows = np.concatenate([rows_of[i] for i in drawn])
        number = np.repeat(np.arange(len(drawn)), [len(rows_of[i]) for i in drawn])
        values.append(card_precision(Scored(found.score[rows], found.label[rows], number, found.day[rows]), capacity))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _proof(lifecycle: LifecycleDeclaration, lake: Lake, registry: Registry, day: date) -> Proof:
    document = lake.documents(lifecycle.name, "evaluation").read_document(day)
    version = registry.version(lifecycle.name, document["version"])
    model = load_model(registry.files(version, "judged"))
    rows: pl.DataFrame = lake.table(lifecycle.name, "training_set").read_day(day)
    test = usable_test_rows(lifecycle, rows, protocol(lifecycle, day))
    result = _scored(lifecycle, test, model)
    found = {name: interval(result, name) or capacity_interval(result) for name in METRICS}
    return Proof(document, found, version.digest)


def _scored(lifecycle: LifecycleDeclaration, test: pl.DataFrame, model: FittedModel) -> Scored:
    columns = {"label": lifecycle.labels.column, "entity": lifecycle.model.entity, "time": lifecycle.dataset.time}
    return scored(test, model.score(test), **columns)
