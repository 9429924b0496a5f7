"""What a killed process leaves in MLflow, and what wrong data leave: nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Windows
from mdlc_assets.resources.registry import Registry
from mdlc_assets.training.algorithms import TrainingDataError
from mdlc_assets.training.candidate import fit_candidate
from mdlc_assets.training.windows import protocol

_REGISTER = """
import os, signal, sys
from mlflow import MlflowClient
from mdlc_assets.resources.registry import Candidate, Registry

folder, killed_after = sys.argv[1:]
if killed_after:
    real = getattr(MlflowClient, killed_after)
    def deadly(*args, **kwargs):
        real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(MlflowClient, killed_after, deadly)
registry = Registry(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_root=f"{folder}/artifacts")
files = {"model/model.json": b"{}", "judged/model.json": b"{}"}
candidate = Candidate("2018-06-01", "abc", files, ["a"], {"seed": 0}, {"mdlc.train": "t"}, {"features": ("d", "e")})
print(registry.register("cards", candidate).version)
"""
_STEPS = ("create_run", "log_batch", "log_artifacts", "create_model_version", "set_terminated")


def _register(folder: Path, killed_after: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _REGISTER, str(folder), killed_after], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_killed_at_any_step_and_tried_again(tmp_path: Path) -> None:
    registry = Registry(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_root=f"{tmp_path}/artifacts")
    assert registry.versions("cards") == []
    for step in _STEPS:
        ran = _register(tmp_path, step)
        # Killed at the last two steps before, it is registered already and only has to be closed.
        assert ran.returncode in (-signal.SIGKILL, 0), ran.stderr[-2000:]
        for version in registry.versions("cards"):
            # What can be seen of a version is always whole.
            assert registry.files(version)["model.json"] == b"{}"
            assert version.tags["mdlc.files"]
    ran = _register(tmp_path)
    assert (ran.returncode, ran.stdout.strip()) == (0, "1"), ran.stderr[-2000:]
    (version,) = registry.versions("cards")
    client = registry._client()
    runs = client.search_runs([client.get_run(version.run_id).info.experiment_id])
    ended = {run.info.run_id: run.info.status for run in runs}
    assert ended.pop(version.run_id) == "FINISHED"
    assert list(ended.values()) == ["FAILED"] * 3
    assert all("nothing came of it" in run.data.tags["mlflow.note.content"] for run in runs if run.info.run_id in ended)


def test_a_run_that_another_process_is_still_at_is_left_alone(tmp_path: Path) -> None:
    from mdlc_assets.resources.registry import _at_work

    host = os.uname().nodename
    now = int(datetime.now().timestamp() * 1000)
    assert _at_work(f"{host}:{os.getpid()}", now)
    assert not _at_work(f"{host}:{2**22 + 1}", now)
    assert not _at_work("", now)
    assert _at_work("elsewhere:1", now)
    assert not _at_work("elsewhere:1", now - 7 * 3600 * 1000)


@pytest.fixture
def small(payments_fraud: LifecycleDeclaration) -> LifecycleDeclaration:
    windows = Windows(train_days=7, gap_days=0, test_days=3)
    model = payments_fraud.model.model_copy(
        update={"windows": windows, "hyperparameters": {"n_estimators": 3}, "least_positives": 5}
    )
    return payments_fraud.model_copy(update={"model": model})


def _rows(lifecycle: LifecycleDeclaration) -> pl.DataFrame:
    plan = protocol(lifecycle, date(2018, 8, 21))
    rng = np.random.default_rng(0)
    size = 50 * len(plan.whole.days())
    day = np.repeat(np.arange(len(plan.whole.days())), 50)
    begin = datetime.combine(plan.whole.first, datetime.min.time())
    return pl.DataFrame(
        {
            "transaction_id": range(size),
            "event_time": pl.Series([begin + timedelta(days=int(d)) for d in day]).cast(pl.Datetime("us", "UTC")),
            "customer_id": rng.integers(0, 40, size),
            **{name: rng.normal(size=size) for name in lifecycle.features.names()},
            "is_fraud": (rng.uniform(size=size) < 0.2).astype(np.int8),
            "part": ["train" if d < 7 else "test" for d in day],
        }
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rows: rows.clear(), r"no rows to learn from in 2018-08-05 to 2018-08-11\. Mend: materialise"),
        (
            lambda rows: rows.with_columns(pl.lit(0, pl.Int8).alias("is_fraud")),
            r"all 350 rows of 2018-08-05 to 2018-08-11 have the label 0 in is_fraud\. Mend: train on more days",
        ),
        (
            lambda rows: rows.with_columns((pl.col("transaction_id") < 4).cast(pl.Int8).alias("is_fraud")),
            r"has 4 positives in is_fraud among 350 rows; 5 are needed\. Mend: declare longer windows.train_days",
        ),
        (
            lambda rows: rows.with_columns(
                pl.when(pl.col("transaction_id") == 60).then(float("nan")).otherwise("amount").alias("amount")
            ),
            r"amount is missing or infinite in 1 of 350 rows .* first on 2018-08-06 \(found nan\)\. Mend: correct",
        ),
        (
            lambda rows: rows.with_columns((pl.col("amount") / 0).alias("amount")),
            r"amount is missing or infinite in 350 of 350 rows .*found -?inf",
        ),
        (
            lambda rows: rows.with_columns(
                pl.when(pl.col("part") == "test").then(None).otherwise("amount").alias("amount")
            ),
            # Only the refit would meet it: found before anything is fitted.
            r"amount is missing or infinite in 150 of 350 rows of 2018-08-08 to 2018-08-14, first on 2018-08-12",
        ),
    ],
    ids=["no rows", "one class", "few positives", "nan", "infinite", "missing in the newest days"],
)
def test_wrong_data_are_refused_in_words(small: LifecycleDeclaration, spoil, said: str) -> None:  # type: ignore[no-untyped-def]
    plan = protocol(small, date(2018, 8, 21))
    fit_candidate(small, _rows(small), plan)
    with pytest.raises(TrainingDataError, match=said):
        fit_candidate(small, spoil(_rows(small)), plan)


_DIGEST = """
import sys
from datetime import date
from pathlib import Path
import polars as pl
from mdlc_assets.declaration import read_declaration
from mdlc_assets.training.candidate import fit_candidate
from mdlc_assets.training.windows import protocol

declared, algorithm, rows = sys.argv[1:]
lifecycle = read_declaration(Path(declared))
small = {"n_estimators": 20} if algorithm in ("xgboost", "random_forest") else {}
update = {"algorithm": algorithm, "hyperparameters": small, "least_positives": 5}
lifecycle = lifecycle.model_copy(update={"model": lifecycle.model.model_copy(update=update)})
print(fit_candidate(lifecycle, pl.read_parquet(rows), protocol(lifecycle, date(2018, 8, 21))).digest())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", ["xgboost", "random_forest", "gradient_boosting", "logistic_regression", "decision_tree"]
)
def test_another_process_makes_the_same_model(
    tmp_path: Path, payments_fraud: LifecycleDeclaration, algorithm: str
) -> None:
    """Other hash seeds and numbers of threads give the same digest, on as many rows as threads share."""
    from mdlc_assets_tests.conftest import SHIPPED

    rows = pl.concat([_rows(payments_fraud)] * 20)
    noise = np.random.default_rng(1).normal(size=rows.height)
    rows.with_columns(amount=pl.col("amount") + noise).write_parquet(tmp_path / "rows.parquet")
    declared, digests = SHIPPED / "payments_fraud" / "defs.yaml", set()
    for seed, threads in (("0", "1"), ("77", "2")):
        ran = subprocess.run(
            [sys.executable, "-c", _DIGEST, str(declared), algorithm, str(tmp_path / "rows.parquet")],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads, "POLARS_MAX_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(ran.stdout.strip())
    assert len(digests) == 1
