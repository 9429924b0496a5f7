"""The shipped forecast, lived through by its own demo: from landed days to monitored predictions."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from mdlc_assets.definitions import embedded_resources
from mdlc_assets.demo.small import run_small_demo
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import load_lifecycle
from mdlc_assets_tests.conftest import SHIPPED


@pytest.mark.slow
def test_demand_is_foretold_judged_and_watched(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert run_small_demo(load_lifecycle(SHIPPED / "bakery_demand" / "defs.yaml"), home, days=66)
    lake = embedded_resources(home)["lake"]
    judged = lake.documents("bakery_demand", "evaluation")
    document = judged.read_document(judged.days()[-1])
    assert document["passed"], document["reasons"]
    assert document["metrics"]["gain_over_baseline"] > 0.1
    last = date(2024, 3, 6)
    scored = lake.table("bakery_demand", "batch_predictions").read_day(last)
    assert scored.height == 40 and scored["score"].max() > 1
    realised = lake.documents("bakery_demand", "closed_loop_report").read_document(last.replace(day=5))
    assert realised["metrics"]["r2"] > 0.5 and realised["promised"]["r2"] > 0.5
    assert realised["positives"] is None
    page = (home.reports / "bakery_demand" / "latest.html").read_text()
    assert "Was the model right?" in page and "None" not in page
