"""Finds hyperparameters on the training days alone: Optuna's sampler proposes, the last training days judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Model
from mdlc_assets.declaration.ranges import Range
from mdlc_assets.training.algorithms import FittedModel, TrainingDataError, fit
from mdlc_assets.training.metrics import measure, scored

if TYPE_CHECKING:
    import optuna

Judge = Callable[[Model], float]
Fitter = Callable[[Model, pl.DataFrame], FittedModel]


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters and how it did."""

    number: int
    hyperparameters: dict[str, Any]
    value: float


@dataclass(frozen=True)
class Found:
    """A finished search. `learnt` and `judged` are the days, in words."""

    metric: str
    learnt: str
    judged: str
    trials: list[Trial]

    @property
    def best(self) -> Trial:
        """The trial that did best; of equal ones the first."""
        return max(self.trials, key=lambda trial: (trial.value, -trial.number))

    def document(self) -> bytes:
        """The whole study as JSON, for the registry."""
        trials = [
            {"number": t.number, "value": t.value, "hyperparameters": t.hyperparameters, "best": t is self.best}
            for t in self.trials
        ]
        about = {"metric": self.metric, "learnt": self.learnt, "judged": self.judged, "trials": trials}
        return json.dumps(about, indent=1).encode()

    def table(self) -> str:
        """The trials as Markdown, the best first."""
        names = list(self.best.hyperparameters)
        ranked = sorted(self.trials, key=lambda trial: (-trial.value, trial.number))
        lines = [
            f"Learnt from {self.learnt}, judged on {self.judged}; the test days played no part.\n",
            f"| trial | {self.metric} | {' | '.join(names)} |",
            "|---" * (len(names) + 2) + "|",
        ]
        for trial in ranked:
            shown = (_shown(trial.hyperparameters[name]) for name in names)
            lines.append(f"| {trial.number} | {trial.value:.4f} | {' | '.join(shown)} |")
        return "\n".join(lines)


def search(
    lifecycle: LifecycleDeclaration, train: pl.DataFrame, features: list[str], fit_one: Fitter | None = None
) -> Found | None:
    """Search as declared, on rows of the training days alone; None where no search is declared.

    `fit_one` fits each trial somewhere else than in this process.
    The same rows, seed and declaration give the same trials. Raises `TrainingDataError` when the days that learn or
    the days that judge have one class only.
    """
    model, label = lifecycle.model, lifecycle.labels.column
    if model.search is None:
        return None
    day = pl.col(lifecycle.dataset.time).dt.date()
    last = train.select(day.max()).item()
    begin = last - timedelta(days=model.search.judge_days - 1)
    learns, judges = train.filter(day < begin), train.filter(day >= begin)
    for rows, said in ((learns, f"before {begin}"), (judges, f"from {begin} to {last}")):
        if rows[label].n_unique() < 2:
            raise TrainingDataError(
                f"the training days {said} have {rows.height} rows of one class, so that a search cannot "
                "judge. Mend: train on more days, or change search.judge_days."
            )
    columns: dict[str, Any] = {"label": label, "entity": model.entity, "time": lifecycle.dataset.time}
    columns["baseline"] = model.evaluation.baseline
    metric = model.search.maximise

    def judge(tried: Model) -> float:
        fitted = fit_one(tried, learns) if fit_one else fit(tried, learns, features, label)
        return float(measure(scored(judges, fitted.score(judges), **columns), [metric])[metric] or 0.0)

    first = train.select(day.min()).item()
    learnt = f"{first} to {begin - timedelta(days=1)}"
    return Found(metric, learnt, f"{begin} to {last}", _tried(model, judge))


def with_hyperparameters(model: Model, trial: Trial) -> Model:
    """The model as declared, with what was found in place of the search."""
    return model.model_copy(
        update={"hyperparameters": {**model.hyperparameters, **trial.hyperparameters}, "search": None}
    )


def _tried(model: Model, judge: Judge) -> list[Trial]:
    # Optuna takes most of a second to import, and few declarations search.
    import optuna

    assert model.search is not None
    space = model.search.space
    found: list[Trial] = []

    def objective(proposed: optuna.Trial) -> float:
        chosen = {name: _suggest(proposed, name, allowed) for name, allowed in space.items()}
        value = judge(with_hyperparameters(model, Trial(proposed.number, chosen, 0.0)))
        found.append(Trial(proposed.number, chosen, value))
        return value

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # One after the other: side by side, which trial ends first would decide what is proposed next.
        sampler = optuna.samplers.TPESampler(seed=model.seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(objective, n_trials=model.search.trials, n_jobs=1)
    finally:
        optuna.logging.set_verbosity(before)
    return found


def _suggest(proposed: optuna.Trial, name: str, allowed: Range) -> Any:
    if allowed.choice is not None:
        # Optuna takes plain values only; a list such as [0, 1] may stand in a declaration too.
        return allowed.choice[proposed.suggest_categorical(name, list(range(len(allowed.choice))))]
    if allowed.integer is not None:
        return proposed.suggest_int(name, *allowed.integer, log=allowed.log)
    assert allowed.number is not None
    return proposed.suggest_float(name, *allowed.number, log=allowed.log)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
