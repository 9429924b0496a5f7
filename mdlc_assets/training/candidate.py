"""Makes and judges a candidate: from a training set to what is registered, and to the evaluation document."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training.algorithms import FittedModel, fit
from mdlc_assets.training.gate import judge
from mdlc_assets.training.metrics import Scored, interval, measure, scored
from mdlc_assets.training.search import Found, search, with_hyperparameters
from mdlc_assets.training.sets import usable_test_rows
from mdlc_assets.training.windows import Protocol


@dataclass(frozen=True)
class Fitted:
    """`judged` learnt from the training days and is judged on the test days; `served` is registered.

    `search` is how their hyperparameters were found, where they were not declared.
    """

    judged: FittedModel
    served: FittedModel
    search: Found | None = None

    def digest(self) -> str:
        """SHA-256 over both, in hex."""
        return hashlib.sha256((self.judged.digest() + self.served.digest()).encode()).hexdigest()

    def files(self) -> dict[str, bytes]:
        """Files of both: folders `model` and `judged`; and the trials of a search."""
        found = {f"model/{name}": content for name, content in self.served.files().items()}
        found |= {f"judged/{name}": content for name, content in self.judged.files().items()}
        return found | ({"search/trials.json": self.search.document()} if self.search else {})


def fit_candidate(lifecycle: LifecycleDeclaration, rows: pl.DataFrame, plan: Protocol) -> Fitted:
    """Fit on the training days; with `refit`, once more on the newest labelled days.

    A declared search chooses among the training days, once; the refit takes what it chose.
    """
    features, label = model_features(lifecycle), lifecycle.labels.column
    train = rows.filter(pl.col("part") == "train")
    found = search(lifecycle, train, features)
    model = with_hyperparameters(lifecycle.model, found.best) if found else lifecycle.model
    judged = fit(model, train, features, label)
    if plan.refit == plan.train:
        return Fitted(judged, judged, found)
    day = pl.col(lifecycle.dataset.time).dt.date()
    newest = rows.filter(day.is_between(plan.refit.first, plan.refit.last))
    return Fitted(judged, fit(model, newest, features, label), found)


def model_features(lifecycle: LifecycleDeclaration) -> list[str]:
    """The features that the model learns from, in order: those it names, or all."""
    return lifecycle.model.features or lifecycle.features.names()


def candidate_tags(lifecycle: LifecycleDeclaration, plan: Protocol, digests: Mapping[str, str]) -> dict[str, str]:
    """What the registry says of a candidate: data ranges and digests, declaration, code."""
    return {
        "mdlc.train": str(plan.train),
        "mdlc.test": str(plan.test),
        "mdlc.refit": str(plan.refit),
        "mdlc.declaration": lifecycle.fingerprint(),
        "mdlc.code": importlib.metadata.version("mdlc-assets"),
        "mdlc.algorithm": lifecycle.model.algorithm,
        **{f"mdlc.digest_{table}": digest for table, digest in digests.items()},
    }


def candidate_params(lifecycle: LifecycleDeclaration, found: Found | None = None) -> dict[str, str]:
    """Hyperparameters, declared or found, and the protocol, for the run."""
    model = with_hyperparameters(lifecycle.model, found.best) if found else lifecycle.model
    given: dict[str, Any] = {"algorithm": model.algorithm, "seed": model.seed, "standardise": model.standardise}
    if model.monotone:
        given["monotone"] = model.monotone
    if found:
        given["search"] = {"trials": len(found.trials), "maximise": found.metric, "judged": found.judged}
    return {name: json.dumps(value) for name, value in {**given, **model.hyperparameters}.items()}


@dataclass(frozen=True)
class Judgement:
    """The evaluation document, and the scored test days for plots."""

    document: dict[str, Any]
    test: Scored


def judge_candidate(
    lifecycle: LifecycleDeclaration,
    rows: pl.DataFrame,
    plan: Protocol,
    version: int,
    judged: FittedModel,
    champion: tuple[int, FittedModel] | None,
) -> Judgement:
    """Judge on the test days, beside the champion on the very same events."""
    test = usable_test_rows(lifecycle, rows, plan)
    columns = {"label": lifecycle.labels.column, "entity": lifecycle.model.entity, "time": lifecycle.dataset.time}
    mine = scored(test, judged.score(test), **columns)
    metrics = measure(mine)
    gate = lifecycle.model.gate
    beside: dict[str, Any] | None = None
    if champion is not None:
        number, model = champion
        theirs: np.ndarray = model.score(test)
        beside = {
            "version": number,
            "metrics": measure(scored(test, theirs, **columns)),
            "difference_interval": interval(mine, gate.compare_by, against=theirs),
        }
    verdict = judge(gate, metrics, beside["metrics"] if beside else None, beside["version"] if beside else None)
    return Judgement(
        {
            "version": version,
            "train": str(plan.train),
            "test": str(plan.test),
            "train_rows": rows.filter(pl.col("part") == "train").height,
            "test_rows": test.height,
            "positives": int(mine.label.sum()),
            "metrics": metrics,
            "intervals": {name: interval(mine, name) for name in ("auc_roc", "average_precision")},
            "champion": beside,
            "passed": verdict.passed,
            "reasons": verdict.reasons,
        },
        mine,
    )
