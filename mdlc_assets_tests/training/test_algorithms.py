"""Each algorithm: the same data give the same model, files are read back, wrong data are refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Model
from mdlc_assets.training.algorithms import (
    FeatureError,
    ModelFileError,
    TrainingDataError,
    fit,
    load_model,
)
from mdlc_assets.training.declared import training_problems

_FEATURES = ["a", "b"]
_ALGORITHMS = ("logistic_regression", "decision_tree", "random_forest", "gradient_boosting", "xgboost")


def _rows(size: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, size))
    return pl.DataFrame({"a": a, "b": b, "y": (a + b + rng.normal(size=size) > 0).astype(np.int8)})


def _model(payments_fraud: LifecycleDeclaration, algorithm: str) -> Model:
    small = {"n_estimators": 5} if algorithm in {"xgboost", "random_forest"} else {}
    update = {"algorithm": algorithm, "hyperparameters": small, "standardise": algorithm == "logistic_regression"}
    return payments_fraud.model.model_copy(update=update)


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_the_same_data_give_the_same_model(payments_fraud: LifecycleDeclaration, algorithm: str) -> None:
    model, rows = _model(payments_fraud, algorithm), _rows()
    first, second = (fit(model, rows, _FEATURES, "y") for _ in range(2))
    assert first.digest() == second.digest()
    other = fit(model, rows.head(300), _FEATURES, "y")
    assert other.digest() != first.digest()


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_what_is_read_back_scores_the_same(payments_fraud: LifecycleDeclaration, algorithm: str) -> None:
    rows = _rows()
    fitted = fit(_model(payments_fraud, algorithm), rows, _FEATURES, "y")
    files = fitted.files()
    assert not any(name.endswith((".pkl", ".pickle", ".joblib")) for name in files)
    again = load_model(files)
    scores = again.score(rows.select("y", "b", "a"))
    assert (scores == fitted.score(rows)).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_data_that_teach_nothing_are_refused(payments_fraud: LifecycleDeclaration) -> None:
    model = _model(payments_fraud, "xgboost")
    with pytest.raises(TrainingDataError, match=r"same label\. Mend: train on more days"):
        fit(model, _rows().with_columns(y=pl.lit(0)), _FEATURES, "y")
    with pytest.raises(TrainingDataError, match="feature b is missing or infinite"):
        fit(model, _rows().with_columns(b=pl.lit(float("inf"))), _FEATURES, "y")


def test_rows_without_the_features_are_refused(payments_fraud: LifecycleDeclaration) -> None:
    fitted = fit(_model(payments_fraud, "xgboost"), _rows(), _FEATURES, "y")
    with pytest.raises(FeatureError, match="lack b"):
        fitted.score(_rows().drop("b"))
    with pytest.raises(FeatureError, match="a is missing or infinite"):
        fitted.score(_rows().with_columns(a=pl.lit(None, pl.Float64)))


@pytest.mark.parametrize("algorithm", ["xgboost", "random_forest"])
def test_a_corrupt_file_is_named_and_runs_nothing(payments_fraud: LifecycleDeclaration, algorithm: str) -> None:
    files = fit(_model(payments_fraud, algorithm), _rows(), _FEATURES, "y").files()
    for name in files.keys() - {"model.sha256"}:
        with pytest.raises(ModelFileError, match="Mend"):
            load_model({**files, name: files[name][: len(files[name]) // 2]})
        with pytest.raises(ModelFileError, match="Mend"):
            load_model({key: content for key, content in files.items() if key != name})


def test_a_file_cut_off_anywhere_is_refused_before_xgboost_reads_it(payments_fraud: LifecycleDeclaration) -> None:
    files = fit(_model(payments_fraud, "xgboost"), _rows(), _FEATURES, "y").files()
    for end in range(0, len(files["model.ubj"]), 97):
        with pytest.raises(ModelFileError, match=r"model\.ubj is not what was written"):
            load_model({**files, "model.ubj": files["model.ubj"][:end]})
    written_before = {key: content for key, content in files.items() if key != "model.sha256"}
    assert load_model(written_before).digest() == load_model(files).digest()


def test_hyperparameters_nobody_takes_are_named(payments_fraud: LifecycleDeclaration) -> None:
    model = payments_fraud.model.model_copy(update={"hyperparameters": {"max_dept": 3}})
    (problem,) = training_problems(payments_fraud.model_copy(update={"model": model}))
    assert problem.field == "model.hyperparameters.max_dept"
    assert problem.mend == "write 'max_depth'"
