"""The platform as Dagster loads it: from its module, and as a component from YAML."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from mdlc_assets import ModelLifecycle
from mdlc_assets.declaration import DeclarationError, read_declaration
from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.definitions import build_definitions, embedded_resources
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import _code_and_libraries, load_lifecycle, remember_good
from mdlc_assets_tests.conftest import SHIPPED

_STAGES = ("sourcing", "quality", "features", "model", "training", "deployment", "monitoring", "integration")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> dg.RepositoryDefinition:
    return build_definitions(home=Home(tmp_path_factory.mktemp("home"))).get_repository_def()


def test_every_asset_presents_itself(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    keys = graph.materializable_asset_keys
    assert {key.path[1] for key in keys} >= {
        "raw",
        "labels",
        "validated",
        "quarantine",
        "daily_metrics",
        "quality_report",
        "features",
        "feature_state",
        "online_features",
        "online_consistency",
        "training_set",
        "candidate_model",
        "evaluation",
        "champion",
        "backtest",
        "batch_predictions",
        "endpoint",
        "drift_profile",
        "open_loop_report",
        "closed_loop_report",
        "retrain_decision",
        "decisions",
        "online_decisions",
        "online_open_loop_report",
        "online_closed_loop_report",
        "daily_report",
    }
    for key in keys:
        node = graph.get(key)
        assert node.description and len(node.description) > 30, key
        assert node.owners, key
        assert node.kinds, key
        assert re.match(rf"{key.path[0]}_\d_({'|'.join(_STAGES)})$", node.group_name or ""), key
        assert node.code_version, key
    assert {graph.get(key).group_name.rsplit("_", 1)[1] for key in keys} == set(_STAGES)


def test_every_workflow_has_words(repository: dg.RepositoryDefinition) -> None:
    jobs = {job.name: job.description for job in repository.get_all_jobs() if not job.name.startswith("__")}
    assert {name for name in jobs if name.startswith("payments_fraud_")} == {
        f"payments_fraud_{workflow}"
        for workflow in (
            "labels",
            "history",
            "rebuild",
            "report",
            "train",
            "retrain",
            "backtest",
            "approve",
            "reject",
            "rollback",
            "batch_inference",
            "monitor",
            "real_time_inference",
            "online_fill",
            "online_day",
            "stream_lag",
        )
    }
    assert all(jobs.values())


def test_dagsters_own_validation_passes(tmp_path: Path) -> None:
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "dagster"), "definitions", "validate", "-m", "mdlc_assets.definitions"],
        env={"PATH": "/usr/bin:/bin", "MDLC_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_it_is_a_component_in_yaml(tmp_path: Path) -> None:
    from dagster.components.testing import create_defs_folder_sandbox

    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(component_cls=ModelLifecycle, defs_path="mine")
        (folder / "defs.yaml").write_text((SHIPPED / "payments_fraud" / "defs.yaml").read_text())
        with sandbox.load_component_and_build_defs(defs_path=folder) as (component, definitions):
            assert isinstance(component, ModelLifecycle)
            bound = dg.Definitions(resources=embedded_resources(Home(tmp_path)))
            assert len(list(dg.Definitions.merge(definitions, bound).resolve_all_asset_specs())) > 15


def test_a_wrong_expression_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    text = (SHIPPED / "payments_fraud" / "defs.yaml").read_text()
    path.write_text(text.replace("when: score >= 0.9", "when: scores >= 0.9").replace("max_depth", "depth"))
    with pytest.raises(DeclarationError) as caught:
        load_lifecycle(path)
    said = str(caught.value)
    assert "decisions.rules.0.when: there is no 'scores'" in said
    assert "model.hyperparameters.depth" in said


def test_shipped_declarations_are_found() -> None:
    assert SHIPPED / "payments_fraud" / "defs.yaml" in lifecycle_files()


def test_definitions_load_without_the_libraries_that_models_are_made_of(tmp_path: Path) -> None:
    """A declaration is looked at closely once; who loads it again does not wait for scikit-learn and XGBoost."""
    program = "import sys; from mdlc_assets.definitions import build_definitions; build_definitions(); "
    program += "print(sorted({'sklearn', 'xgboost', 'scipy', 'pandas', 'matplotlib', 'mlflow'} & set(sys.modules)))"
    home = tmp_path / "home"
    home.mkdir()
    seen = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"MDLC_HOME": str(home), "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert "xgboost" in seen[0]
    assert seen[1] == "[]"


def test_a_declaration_is_looked_at_again_when_it_or_the_code_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDLC_HOME", str(tmp_path))
    good = read_declaration(next(path for path in lifecycle_files() if "payments" in str(path)))
    bad = good.model_copy(deep=True)
    bad.model.hyperparameters["n_estimatorz"] = 5
    for _ in range(2):
        ModelLifecycle(good)
        with pytest.raises(DeclarationError, match="n_estimators"):
            ModelLifecycle(bad)
    # Bad under the code of the day it was found good.
    remember_good(bad)
    ModelLifecycle(bad)
    monkeypatch.setattr("mdlc_assets.lifecycle.source_digest", lambda: "other code")
    _code_and_libraries.cache_clear()
    with pytest.raises(DeclarationError, match="n_estimators"):
        ModelLifecycle(bad)
    _code_and_libraries.cache_clear()


def test_lifecycles_where_one_is_are_found_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MDLC_LIFECYCLES", raising=False)
    monkeypatch.chdir(tmp_path)
    shipped = lifecycle_files()
    own = tmp_path / "lifecycles" / "mine" / "defs.yaml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert [path for path in lifecycle_files() if path not in shipped] == [Path("lifecycles/mine/defs.yaml")]
    copied = tmp_path / "lifecycles" / "payments_fraud" / "defs.yaml"
    copied.parent.mkdir()
    copied.touch()
    found = [path for path in lifecycle_files() if path.parent.name == "payments_fraud"]
    assert found == [Path("lifecycles/payments_fraud/defs.yaml")], "a copy takes the place of the example"
    monkeypatch.chdir(SHIPPED.parent)
    assert lifecycle_files() == shipped
    monkeypatch.setenv("MDLC_LIFECYCLES", "")
    monkeypatch.chdir(tmp_path)
    assert lifecycle_files() == shipped, "nothing is what was asked for"
