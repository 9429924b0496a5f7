"""The shipped lifecycle without labels, lived through by its own demo."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mdlc_assets.definitions import embedded_resources
from mdlc_assets.demo.small import run_small_demo
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets_tests.conftest import SHIPPED

_DAYS = 28


@pytest.mark.slow
def test_what_is_strange_is_found_without_labels(tmp_path: Path) -> None:
    home, lifecycle = Home(tmp_path), load_lifecycle(SHIPPED / "pump_anomalies" / "defs.yaml")
    keys = {spec.key.path[-1] for asset in lifecycle.definitions().assets or [] for spec in asset.specs}  # type: ignore[union-attr]
    assert "batch_predictions" in keys and not keys & {"labels", "closed_loop_report"}
    assert run_small_demo(lifecycle, home, days=_DAYS)
    lake = embedded_resources(home)["lake"]
    judged = lake.documents("pump_anomalies", "evaluation")
    document = judged.read_document(judged.days()[-1])
    assert document["passed"] and document["kind"] == "none" and document["positives"] is None
    days = lake.table("pump_anomalies", "decisions").days()
    decided = lake.table("pump_anomalies", "decisions").read(days)
    looked_at = decided.filter(decision="look").join(
        lake.table("pump_anomalies", "validated").read(days).select("reading_id", "pump"), on="reading_id"
    )
    assert looked_at["pump"].value_counts(sort=True)["pump"][0] == "pump-07"
    last = lifecycle.declaration.dataset.start + timedelta(days=_DAYS - 1)
    decision = lake.documents("pump_anomalies", "retrain_decision").read_document(last)
    assert decision["verdict"] == "none" and "nobody says" in " ".join(decision["reasons"])
    page = (home.reports / "pump_anomalies" / "latest.html").read_text()
    assert "Nobody says of these events" in page and "None" not in page
