"""The registry on a real MLflow with SQLite: versions, approvals, what may serve, the trail."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mlflow.exceptions import MlflowException

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.registry import Candidate, Registry, UnknownVersionError
from mdlc_assets.training.algorithms import fit, load_model
from mdlc_assets.training.approval import (
    COMPARED_TAG,
    GATE_TAG,
    ApprovalError,
    approve,
    approve_by_policy,
    reject,
    rollback,
)
from mdlc_assets.training.verification import record_problems
from mdlc_assets_tests.deploy.database import free_port

_NAME = "payments_fraud"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty MLflow database: to make one takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    registry = Registry(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_root=str(folder))
    assert registry.champion(_NAME) is None
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def registry(tmp_path: Path, migrated: bytes) -> Registry:
    (tmp_path / "mlflow.db").write_bytes(migrated)
    return Registry(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_root=str(tmp_path / "artifacts"))


def _candidate(payments_fraud: LifecycleDeclaration, as_of: str, seed: int = 0) -> Candidate:
    rng = np.random.default_rng(seed)
    rows = pl.DataFrame({"a": rng.normal(size=50), "y": rng.integers(0, 2, 50)})
    model = payments_fraud.model.model_copy(update={"hyperparameters": {"n_estimators": 2}})
    fitted = fit(model, rows, ["a"], "y")
    files = {f"{folder}/{name}": content for folder in ("model", "judged") for name, content in fitted.files().items()}
    return Candidate(as_of, fitted.digest(), files, ["a"], {"seed": 0}, {"mdlc.train": "some days"})


def test_the_same_candidate_is_registered_once(registry: Registry, payments_fraud: LifecycleDeclaration) -> None:
    first = registry.register(_NAME, _candidate(payments_fraud, "2018-06-01"))
    assert registry.register(_NAME, _candidate(payments_fraud, "2018-06-01")).version == first.version == 1
    assert registry.register(_NAME, _candidate(payments_fraud, "2018-06-02")).version == 2
    assert registry.register(_NAME, _candidate(payments_fraud, "2018-06-02", seed=1)).version == 3


def test_the_model_comes_back_with_its_signature(registry: Registry, payments_fraud: LifecycleDeclaration) -> None:
    version = registry.register(_NAME, _candidate(payments_fraud, "2018-06-01"))
    files = registry.files(version)
    assert b"signature" in files["MLmodel"]
    assert load_model(files).digest() == version.digest
    assert load_model(registry.files(version, "judged")).features == ["a"]


def test_a_run_left_by_a_killed_attempt_is_closed(registry: Registry, payments_fraud: LifecycleDeclaration) -> None:
    version = registry.register(_NAME, _candidate(payments_fraud, "2018-06-01"))
    client = registry._client()
    experiment = client.get_run(version.run_id).info.experiment_id
    left = client.create_run(experiment).info.run_id
    registry.register(_NAME, _candidate(payments_fraud, "2018-06-02"))
    assert client.get_run(left).info.status == "FAILED"
    assert client.search_runs([experiment], "attributes.status = 'RUNNING'") == []


def test_what_failed_its_gate_needs_override_and_reason(
    registry: Registry, payments_fraud: LifecycleDeclaration
) -> None:
    version = registry.register(_NAME, _candidate(payments_fraud, "2018-06-01"))
    registry.tag(_NAME, version, {GATE_TAG: "refused: too weak"})
    with pytest.raises(ApprovalError, match=r"has not passed its gate .refused: too weak.*--override"):
        approve(registry, payments_fraud, 1, "ann@example.com", "I like it")
    with pytest.raises(ApprovalError, match="no reason"):
        approve(registry, payments_fraud, 1, "ann@example.com", " ", override=True)
    with pytest.raises(ApprovalError, match="nobody is named"):
        approve(registry, payments_fraud, 1, "", "because", override=True)
    assert registry.champion(_NAME) is None
    assert registry.audit(_NAME) == []
    approve(registry, payments_fraud, 1, "ann@example.com", "the floor is wrong, see T-1", override=True)
    (entry,) = registry.audit(_NAME)
    assert (entry["who"], entry["override"], entry["gate"]) == ("ann@example.com", True, "refused: too weak")


def test_approve_roll_back_and_reject(registry: Registry, payments_fraud: LifecycleDeclaration) -> None:
    for day in (1, 2, 3):
        version = registry.register(_NAME, _candidate(payments_fraud, f"2018-06-0{day}"))
        registry.tag(_NAME, version, {GATE_TAG: "passed"})
        registry.point(_NAME, "challenger", version)
    with pytest.raises(UnknownVersionError, match=r"no version 9\. Mend: use one of 1, 2, 3"):
        approve(registry, payments_fraud, 9, "ann@example.com", "because")
    with pytest.raises(ApprovalError, match="no earlier champion"):
        rollback(registry, payments_fraud, "ann@example.com", "because")
    approve(registry, payments_fraud, 1, "ann@example.com", "the first")
    assert approve_by_policy(registry, payments_fraud).version == 3
    assert approve_by_policy(registry, payments_fraud).version == 3
    with pytest.raises(ApprovalError, match="mdlc rollback"):
        reject(registry, payments_fraud, 3, "ann@example.com", "bad")
    assert rollback(registry, payments_fraud, "bob@example.com", "complaints").version == 1
    reject(registry, payments_fraud, 3, "bob@example.com", "complaints")
    champion = registry.champion(_NAME)
    assert champion is not None
    assert champion.version == 1
    assert [entry["action"] for entry in registry.audit(_NAME)] == ["approve", "approve", "rollback", "reject"]
    serving = [row["version"] for row in registry.history(_NAME) if row["serves"]]
    assert serving == [1]


def test_the_policy_does_not_undo_a_rollback(registry: Registry, payments_fraud: LifecycleDeclaration) -> None:
    _judged(registry, payments_fraud, 3, "1")
    approve(registry, payments_fraud, 1, "ann@example.com", "the first")
    registry.point(_NAME, "challenger", registry.version(_NAME, 2))
    assert approve_by_policy(registry, payments_fraud).version == 2
    assert rollback(registry, payments_fraud, "ann@example.com", "complaints").version == 1
    assert approve_by_policy(registry, payments_fraud).version == 1
    registry.point(_NAME, "challenger", registry.version(_NAME, 3))
    assert approve_by_policy(registry, payments_fraud).version == 3
    assert [entry["action"] for entry in registry.audit(_NAME)] == ["approve", "approve", "rollback", "approve"]


def test_the_policy_keeps_the_champion_when_the_gate_refuses_and_fails_when_there_is_none(
    registry: Registry, payments_fraud: LifecycleDeclaration
) -> None:
    _judged(registry, payments_fraud, 2, "1")
    refused = registry.version(_NAME, 2)
    registry.tag(_NAME, refused, {GATE_TAG: "refused: too weak"})
    registry.point(_NAME, "challenger", refused)
    with pytest.raises(ApprovalError, match=r"has not passed its gate \(refused: too weak\)"):
        approve_by_policy(registry, payments_fraud)
    approve(registry, payments_fraud, 1, "ann@example.com", "the first")
    assert approve_by_policy(registry, payments_fraud).version == 1
    assert [entry["action"] for entry in registry.audit(_NAME)] == ["approve"]


def test_a_registry_that_is_away_is_not_one_without_a_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Registry(tracking_uri=f"http://127.0.0.1:{free_port()}", artifact_root=str(tmp_path))
    with pytest.raises(MlflowException, match="Connection refused"):
        away.champion(_NAME)


def test_more_versions_than_a_page_of_mlflow(
    registry: Registry, payments_fraud: LifecycleDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdlc_assets.resources.registry._PAGE", 2)
    _judged(registry, payments_fraud, 5, "none")
    assert [version.version for version in registry.versions(_NAME)] == [1, 2, 3, 4, 5]


def test_an_old_backtest_never_replaces_the_champion(registry: Registry, payments_fraud: LifecycleDeclaration) -> None:
    for day in ("2018-06-05", "2018-06-01"):
        version = registry.register(_NAME, _candidate(payments_fraud, day))
        registry.tag(_NAME, version, {GATE_TAG: "passed"})
    approve(registry, payments_fraud, 1, "ann@example.com", "the newest")
    registry.point(_NAME, "challenger", version)
    assert approve_by_policy(registry, payments_fraud).version == 1


def test_a_long_description_is_cut_where_mlflow_would_refuse_it(
    registry: Registry, payments_fraud: LifecycleDeclaration
) -> None:
    version = registry.register(_NAME, _candidate(payments_fraud, "2018-06-01"))
    registry.attach(_NAME, version, {"evaluation/README.md": b"all of it"}, "a line\n" * 2000)
    said = registry._client().get_model_version(_NAME, "1").description
    assert len(said) <= 5000
    assert said.endswith("a line\n\nThe rest is in the files of the run.")
    assert registry.files(version, "evaluation") == {"README.md": b"all of it"}


def _judged(registry: Registry, lifecycle: LifecycleDeclaration, count: int, beside: str) -> None:
    for day in range(1, count + 1):
        version = registry.register(_NAME, _candidate(lifecycle, f"2018-06-0{day}"))
        registry.tag(_NAME, version, {GATE_TAG: "passed", COMPARED_TAG: beside})


def test_a_comparison_with_a_champion_of_yesterday_does_not_count(
    registry: Registry, payments_fraud: LifecycleDeclaration
) -> None:
    _judged(registry, payments_fraud, 3, "none")
    approve(registry, payments_fraud, 1, "ann@example.com", "the first")
    with pytest.raises(ApprovalError, match=r"judged beside no champion, and version 1 serves now\. Mend: materialise"):
        approve(registry, payments_fraud, 2, "ann@example.com", "newer")
    registry.tag(_NAME, registry.version(_NAME, 2), {COMPARED_TAG: "1"})
    assert approve(registry, payments_fraud, 2, "ann@example.com", "newer").version == 2
    approve(registry, payments_fraud, 3, "ann@example.com", "urgent, see T-2", override=True)
    assert registry.audit(_NAME)[-1]["override"] is True


def test_of_approvals_at_once_one_wins(registry: Registry, payments_fraud: LifecycleDeclaration) -> None:
    _judged(registry, payments_fraud, 5, "1")
    approve(registry, payments_fraud, 1, "ann@example.com", "the first")
    ready = threading.Barrier(4)

    def decide(version: int) -> str:
        ready.wait()
        try:
            approve(registry, payments_fraud, version, f"{version}@example.com", "mine")
        except ApprovalError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(decide, (2, 3, 4, 5)))
    (winner,) = [version for version, text in zip((2, 3, 4, 5), said, strict=True) if not text]
    assert all("was quicker" in text or f"version {winner} serves now" in text for text in said if text)
    champion = registry.champion(_NAME)
    assert champion is not None
    assert champion.version == winner
    assert [entry["version"] for entry in registry.audit(_NAME)] == [1, winner]
    assert record_problems(registry, payments_fraud) == []


def test_killed_between_trail_and_alias_is_set_right_by_the_next_one(
    registry: Registry, payments_fraud: LifecycleDeclaration
) -> None:
    _judged(registry, payments_fraud, 2, "1")
    approve(registry, payments_fraud, 1, "ann@example.com", "the first")
    # What is on the trail when the process dies before it has pointed the alias.
    registry.record(_NAME, "approve", registry.version(_NAME, 2), "ann@example.com", "newer", replaces=1)
    assert "alias champion says 1" in record_problems(registry, payments_fraud)[0]
    assert approve(registry, payments_fraud, 2, "ann@example.com", "newer").version == 2
    assert record_problems(registry, payments_fraud) == []
    assert [entry["version"] for entry in registry.audit(_NAME)] == [1, 2]


def test_a_rollback_goes_back_one_by_one_and_past_what_was_rejected(
    registry: Registry, payments_fraud: LifecycleDeclaration
) -> None:
    _judged(registry, payments_fraud, 4, "none")
    for version in (1, 2, 3, 4):
        approve(registry, payments_fraud, version, "ann@example.com", "next", override=True)
    reject(registry, payments_fraud, 2, "bob@example.com", "it was wrong all along")
    assert rollback(registry, payments_fraud, "ann@example.com", "bad").version == 3
    assert rollback(registry, payments_fraud, "ann@example.com", "bad too").version == 1
    with pytest.raises(ApprovalError, match="no earlier champion"):
        rollback(registry, payments_fraud, "ann@example.com", "bad three")
    approve(registry, payments_fraud, 4, "ann@example.com", "mended", override=True)
    assert rollback(registry, payments_fraud, "ann@example.com", "no").version == 1
