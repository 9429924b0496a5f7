"""What the installation is made of and what must not be in the repository: bill of materials, secrets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent


def _hook(*files: str) -> subprocess.CompletedProcess[str]:
    command = [str(_BIN / "detect-secrets-hook"), "--baseline", ".secrets.baseline", *files]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)


def test_nothing_is_excused_beforehand_and_deploy_holds_no_secret() -> None:
    """`make leaks`, which CI runs, looks at all files; here those that secrets get into."""
    assert json.loads((_ROOT / ".secrets.baseline").read_text())["results"] == {}
    listed = ["git", "ls-files", "deploy", ".ci", "Makefile", "pyproject.toml"]
    tracked = subprocess.run(listed, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "deploy/compose/docker-compose.yaml" in tracked
    ran = _hook(*tracked)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    "text",
    [
        "key = 'AKIA" + "QYLPMN5HHHFPZAM2'",
        "password = 'correct-horse" + "-battery-staple'",
        "-----BEGIN RSA " + "PRIVATE KEY-----",
    ],
)
def test_the_scan_finds_what_it_should(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.py").write_text(f"{text}\n")
    ran = _hook(str(tmp_path / "settings.py"))
    assert (ran.returncode, "settings.py" in ran.stdout) == (1, True)
    assert "battery" not in ran.stdout


def test_the_bill_of_materials_has_what_runs(tmp_path: Path) -> None:
    # The check against the schema, which `make sbom` makes, takes ten seconds.
    asked = ["make", "--no-print-directory", "sbom", f"SBOM={tmp_path / 'sbom.json'}", "SBOM_CHECK=--no-validate"]
    subprocess.run(asked, cwd=_ROOT, check=True, capture_output=True)
    written = json.loads((tmp_path / "sbom.json").read_text())
    assert (written["bomFormat"], written["metadata"]["component"]["name"]) == ("CycloneDX", "mdlc-assets")
    pinned = set(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (_ROOT / "requirements.lock").read_text(), re.MULTILINE))
    found = {part["name"].lower().replace("_", "-"): part["version"] for part in written["components"]}
    for name in ("dagster", "mlflow", "polars", "boto3", "xgboost-cpu"):
        assert (name, found.get(name)) in pinned
    assert all(part["purl"].startswith("pkg:pypi/") for part in written["components"])
