"""The asset `endpoint` where it is no server of ours alone: a team's container, and one endpoint for many models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.deployment import Deployment, MultiModel, RealTime
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.multi_model import targets
from mdlc_assets.training.foreign import ForeignModel
from mdlc_assets_tests.deployment.asset_platform import DAYS, LIFECYCLE, NAME, Platform, failure, feature_rows
from mdlc_assets_tests.deployment.models import fit_model

FEATURES = LIFECYCLE.features.names()
IMAGE, SHARED = "team/scorer:1", "shared-models"
# Rows as Parquet in, a column `score` out: how much more than usual the amount is, by the weight in the model's file.
SCORER = """
import http.server, io, os, pathlib
import polars as pl
weight = float((pathlib.Path(os.environ["MDLC_ML_ROOT"]) / "model" / "weight").read_text())
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body=b"", status=200):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(status=200 if self.path == "/ping" else 404)
    def do_POST(self):
        rows = pl.read_parquet(self.rfile.read(int(self.headers["content-length"])))
        written = io.BytesIO()
        rows.select(score=1 / (1 + (-weight * pl.col("amount")).exp())).write_parquet(written)
        self.answer(written.getvalue())
    def log_message(self, *rest): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def _deployed(result: dg.ExecuteInProcessResult, name: str) -> tuple[Any, ...]:
    """(version, verdict, what the check says) of a run that passed its checks."""
    (event,) = result.asset_materializations_for_node(f"{name}__endpoint")
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert all(check.passed for check in checks.values()), checks
    said = checks["endpoint_answers"].description or ""
    return event.metadata["version"].value, event.metadata["verdict"].value, said


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform.below(tmp_path, commands={IMAGE: [sys.executable, "-c", SCORER]})
    yield made
    for endpoint in (NAME, SHARED.replace("-", "_")):
        made.endpoints.stop(endpoint)


@pytest.mark.slow
def test_a_teams_container_is_served_changed_over_and_refused(platform: Platform) -> None:
    for weight in (b"1", b"2", b"spoilt"):
        archive = packed({"weight": weight})
        platform.register("2018-04-01", ForeignModel("container", FEATURES, archive, image=IMAGE))
    platform.approve(1)
    platform.run("batch_predictions", days=DAYS[-1:])
    scored = platform.lake.table(NAME, "batch_predictions").read_day(DAYS[-1])
    amount = feature_rows(DAYS[-1])["amount"]
    assert scored["score"].to_list() == pytest.approx((1 / (1 + (-amount).exp())).to_list(), abs=1e-12)

    version, verdict, said = _deployed(platform.run("endpoint"), NAME)
    assert (version, verdict) == (1, "deployed")
    assert "differ from batch by 0.0e+00" in said
    platform.approve(2)
    version, verdict, said = _deployed(platform.run("endpoint"), NAME)
    assert (version, verdict) == (2, "deployed")
    assert said == "20 rows of 2018-05-03 got a score each; batch has not scored them by this version"

    platform.approve(3)
    text = failure(platform.run("endpoint", fails=True))
    assert "version 3 was refused" in text and "could not convert string to float" in text
    assert "Version 2 still serves" in text
    trail = [(entry["action"], entry["version"]) for entry in platform.registry.audit(NAME)]
    assert [entry for entry in trail if entry[0] != "approve"] == [
        ("deploy", 1),
        ("deploy", 2),
        ("deployment_refused", 3),
    ]


def _sharing(name: str) -> LifecycleDeclaration:
    real_time = RealTime(multi_model=MultiModel(endpoint=SHARED, most_loaded=2), health_seconds=120)
    return LIFECYCLE.model_copy(update={"name": name, "deployment": Deployment(real_time=real_time)})


def test_lifecycles_share_an_endpoint_and_change_their_own_version_only(platform: Platform, tmp_path: Path) -> None:
    cards, loans = (Platform.below(tmp_path, _sharing(name)) for name in ("cards", "loans"))
    for each in (cards, loans):
        text = failure(each.run("endpoint", fails=True))
        assert "nothing serves that was not approved" in text
    for seed in (1, 2):
        cards.register(f"2018-04-0{seed}", fit_model(seed, tuple(FEATURES)))
    loans.register("2018-04-01", fit_model(7, tuple(FEATURES)))
    cards.approve(1)
    loans.approve(1)
    client = cards.sagemaker.client("sagemaker")
    # Cards had an endpoint to itself before: that goes once the model is asked at the shared one.
    alone = Deployment(real_time=RealTime(health_seconds=120))
    replace(cards, lifecycle=cards.lifecycle.model_copy(update={"deployment": alone})).run("endpoint")
    assert [one["EndpointName"] for one in client.list_endpoints()["Endpoints"]] == ["cards"]
    for each in (cards, loans):
        version, verdict, said = _deployed(each.run("endpoint"), each.lifecycle.name)
        assert (version, verdict) == (1, "deployed")
        assert "differ from batch by 0.0e+00" in said
    before = targets(cards.sagemaker, SHARED)
    assert set(before) == {"cards", "loans"}
    assert _deployed(cards.run("endpoint"), "cards")[1] == "unchanged"

    cards.approve(2)
    version, verdict, said = _deployed(cards.run("endpoint"), "cards")
    assert (version, verdict) == (2, "deployed")
    assert "differ from batch by 0.0e+00" in said
    after = targets(cards.sagemaker, SHARED)
    assert after["loans"] == before["loans"]
    assert after["cards"].startswith("cards/v2-")
    # One endpoint, one model of SageMaker's, whatever there is behind.
    assert [one["EndpointName"] for one in client.list_endpoints()["Endpoints"]] == [SHARED]
    assert len(client.list_models()["Models"]) == len(client.list_endpoint_configs()["EndpointConfigs"]) == 1


def test_a_model_of_another_image_cannot_share(platform: Platform, tmp_path: Path) -> None:
    cards = Platform.below(tmp_path, _sharing("cards"))
    cards.register("2018-04-01", ForeignModel("container", FEATURES, packed({"weight": b"1"}), image=IMAGE))
    cards.approve(1)
    text = failure(cards.run("endpoint", fails=True))
    assert "version 1 is read by its own image only" in text and "Mend: leave multi_model out" in text
    assert cards.sagemaker.client("sagemaker").list_endpoints()["Endpoints"] == []
