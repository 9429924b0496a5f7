"""What fits which labels: whether something happens is judged otherwise than how much of it there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdlc_assets.declaration.algorithms import IN_PROCESS, REGRESSIONS
from mdlc_assets.declaration.base import refuse
from mdlc_assets.declaration.dataset import Labels
from mdlc_assets.declaration.evaluation import is_of_numbers
from mdlc_assets.declaration.model import Model
from mdlc_assets.declaration.monitoring import Monitoring


def fit_to_numbers(model: Model, monitoring: Monitoring) -> tuple[Model, Monitoring]:
    """Both with the defaults of a foretold number wherever nothing was declared."""
    evaluation, gate, search = model.evaluation, model.gate, model.search
    if "capacity" not in evaluation.model_fields_set:
        evaluation = evaluation.model_copy(update={"capacity": None})
    if "compare_by" not in gate.model_fields_set:
        gate = gate.model_copy(update={"compare_by": "r2"})
    if search and "maximise" not in search.model_fields_set:
        search = search.model_copy(update={"maximise": "r2"})
    closed, retrain = monitoring.closed_loop, monitoring.retrain
    if "metric" not in retrain.model_fields_set:
        retrain = retrain.model_copy(update={"metric": "r2"})
    if "metrics" not in closed.model_fields_set:
        closed = closed.model_copy(update={"metrics": list(dict.fromkeys([retrain.metric, "mae", "wape"]))})
    return (
        model.model_copy(update={"evaluation": evaluation, "gate": gate, "search": search}),
        monitoring.model_copy(update={"closed_loop": closed, "retrain": retrain}),
    )


def refuse_misfits(labels: Labels, model: Model, monitoring: Monitoring, features: Sequence[str]) -> None:
    """Raises for metrics, algorithms and settings that judge or learn something else than the labels hold."""
    number = labels.kind == "number"
    for field, metric in _metrics(model, monitoring):
        if is_of_numbers(metric) is not number:
            raise refuse(
                f"{metric} does not fit labels of kind {labels.kind!r}",
                "use r2, gain_over_baseline; mae, rmse or wape as a ceiling"
                if number
                else "use auc_roc or average_precision, or write `kind: number` under labels",
                field=field,
                value=metric,
            )
        if metric == "gain_over_baseline" and not model.evaluation.baseline:
            raise refuse(
                "there is no baseline to gain over",
                "name a feature as model.evaluation.baseline",
                field=field,
                value=metric,
            )
    _refuse_baseline(number, model, features)
    known = model.algorithm in IN_PROCESS
    learns_numbers = model.algorithm in REGRESSIONS
    if known and learns_numbers is not number:
        raise refuse(
            f"{model.algorithm} does not learn labels of kind {labels.kind!r}",
            f"use one of {', '.join(REGRESSIONS)}" if number else "use xgboost, or write `kind: number` under labels",
            field="model.algorithm",
            value=model.algorithm,
        )
    if number:
        _refuse_what_needs_events(labels, model)


def _metrics(model: Model, monitoring: Monitoring) -> Iterator[tuple[str, str]]:
    gate, evaluation = model.gate, model.evaluation
    yield from (("model.gate", name) for name in gate.metrics())
    if evaluation.capacity and "capacity" in evaluation.model_fields_set:
        yield "model.evaluation.capacity", f"card_precision_{evaluation.capacity}"
    if model.search:
        yield "model.search.maximise", model.search.maximise
    yield from (("monitoring.closed_loop.metrics", name) for name in monitoring.closed_loop.metrics)
    yield "monitoring.retrain.metric", monitoring.retrain.metric


def _refuse_baseline(number: bool, model: Model, features: Sequence[str]) -> None:
    baseline = model.evaluation.baseline
    if baseline is None:
        return
    field = "model.evaluation.baseline"
    if not number:
        raise refuse("only numbers have a baseline", "leave it out", field=field, value=baseline)
    if baseline not in features:
        raise refuse("no feature is called so", f"use one of {', '.join(features)}", field=field, value=baseline)


def _refuse_what_needs_events(labels: Labels, model: Model) -> None:
    for field, value, there in (
        ("labels.positive_values", labels.positive_values, bool(labels.positive_values)),
        ("model.calibrate", "calibrate", model.calibrate is not None),
        ("model.evaluation.costs", "costs", model.evaluation.costs is not None),
        ("model.leave_out_known", True, model.leave_out_known),
        ("model.train_on", "sagemaker", model.train_on == "sagemaker"),
    ):
        if there:
            raise refuse("this is not there for labels of kind 'number'", "leave it out", field=field, value=value)
