"""Calibration on held-out days: scores mean what they say, keep their order, and come back from the file."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.evaluation import Calibrate
from mdlc_assets.declaration.model import Windows
from mdlc_assets.training.algorithms import ModelFileError, fit, load_model
from mdlc_assets.training.calibration import fit_calibration
from mdlc_assets.training.candidate import fit_candidate
from mdlc_assets.training.windows import protocol


def _overconfident(rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which each means much less than it says."""
    rng = np.random.default_rng(0)
    truth = rng.beta(1, 20, rows)
    return truth**0.4, (rng.uniform(size=rows) < truth).astype(np.int8)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_calibrated_scores_mean_what_they_say(method: str) -> None:
    score, label = _overconfident()
    found = fit_calibration(method, score[::2], label[::2])
    after, truth = found.apply(score[1::2]), label[1::2]
    assert score.mean() / label.mean() > 4
    assert after.mean() / truth.mean() == pytest.approx(1, abs=0.1)
    assert ((after - truth) ** 2).mean() < 0.8 * ((score[1::2] - truth) ** 2).mean()
    assert (np.diff(found.apply(np.linspace(0, 1, 500))) >= 0).all()
    assert 0 <= found.apply(np.array([0.0, 1.0])).min() <= found.apply(np.array([0.0, 1.0])).max() <= 1


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_it_comes_back_from_the_file_and_is_part_of_the_digest(
    payments_fraud: LifecycleDeclaration, method: str
) -> None:
    rng = np.random.default_rng(1)
    rows = pl.DataFrame({"a": rng.normal(size=500), "y": rng.integers(0, 2, 500)})
    plain = fit(payments_fraud.model.model_copy(update={"hyperparameters": {"n_estimators": 3}}), rows, ["a"], "y")
    model = replace(plain, calibration=fit_calibration(method, *_overconfident(500)))
    files = model.files()
    again = load_model(files)
    assert (again.score(rows) == model.score(rows)).all()
    assert (again.score(rows) != plain.score(rows)).any()
    assert again.digest() == model.digest() != plain.digest()
    spoilt = {**files, "model.json": files["model.json"].replace(method.encode(), b"magic")}
    with pytest.raises(ModelFileError, match="is not what was written"):
        load_model(spoilt)


def test_the_held_out_days_teach_only_the_calibration(payments_fraud: LifecycleDeclaration) -> None:
    windows = Windows(train_days=6, gap_days=0, test_days=2)
    small = {"windows": windows, "refit": False, "least_positives": 5, "hyperparameters": {"n_estimators": 3}}
    model = payments_fraud.model.model_copy(update={**small, "calibrate": Calibrate(method="platt", days=2)})
    lifecycle = payments_fraud.model_copy(update={"model": model})
    plan = protocol(lifecycle, date(2018, 8, 21))
    rng = np.random.default_rng(0)
    begin = datetime.combine(plan.whole.first, datetime.min.time())
    day = np.repeat(np.arange(8), 60)
    rows = pl.DataFrame(
        {
            "event_time": pl.Series([begin + timedelta(days=int(d)) for d in day]).cast(pl.Datetime("us", "UTC")),
            **{name: rng.normal(size=480) for name in lifecycle.features.names()},
            "is_fraud": (rng.uniform(size=480) < 0.3).astype(np.int8),
            "part": ["train" if d < 6 else "test" for d in day],
        }
    )
    found = fit_candidate(lifecycle, rows, plan).served
    first_days = rows.filter(pl.col("event_time").dt.date() < plan.train.first + timedelta(days=4))
    alone = fit(model, first_days, lifecycle.features.names(), "is_fraud")
    assert bytes(found.estimator.save_raw("ubj")) == bytes(alone.estimator.save_raw("ubj"))
    assert found.calibration is not None
    mean = found.score(rows.filter(pl.col("part") == "train").tail(120)).mean()
    assert mean == pytest.approx(rows.filter(pl.col("part") == "train").tail(120)["is_fraud"].mean(), abs=0.02)
