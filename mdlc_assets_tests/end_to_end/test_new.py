"""From a CSV that was not made for this project to a monitored model, by the commands that `mdlc new` prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home


@pytest.mark.slow
def test_weather_of_seattle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDLC_HOME", raising=False)
    monkeypatch.delenv("MDLC_LIFECYCLES", raising=False)
    weather = str(files("vega_datasets") / "_data" / "seattle-weather.csv")

    def mdlc(line: str, *more: str) -> str:
        ran = CliRunner().invoke(main, [*line.split(), *more])
        assert ran.exit_code == 0, ran.output + str(ran.exception)
        return ran.output

    said = mdlc(f"new rain --data {weather} --label weather --positive rain --positive fog --days 55 --yes")
    following = [line.strip().removeprefix("mdlc ") for line in said.split("Next:")[1].strip().splitlines()]
    assert len(Path("lifecycles/rain/defs.yaml").read_text().splitlines()) < 40

    assert mdlc(following[0]).count("done") == 3
    approve, _, reason = following[1].partition(" --reason ")
    assert "Version 1 of rain is the champion" in mdlc(
        f"{approve} --approver me@example.com", "--reason", reason.strip('"')
    )
    # A page for each day takes a second: two of the week are enough here.
    assert mdlc(following[2].replace("--first 2015-12-24", "--first 2015-12-29")).count("done") == 2

    home, last = Home(), date(2015, 12, 30)
    lake = embedded_resources(home)["lake"]
    scored = lake.table("rain", "batch_predictions").read_day(last)
    assert scored["score"].is_between(0, 1).all()
    realised = lake.documents("rain", "closed_loop_report").read_document(last)
    assert realised, "labels of the day were held against its scores"
    assert (home.reports / "rain").is_dir()
    assert "rain" in (home.reports / "index.html").read_text()


@pytest.mark.slow
def test_the_tests_that_are_written_pass_and_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDLC_HOME", str(tmp_path / "home"))
    weather = str(files("vega_datasets") / "_data" / "seattle-weather.csv")
    into = tmp_path / "lifecycles"
    options = f"--data {weather} --into {into} --label weather --positive rain --positive fog --days 60 --yes"
    assert CliRunner().invoke(main, ["new", "rain", *options.split()]).exit_code == 0
    broken = into / "broken"
    shutil.copytree(into / "rain", broken)
    text = (broken / "defs.yaml").read_text()
    assert "wind: wind," in text
    # A feature with gaps: the declaration is good, and its model would never train.
    (broken / "defs.yaml").write_text(text.replace("wind: wind,", "wind: nullif(wind, wind),"))
    (broken / "test_rain.py").rename(broken / "test_broken.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "-rA", str(into)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=into)
    assert "FAILED broken/test_broken.py::test_good_days_become_features" in ran.stdout
    assert ran.stdout.count("PASSED rain/test_rain.py") == 2, ran.stdout
