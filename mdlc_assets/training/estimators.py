"""The estimators behind the algorithms' names: how each is made, whether it needs labels, what its score means.

A score is the probability of the positive class where the algorithm learns from labels, or the number that it
foretells. Where it learns from none, it says how unlike the usual an event is, squeezed into 0 to 1; only its
order means something.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mdlc_assets.declaration.algorithms import WITHOUT_LABELS
from mdlc_assets.training.built_in import BUILT_IN

_DIRECTIONS = {
    "xgboost": "monotone_constraints",
    "sagemaker-xgboost": "monotone_constraints",
    "gradient_boosting": "monotonic_cst",
    "random_forest": "monotonic_cst",
    "decision_tree": "monotonic_cst",
    "xgboost_regression": "monotone_constraints",
    "gradient_boosting_regression": "monotonic_cst",
    "random_forest_regression": "monotonic_cst",
}
_SIGNS = {"increasing": 1, "decreasing": -1}


class RecipeError(ValueError):
    """An algorithm or function that cannot be used as it is declared."""


class Recipe(Protocol):
    """What to fit. `hyperparameters` are those of the estimator (or the team's function).

    `monotone` says of features, by name, whether the score may only rise or only fall with them.
    """

    @property
    def algorithm(self) -> str: ...

    @property
    def hyperparameters(self) -> Mapping[str, Any]: ...

    @property
    def standardise(self) -> bool: ...

    @property
    def seed(self) -> int: ...

    @property
    def monotone(self) -> Mapping[str, str]: ...


def setting_text(value: Any) -> str:
    """A hyperparameter as SageMaker takes it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def is_function(algorithm: str) -> bool:
    """Whether the name is the import path of a team's own function, `package.module:function`."""
    return ":" in algorithm and not algorithm.startswith("arn:")


def needs_labels(algorithm: str) -> bool:
    """Whether the algorithm learns from labels; a team's own function or container is given them."""
    built_in = BUILT_IN.get(algorithm)
    return built_in.shape == "supervised" if built_in else algorithm not in WITHOUT_LABELS


def takes_directions(algorithm: str) -> bool:
    """Whether a score of the algorithm can be made to only rise, or only fall, with a feature."""
    return algorithm in _DIRECTIONS


def directions(recipe: Recipe, features: Sequence[str]) -> dict[str, Any]:
    """The hyperparameter that holds the score to the recipe's directions, for features in this order; none if free."""
    if not recipe.monotone:
        return {}
    signs = [_SIGNS.get(recipe.monotone.get(name, ""), 0) for name in features]
    # AWS's image reads the text of a tuple only.
    return {_DIRECTIONS[recipe.algorithm]: str(tuple(signs)) if recipe.algorithm in BUILT_IN else signs}


def fit_estimator(recipe: Recipe, values: np.ndarray, target: np.ndarray) -> Any:
    """A fitted estimator, or XGBoost's booster."""
    if is_function(recipe.algorithm):
        fitted = own_function(recipe.algorithm)(values, target, seed=recipe.seed, **recipe.hyperparameters)
    else:
        estimator = make_estimator(recipe)
        fitted = estimator.fit(values, target) if needs_labels(recipe.algorithm) else estimator.fit(values)
    return storable(fitted, recipe.algorithm)


def make_estimator(recipe: Recipe) -> Any:
    """The unfitted estimator with the declared hyperparameters and seed."""
    given = dict(recipe.hyperparameters)
    kind = class_of(recipe.algorithm)
    if isinstance(given.get("monotone_constraints"), list):
        # XGBoost wants a tuple; JSON has lists.
        given["monotone_constraints"] = tuple(given["monotone_constraints"])
    if recipe.algorithm.startswith("xgboost") or "random_state" in inspect.signature(kind.__init__).parameters:
        given["random_state"] = recipe.seed
    return kind(**given)


def known_hyperparameters(algorithm: str) -> list[str] | None:
    """What the algorithm's estimator or function takes; None for a function that takes anything."""
    if not is_function(algorithm):
        return sorted(class_of(algorithm)().get_params())
    taken = inspect.signature(own_function(algorithm)).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken):
        return None
    return sorted(one.name for one in taken if one.kind is inspect.Parameter.KEYWORD_ONLY and one.name != "seed")


def own_function(path: str) -> Callable[..., Any]:
    """A team's function `(values, target, *, seed, ...) -> estimator`. Raises `RecipeError`."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(
            f"model.algorithm: the function {path!r} cannot be imported ({error}). "
            "Mend: write package.module:function of an installed package."
        ) from None
    if not callable(found):
        raise RecipeError(f"model.algorithm: {path!r} is no function. Mend: name one that fits an estimator.")
    return found


def storable(fitted: Any, algorithm: str) -> Any:
    """What is kept of a fitted estimator. Raises `RecipeError` for what no safe format can hold."""
    if hasattr(fitted, "get_booster"):
        return fitted.get_booster()
    if is_booster(fitted):
        return fitted
    if type(fitted).__module__.startswith("sklearn.") and (hasattr(fitted, "predict_proba") or foretells(fitted)):
        return fitted
    if algorithm in WITHOUT_LABELS:
        return fitted
    raise RecipeError(
        f"model.algorithm: {algorithm} gave a {type(fitted).__module__}.{type(fitted).__qualname__}, which no format "
        "that runs no code can hold. Mend: return a classifier or regressor of scikit-learn or XGBoost."
    )


def foretells(estimator: Any) -> bool:
    """Whether it is one of scikit-learn's that foretell a number."""
    from sklearn.base import is_regressor

    return bool(is_regressor(estimator))


def is_booster(estimator: Any) -> bool:
    """Whether it is XGBoost's own booster."""
    return hasattr(estimator, "inplace_predict")


def scores_of(estimator: Any, values: np.ndarray) -> np.ndarray:
    """A score from 0 to 1 for each row, or the number foretold (float64)."""
    if is_booster(estimator):
        return estimator.inplace_predict(values).astype(np.float64)
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(values)[:, 1].astype(np.float64)
    if hasattr(estimator, "score_samples") and hasattr(estimator, "offset_"):
        return -estimator.score_samples(values).astype(np.float64)
    if foretells(estimator):
        return estimator.predict(values).astype(np.float64)
    distance = unlikeness(estimator, values)
    return distance / (1 + distance)


def unlikeness(estimator: Any, values: np.ndarray) -> np.ndarray:
    """How far each row is from what the estimator knows: the nearest centre, or its own reconstruction."""
    if hasattr(estimator, "cluster_centers_"):
        return estimator.transform(values).min(axis=1).astype(np.float64)
    rebuilt = estimator.inverse_transform(estimator.transform(values))
    return np.sqrt(np.square(values - rebuilt).sum(axis=1)).astype(np.float64)


@functools.cache
def class_of(algorithm: str) -> Any:
    """The estimator's class. Raises `RecipeError` for a name nobody knows."""
    if algorithm in ("xgboost", "xgboost_regression"):
        from xgboost import XGBClassifier, XGBRegressor

        return XGBClassifier if algorithm == "xgboost" else XGBRegressor
    from sklearn import cluster, decomposition, ensemble, linear_model, neighbors, tree

    known = {
        "logistic_regression": linear_model.LogisticRegression,
        "linear_classifier": linear_model.SGDClassifier,
        "decision_tree": tree.DecisionTreeClassifier,
        "random_forest": ensemble.RandomForestClassifier,
        "gradient_boosting": ensemble.HistGradientBoostingClassifier,
        "nearest_neighbours": neighbors.KNeighborsClassifier,
        "isolation_forest": ensemble.IsolationForest,
        "k_means": cluster.KMeans,
        "principal_components": decomposition.PCA,
        "gradient_boosting_regression": ensemble.HistGradientBoostingRegressor,
        "random_forest_regression": ensemble.RandomForestRegressor,
        "linear_regression": linear_model.Ridge,
        "poisson_regression": linear_model.PoissonRegressor,
    }
    if algorithm not in known:
        names = ", ".join(["xgboost", *known])
        raise RecipeError(f"model.algorithm: {algorithm!r} does not train in this process. Mend: use one of {names}.")
    return known[algorithm]
