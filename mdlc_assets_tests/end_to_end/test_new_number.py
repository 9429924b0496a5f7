"""A number foretold from a CSV that was not made for this project, by the commands that `mdlc new` prints."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home


@pytest.mark.slow
def test_warmth_of_seattle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDLC_HOME", raising=False)
    monkeypatch.delenv("MDLC_LIFECYCLES", raising=False)
    weather = str(files("vega_datasets") / "_data" / "seattle-weather.csv")

    def mdlc(line: str) -> None:
        ran = CliRunner().invoke(main, line.split())
        assert ran.exit_code == 0, ran.output + str(ran.exception)

    # With 60 days the gate refuses, and rightly: a model of November knows nothing of December.
    mdlc(f"new warmth --data {weather} --label temp_max --number --days 90 --yes")
    assert len(Path("lifecycles/warmth/defs.yaml").read_text().splitlines()) < 40
    mdlc("run warmth labels history train")
    mdlc("approve 1 --lifecycle warmth --approver me@example.com --reason tried")
    mdlc("run warmth batch_inference monitor --first 2015-12-29 --last 2015-12-30")
    lake = embedded_resources(Home())["lake"]
    scored = lake.table("warmth", "batch_predictions").read_day(date(2015, 12, 30))
    # Degrees, not chances.
    assert scored["score"].is_between(1, 20).all()
    assert lake.documents("warmth", "closed_loop_report").read_document(date(2015, 12, 30))["kind"] == "number"
