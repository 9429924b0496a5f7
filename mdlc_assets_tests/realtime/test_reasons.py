"""Reasons: the looked-up contributions are XGBoost's own, and where they cannot be looked up XGBoost is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost

from mdlc_assets.realtime import tree_parts as room
from mdlc_assets.realtime.reasons import Contributions
from mdlc_assets.realtime.tree_parts import tree_parts
from mdlc_assets.training.algorithms import FittedModel

_WIDTH = 6


def _train(trees: int = 40, seed: int = 0, **settings: Any) -> tuple[xgboost.Booster, np.ndarray]:
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(2_000, _WIDTH)).round(1)  # rounded: many events stand exactly on a split
    labels = rows[:, 0] * rows[:, 1] + rows[:, 2] + chance.normal(size=len(rows)) > 1
    told = {"objective": "binary:logistic", "max_depth": 5, "nthread": 1, "seed": seed} | settings
    return xgboost.train(told, xgboost.DMatrix(rows, labels), trees), rows


def _by_xgboost(booster: xgboost.Booster, rows: np.ndarray) -> np.ndarray:
    return booster.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_depth": 1},
        {"max_depth": 8, "min_child_weight": 0},
        {"grow_policy": "lossguide", "max_leaves": 12, "max_depth": 0},
        {"objective": "reg:squarederror"},
        {"num_parallel_tree": 3, "subsample": 0.5, "colsample_bynode": 0.5},
        {"scale_pos_weight": 20, "reg_alpha": 1.0},
        {"max_depth": 3, "gamma": 40.0},  # some trees do not split at all
    ],
)
def test_looked_up_parts_are_those_of_xgboost(settings: dict[str, Any]) -> None:
    booster, rows = _train(**settings)
    parts = tree_parts(booster, _WIDTH)
    assert parts is not None
    right = _by_xgboost(booster, rows)
    np.testing.assert_allclose(parts.of(rows), right[:, :-1], rtol=1e-4, atol=2e-5)
    margins = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    np.testing.assert_allclose(parts.of(rows).sum(axis=1) + right[:, -1], margins, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(parts.of(rows[5:6])[0], parts.of(rows)[5])


def test_what_cannot_be_looked_up_is_left_to_xgboost(monkeypatch: pytest.MonkeyPatch) -> None:
    dart, rows = _train(trees=5, booster="dart", rate_drop=0.5)
    assert tree_parts(dart, _WIDTH) is None
    chance = np.random.default_rng(1)
    kinds = xgboost.DMatrix(rows, chance.integers(0, 3, len(rows)))
    assert tree_parts(xgboost.train({"objective": "multi:softprob", "num_class": 3}, kinds, 2), _WIDTH) is None
    shop = np.column_stack([chance.integers(0, 9, 2_000), rows[:, 1]])
    coded = xgboost.DMatrix(shop, shop[:, 0] % 2, feature_types=["c", "q"], enable_categorical=True)
    assert tree_parts(xgboost.train({"max_cat_to_onehot": 1}, coded, 2), 2) is None
    monkeypatch.setattr(room, "_MOST_PARTS", 1_000)
    large, rows = _train()
    assert tree_parts(large, _WIDTH) is None
    model = FittedModel("xgboost", [f"f{i}" for i in range(_WIDTH)], large)
    asked = Contributions(model)
    assert asked.known
    np.testing.assert_array_equal(asked.of(rows[:9]), _by_xgboost(large, rows[:9])[:, :-1])


def test_a_tree_that_is_one_leaf_moves_nothing() -> None:
    booster, rows = _train(trees=2, gamma=1e9)
    asked = Contributions(FittedModel("xgboost", [f"f{i}" for i in range(_WIDTH)], booster))
    assert not asked.of(rows[:3]).any()
