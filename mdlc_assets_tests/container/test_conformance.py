"""The entry points, run as processes, keep SageMaker's contract; and the check sees what breaks it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdlc_assets.container.conformance import Container, Sample, check_container, check_serve, check_train
from mdlc_assets.container.multi_model_conformance import check_multi_model
from mdlc_assets_tests.deployment.models import FEATURES, save_model

BIN = Path(sys.executable).parent


def _sample(folder: Path) -> Sample:
    rng = np.random.default_rng(5)
    rows = pl.DataFrame({name: rng.normal(size=300) for name in FEATURES})
    label = pl.Series("is_fraud", rows["amount"].to_numpy() + rng.normal(size=300) > 0.5).cast(pl.Int8)
    (folder / "data").mkdir()
    rows.with_columns(label).write_parquet(folder / "data" / "part-0.parquet")
    return Sample(
        folder / "data",
        rows.head(3).write_csv().encode(),
        "text/csv",
        {"mdlc_algorithm": "xgboost", "mdlc_label": "is_fraud", "n_estimators": "5"},
        "application/x-parquet",
    )


def test_our_entry_points_keep_the_contract(tmp_path: Path) -> None:
    # The console scripts of the package are the words SageMaker appends to `docker run <image>`.
    found = check_container(f"{BIN}/{{verb}}", _sample(tmp_path), tmp_path)
    assert [str(finding) for finding in found if not finding.kept] == []
    assert len(found) > 20


def test_our_server_keeps_the_contract_of_multi_model_endpoints(tmp_path: Path) -> None:
    model = save_model(tmp_path / "some-model")
    container = Container(f"{BIN}/{{verb}}", tmp_path)
    found = list(check_multi_model(container, _sample(tmp_path), model, {"MDLC_MOST_MODELS": "2"}))
    assert [str(finding) for finding in found if not finding.kept] == []
    seen = {finding.rule: finding.seen for finding in found}
    assert seen["multi-model: POST /models without room answers 507"] == "507 after 2"
    assert len(found) == 17


def test_a_server_of_one_model_is_told_what_it_lacks_for_many(tmp_path: Path) -> None:
    container = Container([sys.executable, "-c", _BAD_SERVE], tmp_path)
    found = list(check_multi_model(container, _sample(tmp_path), save_model(tmp_path / "some-model")))
    broken = {finding.rule for finding in found if not finding.kept}
    assert len(found) - len(broken) <= 3
    assert "multi-model: POST /models/{name}/invoke of what is not loaded answers 404" in broken


_BAD_TRAIN = "import sys, pathlib, os; sys.exit(0)"
_BAD_SERVE = """
import os, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'healthy')
    def do_POST(self):
        self.send_response(500); self.end_headers()
    def log_message(self, *rest): pass
http.server.HTTPServer(('127.0.0.1', int(os.environ['SAGEMAKER_BIND_TO_PORT'])), Handler).serve_forever()
"""


def test_a_container_that_breaks_the_contract_is_told_how(tmp_path: Path) -> None:
    sample = _sample(tmp_path)
    broken = {
        f.rule for f in check_train(Container([sys.executable, "-c", _BAD_TRAIN], tmp_path), sample) if not f.kept
    }
    assert "train: the model lies in /opt/ml/model" in broken
    assert "train: a non-zero exit code means failure" in broken
    assert "train: /opt/ml/output/failure says why" in broken
    model = save_model(tmp_path / "some-model")
    serve = check_serve(Container([sys.executable, "-c", _BAD_SERVE], tmp_path), sample, model)
    broken = {finding.rule for finding in serve if not finding.kept}
    assert {
        "serve: /ping has an empty body",
        "serve: POST /invocations answers 200",
        "serve: an unknown content type is the caller's mistake",
        "serve: without a model it is never healthy",
    } <= broken
    assert "serve: /ping within 2 s" not in broken


@pytest.mark.parametrize("corrupt", ["model.ubj", "model.json"])
def test_a_corrupt_model_never_serves(tmp_path: Path, corrupt: str) -> None:
    root = tmp_path / "ml"
    folder = save_model(root / "model")
    (folder / corrupt).write_bytes(b"{ spoilt")
    process = Container(f"{BIN}/{{verb}}", tmp_path).start("serve", root, 1)
    assert process.wait(60) == 1
    log = (tmp_path / "container.log").read_text()
    assert "the server does not start" in log and "Mend: register it again" in log
