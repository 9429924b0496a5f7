"""`mdlc new --anomalies` on hourly temperatures that another package ships: watched predictions without any label."""

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
def test_strange_hours_of_seattle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDLC_HOME", raising=False)
    monkeypatch.delenv("MDLC_LIFECYCLES", raising=False)
    hours = str(files("vega_datasets") / "_data" / "seattle-temps.csv")

    def mdlc(line: str, code: int = 0) -> str:
        ran = CliRunner().invoke(main, line.split())
        assert ran.exit_code == code, ran.output + str(ran.exception)
        return ran.output

    said = mdlc(f"new heat --data {hours} --anomalies --label temp --yes", code=1)
    assert "--anomalies says that there is no label" in said and "leave one of them out" in said
    assert "no label: what is usual is learnt" in mdlc(f"new heat --data {hours} --anomalies --days 40 --yes")
    declaration = Path("lifecycles/heat/defs.yaml").read_text()
    assert len(declaration.splitlines()) < 40 and "labels" not in declaration
    mdlc("run heat history train")
    mdlc("approve 1 --lifecycle heat --approver me@example.com --reason tried")
    mdlc("run heat batch_inference --first 2010-12-29 --last 2010-12-31")
    lake = embedded_resources(Home())["lake"]
    scored = lake.table("heat", "batch_predictions").read_day(date(2010, 12, 30))
    assert scored.height == 24 and scored["score"].is_between(0, 1).all()
    assert lake.documents("heat", "open_loop_report").read_document(date(2010, 12, 31))["columns"]
