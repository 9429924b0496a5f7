"""`dg scaffold defs` in a Dagster project of a team's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets.starter import starter_text

_DG = str(Path(sys.executable).parent / "dg")
_PROJECT = """[project]
name = "my_project"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "my_project"
"""
_SECOND = """type: mdlc_assets.ModelLifecycle
attributes:
  name: second
  description: Another model on the same data.
  owners: team:second
  uses: my_model
  model:
    algorithm: logistic_regression
    windows: {train_days: 20, gap_days: 7, test_days: 7}
    gate: {floors: {auc_roc: 0.6}}
  decisions:
    rules: [{name: high, when: score > 0.9, decide: look, reason: It is high.}]
    actions: {look: A person looks., leave: Nothing.}
    otherwise: leave
"""
_DEFINITIONS = """from pathlib import Path

import dagster as dg

from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home


@dg.definitions
def defs() -> dg.Definitions:
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(found, dg.Definitions(resources=embedded_resources(Home())))
"""


@pytest.mark.slow
def test_dg_finds_the_component_and_writes_a_declaration_that_loads(tmp_path: Path) -> None:
    (tmp_path / "src" / "my_project" / "defs").mkdir(parents=True)
    (tmp_path / "src" / "my_project" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    assert "mdlc_assets.ModelLifecycle" in _dg(tmp_path, "list", "components", "--package", "mdlc_assets", "--json")
    _dg(tmp_path, "scaffold", "defs", "mdlc_assets.ModelLifecycle", "my_model")
    written = tmp_path / "src" / "my_project" / "defs" / "my_model" / "defs.yaml"
    assert load_lifecycle(written).declaration.name == "my_model"
    assert "#" in written.read_text()

    # A second one on its data, in a project that binds the resources.
    second = written.parents[1] / "second" / "defs.yaml"
    second.parent.mkdir()
    second.write_text(_SECOND)
    (tmp_path / "src" / "my_project" / "definitions.py").write_text(_DEFINITIONS)
    _dg(tmp_path, "check", "defs")
    second.write_text(_SECOND.replace("uses: my_model", "uses: my_modle"))
    with pytest.raises(AssertionError, match="write 'my_model'"):
        _dg(tmp_path, "check", "defs")


@pytest.mark.parametrize(("folder", "name"), [("churn", "churn"), ("Churn-EU", "churn_eu"), ("2nd", "model_2nd")])
def test_the_folder_gives_the_name(tmp_path: Path, folder: str, name: str) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(starter_text(folder))
    assert load_lifecycle(path).declaration.name == name


def _dg(project: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [_DG, *arguments],
        cwd=project,
        env={"PATH": f"{Path(_DG).parent}:/usr/bin:/bin", "HOME": str(project), "COLUMNS": "400", "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2_000:] + ran.stderr[-2_000:]
    return ran.stdout
