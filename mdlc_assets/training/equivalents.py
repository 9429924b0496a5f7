"""What stands in for a built-in algorithm of SageMaker where there is no SageMaker.

The algorithm is of the same kind, not the same code: what it finds is close to, not equal to, what AWS's finds.
Hyperparameters that mean nothing here (batch sizes, learning-rate schedules) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mdlc_assets.training.built_in import BUILT_IN
from mdlc_assets.training.estimators import Recipe, RecipeError, directions


@dataclass(frozen=True)
class Equivalent:
    """A recipe in this process."""

    algorithm: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    standardise: bool = False
    seed: int = 0
    monotone: Mapping[str, str] = field(default_factory=dict)


def _linear_learner(given: Mapping[str, Any]) -> Equivalent:
    if given.get("predictor_type", "binary_classifier") != "binary_classifier":
        raise RecipeError(
            f"hyperparameters.predictor_type: {given['predictor_type']!r} has no equivalent here. "
            "Mend: use binary_classifier, or train on AWS."
        )
    weight = given.get("positive_example_weight_mult", 1.0)
    settings: dict[str, Any] = {"max_iter": max(200, int(given.get("epochs", 15)) * 20)}
    if weight == "balanced":
        settings["class_weight"] = "balanced"
    elif isinstance(weight, int | float) and weight != 1:
        settings["class_weight"] = {0: 1.0, 1: float(weight)}
    decay = given.get("wd", "auto")
    if isinstance(decay, int | float) and decay > 0:
        settings["C"] = 1 / float(decay)
    return Equivalent("logistic_regression", settings, standardise=given.get("normalize_data", "true") != "false")


_XGBOOST = {
    "num_round": "n_estimators",
    "eta": "learning_rate",
    "alpha": "reg_alpha",
    "lambda": "reg_lambda",
    "nthread": "n_jobs",
}
_SAME_IN_XGBOOST = (
    *("base_score", "booster", "colsample_bylevel", "colsample_bynode", "colsample_bytree", "eval_metric", "gamma"),
    *("grow_policy", "max_bin", "max_delta_step", "max_depth", "max_leaves", "min_child_weight", "num_parallel_tree"),
    *("monotone_constraints", "objective", "scale_pos_weight", "subsample", "tree_method"),
)


def _xgboost(given: Mapping[str, Any]) -> Equivalent:
    objective = given.get("objective", "binary:logistic")
    if objective not in ("binary:logistic", "reg:logistic"):
        raise RecipeError(
            f"hyperparameters.objective: {objective!r} gives no score from 0 to 1. Mend: use binary:logistic."
        )
    settings = {_XGBOOST[name]: value for name, value in given.items() if name in _XGBOOST}
    settings |= {name: value for name, value in given.items() if name in _SAME_IN_XGBOOST}
    return Equivalent("xgboost", settings)


def _kmeans(given: Mapping[str, Any]) -> Equivalent:
    settings: dict[str, Any] = {"n_clusters": given.get("k", 8), "init": "k-means++"}
    if "local_lloyd_max_iter" in given:
        settings["max_iter"] = given["local_lloyd_max_iter"]
    trials = given.get("local_lloyd_num_trials", "auto")
    settings["n_init"] = trials if isinstance(trials, int) else "auto"
    return Equivalent("k_means", settings, standardise=True)


def _knn(given: Mapping[str, Any]) -> Equivalent:
    if given.get("predictor_type", "classifier") != "classifier":
        raise RecipeError("hyperparameters.predictor_type: only 'classifier' has an equivalent here. Mend: write it.")
    metric = {"L2": "euclidean", "COSINE": "cosine"}.get(given.get("index_metric", "L2"))
    if metric is None:
        raise RecipeError("hyperparameters.index_metric: 'INNER_PRODUCT' has no equivalent here. Mend: use L2.")
    return Equivalent("nearest_neighbours", {"n_neighbors": given.get("k", 5), "metric": metric}, standardise=True)


def _pca(given: Mapping[str, Any]) -> Equivalent:
    solver = "randomized" if given.get("algorithm_mode") == "randomized" else "auto"
    return Equivalent(
        "principal_components", {"n_components": given.get("num_components"), "svd_solver": solver}, standardise=True
    )


def _random_cut_forest(given: Mapping[str, Any]) -> Equivalent:
    settings = {"n_estimators": given.get("num_trees", 100), "max_samples": given.get("num_samples_per_tree", 256)}
    return Equivalent("isolation_forest", settings)


_EQUIVALENTS: dict[str, Callable[[Mapping[str, Any]], Equivalent]] = {
    "linear-learner": _linear_learner,
    "sagemaker-xgboost": _xgboost,
    "kmeans": _kmeans,
    "knn": _knn,
    "pca": _pca,
    "randomcutforest": _random_cut_forest,
}
WITH_EQUIVALENT = frozenset(_EQUIVALENTS)
"""Built-in algorithms that the same declaration trains here."""


def equivalent(name: str, given: Mapping[str, Any]) -> Equivalent:
    """The recipe for a built-in algorithm with its own hyperparameters. Raises `RecipeError`."""
    if name not in _EQUIVALENTS:
        raise RecipeError(
            f"model.algorithm: {name} has no equivalent on this machine. "
            f"Mend: train on AWS, or use one of {', '.join(sorted(_EQUIVALENTS))}."
        )
    return _EQUIVALENTS[name](given)


def in_process(recipe: Recipe, features: Sequence[str]) -> Recipe:
    """The recipe itself, or what stands in for it where it names a built-in algorithm. Raises `RecipeError`.

    Directions become the hyperparameter that holds them, for features in this order.
    """
    held = directions(recipe, features)
    if recipe.algorithm in BUILT_IN:
        found = equivalent(recipe.algorithm, {**recipe.hyperparameters, **held})
        return replace(found, standardise=found.standardise or recipe.standardise, seed=recipe.seed)
    if not held:
        return recipe
    return Equivalent(recipe.algorithm, {**recipe.hyperparameters, **held}, recipe.standardise, recipe.seed)
