"""What a person does in the Dagster UI, in a real browser against the real `mdlc dev` on a small home.

The tests follow each other, as in a working day. A picture of each is kept in MDLC_SCREENSHOTS (.mdlc/screenshots).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="apt-get install chromium chromium-driver"),
]
_SHOTS = Path(os.environ.get("MDLC_SCREENSHOTS", ".mdlc/screenshots")).absolute()
_MDLC = str(Path(sys.executable).parent / "mdlc")
_SENSOR = "rain_stopped_days"
_GOOD, _BROKEN = "2015-12-30", "2015-12-31"
_LOCATION = "mdlc_assets"
_BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { status numPartitions } } } }"


@dataclass
class Ui:
    """The browser in front of the UI, and the GraphQL that says what came of a click."""

    browser: webdriver.Chrome
    address: str

    def open(self, path: str, wanted: str) -> None:
        self.browser.get(f"{self.address}{path}")
        self.see(wanted)

    def text(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "body").text

    def see(self, wanted: str) -> None:
        try:
            self.until(lambda: wanted in self.text(), wanted)
        except Exception:
            self.shot("failed")
            raise

    def until(self, true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """Wait for something true; what the page draws anew meanwhile is looked at again."""
        wait = WebDriverWait(self.browser, seconds, 0.3, ignored_exceptions=[WebDriverException])
        return wait.until(lambda _: true(), f"never: {what}")

    def find(self, words: str, tag: str = "button", among: str = "") -> WebElement:
        """The last element of a kind that shows the words and can be used: a dialog lies over the page."""
        path = f"{among}//{tag}[contains(normalize-space(.), '{words}')]"
        return self.until(
            lambda: next(
                (
                    e
                    for e in reversed(self.browser.find_elements(By.XPATH, path))
                    if e.is_displayed() and e.is_enabled()
                ),
                None,
            ),
            f"{tag} {words}",
        )

    def click(self, path: str) -> None:
        def clicked() -> bool:
            self.browser.find_element(By.XPATH, path).click()
            return True

        self.until(clicked, path)

    def shot(self, name: str) -> None:
        _SHOTS.mkdir(parents=True, exist_ok=True)
        self.browser.save_screenshot(str(_SHOTS / f"{name}.png"))

    def ask(self, query: str) -> Any:
        return httpx.post(f"{self.address}/graphql", json={"query": query}, timeout=60).json()["data"]

    def runs(self, job: str) -> list[dict[str, Any]]:
        query = (
            f'{{ runsOrError(filter: {{pipelineName: "{job}"}}) {{ ... on Runs {{ results {{ runId status }} }} }} }}'
        )
        return self.ask(query)["runsOrError"]["results"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lifecycle as `mdlc new` makes it, with a trained model that nobody has approved, and a broken last day."""
    root = tmp_path_factory.mktemp("work")
    weather = str(files("vega_datasets") / "_data" / "seattle-weather.csv")
    options = f"--data {weather} --label weather --positive rain --positive fog --days 50 --yes"
    _run(root, f"new rain {options}")
    last = root / "home" / "landing" / "rain" / "transactions" / f"{_BROKEN}.parquet"
    rows = pl.read_parquet(last)
    last.unlink()
    _run(root, "run rain labels history train")
    rows.with_columns(temp_max=pl.lit("5600")).write_parquet(last)
    return root


def _run(root: Path, line: str) -> None:
    environment = {**os.environ, "MDLC_HOME": str(root / "home")}
    ran = subprocess.run([_MDLC, *line.split()], cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def ui(browser: webdriver.Chrome, home: Path) -> Iterator[Ui]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (home / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [_MDLC, "dev", "--port", str(port), "--no-reload"],
            cwd=home,
            env={**os.environ, "MDLC_HOME": str(home / "home")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/server_info").status_code == 200
        except httpx.HTTPError:
            assert process.poll() is None, (home / "dev.log").read_text()
            return False

    WebDriverWait(browser, 90, 0.3).until(lambda _: answers())
    yield Ui(browser, address)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0


def test_an_asset_is_materialised(ui: Ui) -> None:
    ui.open("/assets/rain/drift_profile", "Owners")
    _choose_days(ui, _GOOD)
    ui.shot("work_1_materialise")
    ui.find("Launch 1 run").click()
    ui.see("Launched run")
    run = ui.until(lambda: ui.runs("__ASSET_JOB"), "a run")[0]["runId"]
    ui.until(lambda: ui.runs("__ASSET_JOB")[0]["status"] == "SUCCESS", "the run ends well")
    ui.open(f"/runs/{run}", "RUN_SUCCESS")
    ui.shot("work_1_run")


def test_a_day_that_is_stopped_says_why(ui: Ui) -> None:
    """Before the backfill: its run plans the checks anew, and the page then shows that it is planned."""
    ui.open(f"/locations/{_LOCATION}/jobs/rain_history", "Materialize")
    _choose_days(ui, _BROKEN)
    ui.find("Launch 1 run").click()
    ui.until(lambda: "FAILURE" in [run["status"] for run in ui.runs("rain_history")], "the run is stopped")
    ui.open("/assets/rain/validated?view=checks&checkDetail=quarantined_share", "Failed")
    ui.see("temp_max 5600.0 is above 80")
    ui.see("Mend: read the reasons in quarantine")
    ui.shot("work_3_check")


def test_a_range_of_days_is_filled_in_one_run(ui: Ui) -> None:
    ui.open(f"/locations/{_LOCATION}/jobs/rain_history", "Materialize")
    _choose_days(ui, "[2015-12-20...2015-12-22]")
    ui.shot("work_2_backfill")
    ui.find("Launch backfill").click()
    ui.until(lambda: ui.ask(_BACKFILLS)["partitionBackfillsOrError"]["results"], "the backfill is asked for")


def test_a_person_approves_a_model(ui: Ui) -> None:
    ui.open(f"/locations/{_LOCATION}/jobs/rain_approve/playground", "Launch Run")
    editor = "document.querySelector('.CodeMirror').CodeMirror"
    config = ui.until(lambda: ui.browser.execute_script(f"return {editor}.getValue()"), "the launchpad's config")
    for name, said in {"approver": "ann@example.com", "reason": "better than chance on days it had not seen"}.items():
        assert f"{name}: ''" in config, "what is to be filled in stands there"
        config = config.replace(f"{name}: ''", f"{name}: {said}")
    ui.browser.execute_script(f"{editor}.setValue(arguments[0])", config)
    ui.see("No errors")
    ui.shot("work_4_approve")
    ui.find("Launch Run").click()
    ui.until(lambda: [run["status"] for run in ui.runs("rain_approve")] == ["SUCCESS"], "the approval ends well")
    ui.open("/assets/rain/champion", "ann@example.com")
    ui.see("better than chance")
    ui.shot("work_4_champion")


def test_a_sensor_is_switched_on(ui: Ui) -> None:
    """On its own page: the list of automations shows only what is in sight."""
    selector = f'repositoryName: "__repository__", repositoryLocationName: "{_LOCATION}", sensorName: "{_SENSOR}"'
    query = f"{{ sensorOrError(sensorSelector: {{{selector}}}) {{ ... on Sensor {{ sensorState {{ status }} }} }} }}"

    def status() -> str:
        return ui.ask(query)["sensorOrError"]["sensorState"]["status"]

    assert status() == "STOPPED", "nothing starts by itself in a new home"
    ui.open(f"/locations/{_LOCATION}/sensors/{_SENSOR}", _SENSOR)
    ui.click("//*[@role='switch' or @type='checkbox']/..")
    ui.until(lambda: status() == "RUNNING", "the sensor runs")
    ui.shot("work_5_sensor")


def test_the_report_is_opened(ui: Ui) -> None:
    ui.open(f"/locations/{_LOCATION}/jobs/rain_batch_inference", "Materialize")
    _choose_days(ui, _GOOD)
    ui.find("Launch 1 run").click()
    ui.until(lambda: [run["status"] for run in ui.runs("rain_batch_inference")] == ["SUCCESS"], "the day is run", 120)
    ui.open("/assets/rain/daily_report", "One HTML page for the day")
    link = ui.find(f"{_GOOD}.html", "a[starts-with(@href, 'http')]")
    ui.shot("work_6_daily_report")
    ui.browser.get(link.get_attribute("href"))
    ui.see("How likely it is that weather is rain or fog")
    ui.shot("work_6_report")


def test_the_range_came_in_by_one_run(ui: Ui) -> None:
    """Last, since Dagster's daemon looks after backfills each half a minute."""
    tagged = 'runsOrError(filter: {pipelineName: "rain_history"}) { ... on Runs { results { status tags { key } } } }'

    def ended() -> list[str]:
        found = ui.ask(f"{{ {tagged} }}")["runsOrError"]["results"]
        return [run["status"] for run in found if "dagster/backfill" in [tag["key"] for tag in run["tags"]]]

    ui.until(lambda: ended() == ["SUCCESS"], "the backfill's one run ends well", 120)
    assert [found["numPartitions"] for found in ui.ask(_BACKFILLS)["partitionBackfillsOrError"]["results"]] == [3]
    ui.open("/runs?view=backfills", "3 partitions")
    ui.shot("work_2_backfills")


def _choose_days(ui: Ui, days: str) -> None:
    """Fill in the days in the dialog."""

    def opened() -> list[WebElement]:
        field = ui.browser.find_elements(By.XPATH, "//input[starts-with(@placeholder, 'ex: ')]")
        # Before it has loaded, the page takes a click for nothing; a job that never ran asks first.
        for words in () if field else ("Confirm", "Materialize"):
            found = ui.browser.find_elements(By.XPATH, f"//button[contains(normalize-space(.), '{words}')]")
            if found:
                found[0].click()
                break
        return field

    field = ui.until(opened, "the dialog for days")[-1]
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(days, Keys.TAB)
