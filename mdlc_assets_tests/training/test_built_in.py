"""SageMaker's built-in algorithms: names, images, hyperparameters and machines, checked in the declaration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdlc_assets.declaration import DeclarationError, LifecycleDeclaration, read_declaration
from mdlc_assets.declaration.algorithms import BUILT_IN as DECLARED
from mdlc_assets.declaration.algorithms import IN_PROCESS
from mdlc_assets.lifecycle import find_problems
from mdlc_assets.resources.sagemaker.built_in_images import NoImageError, repository_of
from mdlc_assets.training.built_in import BUILT_IN
from mdlc_assets.training.built_in_hyperparameters import hyperparameter_problems, settings_of
from mdlc_assets.training.estimators import class_of
from mdlc_assets_tests.conftest import SHIPPED
from mdlc_assets_tests.training.training_frames import declared

_TEXT = (SHIPPED / "payments_fraud" / "defs.yaml").read_text()


def test_each_name_is_in_every_table() -> None:
    assert set(DECLARED) == set(BUILT_IN)
    assert all(settings_of(name) for name in BUILT_IN)
    assert all(class_of(name) for name in IN_PROCESS)
    assert not set(IN_PROCESS) & set(BUILT_IN)


@pytest.mark.parametrize(
    ("name", "region", "image"),
    [
        ("linear-learner", "eu-central-1", "664544806723.dkr.ecr.eu-central-1.amazonaws.com/linear-learner:1"),
        ("sagemaker-xgboost", "us-east-1", "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"),
        ("kmeans", "cn-north-1", "390948362332.dkr.ecr.cn-north-1.amazonaws.com.cn/kmeans:1"),
        ("forecasting-deepar", "eu-west-1", "224300973850.dkr.ecr.eu-west-1.amazonaws.com/forecasting-deepar:1"),
        ("lda", "us-west-2", "266724342769.dkr.ecr.us-west-2.amazonaws.com/lda:1"),
        ("blazingtext", "us-east-2", "825641698319.dkr.ecr.us-east-2.amazonaws.com/blazingtext:1"),
    ],
)
def test_the_image_of_a_region(name: str, region: str, image: str) -> None:
    assert BUILT_IN[name].image(region) == image
    assert repository_of(image) == name


def test_a_region_without_the_image_names_those_that_have_it() -> None:
    with pytest.raises(
        NoImageError, match=r"lda has no image in region 'eu-north-1'\. Mend: use one of ap-northeast-1"
    ):
        BUILT_IN["lda"].image("eu-north-1")
    assert repository_of("123456789012.dkr.ecr.us-east-1.amazonaws.com/kmeans:1") is None


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("kmeans", {}, "hyperparameters.k: kmeans needs it (found nothing). Mend: write a whole number of at least 1."),
        ("kmeans", {"k": "0"}, "hyperparameters.k: kmeans does not take this value (found '0')"),
        (
            "kmeans",
            {"k": "4", "epoch": "3"},
            "hyperparameters.epoch: kmeans does not take it (found '3'). Mend: write 'epochs'",
        ),
        ("randomcutforest", {"num_trees": "20"}, "Mend: write a whole number of at least 50 and at most 1000."),
        (
            "linear-learner",
            {"predictor_type": "binary"},
            "write binary_classifier or multiclass_classifier or regressor",
        ),
        ("linear-learner", {"predictor_type": "regressor", "wd": "nan"}, "write auto or a number of at least 0"),
        ("sagemaker-xgboost", {"num_round": "10", "eta": "1.5"}, "write a number of at least 0 and at most 1"),
        (
            "object-detection",
            {"num_classes": "2", "num_training_samples": "9", "momentum": "0"},
            "a number above 0 and",
        ),
    ],
)
def test_hyperparameters_are_checked_before_anything_is_paid_for(name: str, given: dict[str, str], said: str) -> None:
    assert any(said in str(problem) for problem in hyperparameter_problems(name, given)), given


def test_what_is_right_passes() -> None:
    given = {"predictor_type": "binary_classifier", "wd": "auto", "epochs": "20", "normalize_data": "true"}
    assert hyperparameter_problems("linear-learner", given) == []
    assert hyperparameter_problems("sagemaker-xgboost", {"num_round": "100", "eta": "0.1", "max_depth": "5"}) == []


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "algorithm: object2vec\n    hyperparameters: {enc0_max_seq_len: 10, enc0_vocab_size: 10}",
            "trains only on SageM",
        ),
        (
            "algorithm: seq2seq\n    train_on: sagemaker",
            "seq2seq trains on GPU machines only (found 1 of ml.m5.xlarge). Mend: choose other machines.",
        ),
        (
            "algorithm: kmeans\n    hyperparameters: {k: 3}\n    train_on: sagemaker\n"
            "    sagemaker: {spot: true, max_runtime: 2h, max_wait: 1h}",
            "waiting includes the runtime",
        ),
        ("algorithm: container", "container does not train in this process"),
        (
            "algorithm: container\n    train_on: sagemaker",
            "`algorithm: container` and `sagemaker.image` belong together",
        ),
        ("algorithm: no.such.package:fit", "the function 'no.such.package:fit' cannot be imported"),
        ("algorithm: arn:aws:sagemaker:eu-west-1:123456789012:algorithm/x", "does not train in this process"),
        (
            "algorithm: linear-learner\n    hyperparameters: {predictor_type: regressor}",
            "'regressor' has no equivalent",
        ),
        ("algorithm: lgbm", "there is no algorithm 'lgbm'"),
        (
            "algorithm: kmeans\n    hyperparameters: {k: 3}\n"
            "    search: {trials: 2, judge_days: 2, space: {epochs: {integer: [2, 4]}}}",
            "cannot be searched for",
        ),
        (
            "algorithm: container\n    train_on: sagemaker\n    sagemaker: {image: registry/team:1}\n"
            "    search: {trials: 2, judge_days: 2, space: {max_depth: {integer: [2, 4]}}}",
            "search.trials: only its own image reads the model: no trial could be judged",
        ),
        (
            "algorithm: container\n    train_on: sagemaker\n    sagemaker: {image: registry/team:1}\n"
            "    calibrate: {method: isotonic, days: 1}",
            "calibrate.days: only its own image reads the model",
        ),
        (
            "algorithm: kmeans\n    hyperparameters: {k: 3}\n    train_on: sagemaker\n"
            "    calibrate: {method: isotonic, days: 1}",
            "calibrate.days: only the image of kmeans reads the model",
        ),
        (
            "algorithm: linear-learner\n    hyperparameters: {predictor_type: binary_classifier}\n"
            "    monotone: {amount: increasing}",
            "linear-learner cannot be held to a direction",
        ),
    ],
)
def test_wrong_declarations_are_refused(tmp_path: Path, model: str, said: str) -> None:
    right = _TEXT.split("    algorithm: xgboost\n")[1].partition("\n")[0]
    path = tmp_path / "defs.yaml"
    path.write_text(_TEXT.replace(f"    algorithm: xgboost\n{right}", f"    {model}"))
    try:
        problems = [str(problem) for problem in find_problems(read_declaration(path))]
    except DeclarationError as error:
        problems = [str(problem) for problem in error.problems]
    assert any(said in problem and "Mend: " in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [
        ("arn:aws:sagemaker:eu-west-1:123456789012:algorithm/fraud-9", {"train_on": "sagemaker"}),
        ("container", {"train_on": "sagemaker", "sagemaker": {"image": "registry/team:1"}}),
        (
            "factorization-machines",
            {
                "train_on": "sagemaker",
                "hyperparameters": {"num_factors": 8, "predictor_type": "binary_classifier"},
            },
        ),
        ("sagemaker-xgboost", {"hyperparameters": {"num_round": 9}, "monotone": {"amount": "increasing"}}),
        ("knn", {"hyperparameters": {"k": 5, "predictor_type": "classifier", "sample_size": 100}}),
        ("mdlc_assets_tests.training.own_functions:fit_forest", {"hyperparameters": {"trees": 3}}),
    ],
)
def test_right_declarations_pass(payments_fraud: LifecycleDeclaration, algorithm: str, more: dict[str, Any]) -> None:
    assert find_problems(declared(payments_fraud, algorithm, **more)) == []
