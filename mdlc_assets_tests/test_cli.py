"""`mdlc`, run as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mdlc_assets_tests.conftest import SHIPPED


def _mdlc(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "mdlc"), *arguments],
        env={**os.environ, "MDLC_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, mdlc_assets.cli; print([m for m in ('dagster', 'polars', 'mlflow', 'numpy') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_validate_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    good = SHIPPED / "payments_fraud" / "defs.yaml"
    ran = _mdlc("validate", str(good), home=tmp_path)
    assert (ran.returncode, "good; payments_fraud has 15 features" in ran.stdout) == (0, True)
    bad = tmp_path / "defs.yaml"
    bad.write_text(good.read_text().replace("algorithm: xgboost", "algorithm: xgbost"))
    ran = _mdlc("validate", str(bad), home=tmp_path)
    assert ran.returncode == 1
    assert "model.algorithm" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_mistakes_get_sentences_not_tracebacks(tmp_path: Path) -> None:
    for arguments, said in (
        (("approve", "1", "--reason", "why not", "--approver", "a@b.co"), "has no version 1"),
        (("rollback", "--reason", "why not", "--approver", "a@b.co"), "no earlier champion"),
        (("reject", "7", "--reason", "why not", "--approver", "a@b.co"), "has no version 7"),
        (("history", "--lifecycle", "payments"), "use one of payments_fraud"),
        (("demo", "--source", str(SHIPPED)), "80 days"),
    ):
        ran = _mdlc(*arguments, home=tmp_path)
        assert ran.returncode != 0, arguments
        assert said in ran.stderr, (arguments, ran.stderr[-500:])
        assert "Traceback" not in ran.stderr, arguments
