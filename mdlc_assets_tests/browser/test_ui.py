"""The Dagster UI on what the demo left, in a real browser against the real `mdlc dev`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from mdlc_assets_tests.conftest import DemoRun

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="apt-get install chromium chromium-driver"),
]
_SHOTS = Path(os.environ.get("MDLC_SCREENSHOTS", ".mdlc/screenshots"))


@pytest.fixture(scope="module")
def address(demo: DemoRun) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "mdlc"), "dev", "--port", str(port)],
        env={**os.environ, "MDLC_HOME": str(demo.home.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            if httpx.get(f"{url}/server_info").status_code == 200:
                break
        except httpx.HTTPError:
            time.sleep(0.5)
    yield url
    process.terminate()
    process.wait(timeout=60)


def test_the_asset_graph_shows_all_stages(browser: webdriver.Chrome, address: str) -> None:
    text = _open(browser, f"{address}/asset-groups", "8_integration", "graph")
    for stage in ("1_sourcing", "2_quality", "3_features", "5_training", "6_deployment", "7_monitoring"):
        assert stage in text, stage


def test_every_asset_was_materialised(browser: webdriver.Chrome, address: str) -> None:
    query = "{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }"
    nodes = httpx.post(f"{address}/graphql", json={"query": query}).json()["data"]["assetNodes"]
    assert len(nodes) > 15
    never = ["/".join(node["assetKey"]["path"]) for node in nodes if not node["assetMaterializations"]]
    never = [name for name in never if name.startswith("payments_fraud/")]
    # A backtest is for people to ask for, over days of their choice; the demo has neither stream nor service.
    online = {"online_consistency", "online_decisions", "online_open_loop_report", "stream_lag"}
    assert {name.removeprefix("payments_fraud/") for name in never} == {"backtest", *online}
    _open(browser, f"{address}/assets/payments_fraud/features?view=overview", "terminal_fraud_share", "features")


def test_a_stopped_day_says_why(browser: webdriver.Chrome, address: str) -> None:
    _open(browser, f"{address}/assets/payments_fraud/quality_report?view=checks", "account_age", "checks")


def test_sensors_can_be_switched(browser: webdriver.Chrome, address: str) -> None:
    text = _open(browser, f"{address}/automation", "payments_fraud_new_files", "automation")
    for name in ("retrain_when_asked", "deploy_approved", "daily_catch_up"):
        assert name in text


def test_the_report_reads_well(browser: webdriver.Chrome, demo: DemoRun) -> None:
    page = demo.home.reports / "payments_fraud" / "latest.html"
    for name, width in (("report", 1200), ("report_phone", 390)):
        browser.set_window_size(width, 1000)
        text = _open(browser, page.as_uri(), "payments_fraud", name)
        assert "Infinity" not in text
        assert "nan" not in text.split()
        wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"the page is {wide} px wider than a window of {width}"
    browser.set_window_size(1600, 1000)


def _open(browser: webdriver.Chrome, url: str, wanted: str, name: str) -> str:
    """Open a page, wait until it shows `wanted`, keep a screenshot, return its text."""
    browser.get(url)
    try:
        WebDriverWait(browser, 40).until(lambda b: wanted in b.find_element(By.TAG_NAME, "body").text)
    finally:
        _SHOTS.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(_SHOTS / f"{name}.png"))
    return browser.find_element(By.TAG_NAME, "body").text
