"""Makes and judges a candidate: from a training set to what is registered, and to the evaluation document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import yaml

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.evaluation import Evaluation, Gate
from mdlc_assets.declaration.model import Model
from mdlc_assets.training.algorithms import FittedModel, TrainingDataError, fit
from mdlc_assets.training.calibration import fit_calibration
from mdlc_assets.training.gate import judge
from mdlc_assets.training.metrics import METRICS, Scored, interval, intervals, measure, scored
from mdlc_assets.training.number_metrics import METRICS as NUMBER_METRICS
from mdlc_assets.training.number_metrics import by_tenths
from mdlc_assets.training.provenance import code_tags, environment_digest, environment_lock
from mdlc_assets.training.reliability import reliability
from mdlc_assets.training.search import Found, search, with_hyperparameters
from mdlc_assets.training.sets import refuse_untrainable, usable_test_rows
from mdlc_assets.training.thresholds import by_capacity, by_cost, row_costs
from mdlc_assets.training.windows import Protocol, Span
from mdlc_assets.training.without_labels import unlabelled_document


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
    """Fit on the training days; with `refit`, once more on the newest labelled days. Raises `TrainingDataError`.

    A declared search chooses among the training days, once; the refit takes what it chose.
    """
    learnt = rows.filter(pl.col("part") == "train")
    refuse_untrainable(lifecycle, learnt, plan.train)
    day = pl.col(lifecycle.dataset.time).dt.date()
    newest = rows.filter(day.is_between(plan.refit.first, plan.refit.last))
    # Before the first fit: what cannot be served is not worth being judged.
    refuse_untrainable(lifecycle, newest, plan.refit)
    found = search(lifecycle, learnt, model_features(lifecycle))
    model = with_hyperparameters(lifecycle.model, found.best) if found else lifecycle.model
    judged = _fit(lifecycle, model, learnt, plan.train)
    served = judged if plan.refit == plan.train else _fit(lifecycle, model, newest, plan.refit)
    return Fitted(judged, served, found)


def _fit(lifecycle: LifecycleDeclaration, model: Model, rows: pl.DataFrame, span: Span) -> FittedModel:
    """Fit on a span; with `calibrate`, on all but its last days, which then say what the scores mean."""
    features, label = model_features(lifecycle), lifecycle.labels.column
    learnt, held = without_held_out(lifecycle, rows, span)
    return calibrated(lifecycle, fit(model, learnt, features, label), held)


def without_held_out(
    lifecycle: LifecycleDeclaration, rows: pl.DataFrame, span: Span
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to learn from, and those of the last days that calibrate; none of these where nothing does.

    Raises `TrainingDataError` for what neither can be done with.
    """
    declared = lifecycle.model.calibrate
    if declared is None:
        return rows, rows.clear()
    cut = span.last - timedelta(days=declared.days)
    held_out = pl.col(lifecycle.dataset.time).dt.date() > cut
    learnt, held = rows.filter(~held_out), rows.filter(held_out)
    refuse_untrainable(lifecycle, learnt, Span(span.first, cut))
    refuse_untrainable(lifecycle, held, Span(cut + timedelta(days=1), span.last))
    return learnt, held


def calibrated(lifecycle: LifecycleDeclaration, fitted: FittedModel, held: pl.DataFrame) -> FittedModel:
    """The model whose scores mean what the days that were held out say; itself where none were."""
    declared = lifecycle.model.calibrate
    if declared is None:
        return fitted
    label = held[lifecycle.labels.column].to_numpy()
    return replace(fitted, calibration=fit_calibration(declared.method, fitted.score(held), label))


def model_features(lifecycle: LifecycleDeclaration) -> list[str]:
    """The features that the model learns from, in order: those it names, or all."""
    return lifecycle.model.features or lifecycle.features.names()


def candidate_tags(lifecycle: LifecycleDeclaration, plan: Protocol, digests: Mapping[str, str]) -> dict[str, str]:
    """What the registry says of a candidate: data ranges and digests, declaration, code, environment."""
    return {
        "mdlc.train": str(plan.train),
        "mdlc.test": str(plan.test),
        "mdlc.refit": str(plan.refit),
        "mdlc.declaration": lifecycle.fingerprint(),
        **({"mdlc.uses": lifecycle.uses} if lifecycle.uses else {}),
        "mdlc.algorithm": lifecycle.model.algorithm,
        **code_tags(),
        "mdlc.environment": environment_digest(),
        **{f"mdlc.digest_{table}": digest for table, digest in digests.items()},
    }


def candidate_papers(lifecycle: LifecycleDeclaration) -> dict[str, bytes]:
    """What is kept beside the model so that it can be made again: the declaration and the environment."""
    declaration = yaml.safe_dump(lifecycle.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    return {"declaration/defs.yaml": declaration.encode(), "environment/requirements.txt": environment_lock().encode()}


def candidate_params(lifecycle: LifecycleDeclaration, found: Found | None = None) -> dict[str, str]:
    """Hyperparameters, declared or found, and the protocol, for the run."""
    model = with_hyperparameters(lifecycle.model, found.best) if found else lifecycle.model
    given: dict[str, Any] = {"algorithm": model.algorithm, "seed": model.seed, "standardise": model.standardise}
    if model.monotone:
        given["monotone"] = model.monotone
    if found:
        given["search"] = {"trials": len(found.trials), "maximise": found.metric, "judged": found.judged}
    named = {**given, **model.windows.model_dump(), **model.hyperparameters}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in named.items()}


@dataclass(frozen=True)
class Rival:
    """The champion beside which a candidate is judged; without a model the reason why it is not compared."""

    version: int
    model: FittedModel | None
    not_compared: str = ""


def fair_folder(champion_tags: Mapping[str, str], plan: Protocol) -> str | None:
    """Which of a champion's models has not learnt from the test days: `model` (it serves), `judged`, or None."""
    for folder, tag in (("model", "mdlc.refit"), ("judged", "mdlc.train")):
        learnt = champion_tags.get(tag)
        if learnt is None or date.fromisoformat(learnt.split(" to ")[1]) < plan.test.first:
            return folder
    return None


@dataclass(frozen=True)
class Judgement:
    """The evaluation document, and the scored test days for plots; `rival` are the champion's scores of them.

    `learnt` are the scores of the days learnt from, where there are no labels to show instead.
    """

    document: dict[str, Any]
    test: Scored
    rival: np.ndarray | None
    learnt: np.ndarray | None = None


def judge_candidate(
    lifecycle: LifecycleDeclaration,
    rows: pl.DataFrame,
    plan: Protocol,
    version: int,
    judged: FittedModel,
    champion: Rival | None,
) -> Judgement:
    """Judge on the test days, beside the champion on the very same events. Raises `TrainingDataError`."""
    test = usable_test_rows(lifecycle, rows, plan)
    if test.is_empty():
        raise TrainingDataError(
            f"there are no rows to judge by in {plan.test}. Mend: materialise `labels` of those days, then "
            "`training_set`."
        )
    if lifecycle.labels.kind == "none":
        return _judge_without_labels(lifecycle, rows, test, plan, version, judged, champion)
    declared, gate = lifecycle.model.evaluation, lifecycle.model.gate
    number = lifecycle.labels.kind == "number"
    mine = scored(test, judged.score(test), **scored_columns(lifecycle))
    theirs = champion.model.score(test) if champion and champion.model else None
    metrics = metrics_of(lifecycle)
    document: dict[str, Any] = {
        **_about(lifecycle, rows, test, plan, version),
        "positives": None if number else int(mine.label.sum()),
        "metrics": measure(mine, metrics),
        "intervals": intervals(mine, metrics, declared=declared.intervals),
        "intervals_by": declared.intervals.model_dump(mode="json"),
        "calibration": by_tenths(mine, declared.bins) if number else reliability(mine, declared.bins),
        "thresholds": _thresholds(declared, test, mine),
        "slices": {
            name: _slice(lifecycle, mine, theirs, champion, _inside(test, holds))
            for name, holds in declared.slices.items()
        },
        "champion": None if champion is None else _beside(lifecycle, mine, theirs, champion),
    }
    return Judgement(_with_verdict(gate, document), mine, theirs)


def _about(
    lifecycle: LifecycleDeclaration, rows: pl.DataFrame, test: pl.DataFrame, plan: Protocol, version: int
) -> dict[str, Any]:
    return {
        "version": version,
        "train": str(plan.train),
        "test": str(plan.test),
        "train_rows": rows.filter(pl.col("part") == "train").height,
        "test_rows": test.height,
        "kind": lifecycle.labels.kind,
    }


def _with_verdict(gate: Gate, document: dict[str, Any]) -> dict[str, Any]:
    verdict = judge(gate, document)
    return {**document, "passed": verdict.passed, "reasons": verdict.reasons}


def _judge_without_labels(
    lifecycle: LifecycleDeclaration,
    rows: pl.DataFrame,
    test: pl.DataFrame,
    plan: Protocol,
    version: int,
    judged: FittedModel,
    champion: Rival | None,
) -> Judgement:
    """As `judge_candidate`, by what needs no labels."""
    train = rows.filter(pl.col("part") == "train")
    rival = champion.model if champion else None
    found = unlabelled_document(lifecycle, train, test, judged, rival)
    beside: dict[str, Any] | None = None
    if champion is not None:
        beside = {"version": champion.version, "metrics": {}, "not_compared": champion.not_compared}
        if found["beside"]:
            beside = {"version": champion.version, "difference_interval": None, **found["beside"]}
    document = {
        **_about(lifecycle, rows, test, plan, version),
        "positives": None,
        "metrics": found["metrics"],
        "intervals": found["intervals"],
        "intervals_by": {**lifecycle.model.evaluation.intervals.model_dump(mode="json"), "by": "day"},
        "calibration": None,
        "thresholds": {},
        "slices": {},
        "champion": beside,
    }
    nothing = np.zeros(test.height, dtype=np.int64)
    return Judgement(
        _with_verdict(lifecycle.model.gate, document),
        Scored(found["mine"], nothing, nothing, nothing),
        found["theirs"],
        found["learnt"],
    )


def metrics_of(lifecycle: LifecycleDeclaration) -> list[str]:
    """What is measured: the usual metrics, those that the gate looks at, and the declared capacity's."""
    if lifecycle.labels.kind == "number":
        gained = ["gain_over_baseline"] if lifecycle.model.evaluation.baseline else []
        return list(dict.fromkeys([*NUMBER_METRICS, *gained, *lifecycle.model.gate.metrics()]))
    capacity = lifecycle.model.evaluation.capacity
    named = [*METRICS, *lifecycle.model.gate.metrics(), *([f"card_precision_{capacity}"] if capacity else [])]
    return list(dict.fromkeys(named))


def scored_columns(lifecycle: LifecycleDeclaration) -> dict[str, Any]:
    """Where `scored` finds what it needs in the rows of a training set."""
    return {
        "label": lifecycle.labels.column,
        "entity": lifecycle.model.entity,
        "time": lifecycle.dataset.time,
        "baseline": lifecycle.model.evaluation.baseline,
    }


def _thresholds(declared: Evaluation, test: pl.DataFrame, mine: Scored) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if declared.costs:
        found["cost"] = by_cost(mine, *row_costs(test, declared.costs))
    if declared.capacity:
        found["capacity"] = by_capacity(mine, declared.capacity)
    return found


def _inside(rows: pl.DataFrame, holds: str) -> np.ndarray:
    return rows.select(pl.sql_expr(holds).fill_null(False).alias("inside"))["inside"].to_numpy().astype(bool)


def _beside(
    lifecycle: LifecycleDeclaration, mine: Scored, theirs: np.ndarray | None, champion: Rival
) -> dict[str, Any]:
    if theirs is None:
        return {"version": champion.version, "metrics": {}, "not_compared": champion.not_compared}
    compare_by = lifecycle.model.gate.compare_by
    declared = lifecycle.model.evaluation.intervals
    return {
        "version": champion.version,
        "metrics": measure(mine.said_by(theirs), metrics_of(lifecycle)),
        "difference_interval": interval(mine, compare_by, against=theirs, declared=declared),
    }


def _slice(
    lifecycle: LifecycleDeclaration, mine: Scored, theirs: np.ndarray | None, champion: Rival | None, kept: np.ndarray
) -> dict[str, Any]:
    part = mine.only(kept)
    named = [name for name in metrics_of(lifecycle) if name != "expected_calibration_error"]
    said = float(part.score.sum())
    return {
        "rows": int(kept.sum()),
        "positives": None if lifecycle.labels.kind == "number" else int(part.label.sum()),
        "metrics": measure(part, named),
        "intervals": intervals(part, named, declared=lifecycle.model.evaluation.intervals),
        "observed_to_expected": float(part.label.sum()) / said if said else None,
        "champion": None if theirs is None or champion is None else _beside(lifecycle, part, theirs[kept], champion),
    }
