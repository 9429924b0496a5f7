"""The pages in a real browser: desktop and telephone, light and dark; nothing is asked of the network."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.front_page import front_page
from mdlc_assets.monitoring.problems import problems_of
from mdlc_assets.monitoring.report import Surroundings, render, summary
from mdlc_assets_tests.monitoring.lives import life

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="apt-get install chromium chromium-driver"),
]
_SHOTS = Path(os.environ.get("MDLC_SCREENSHOTS", ".mdlc/screenshots"))
_PAGES = ("index", "well/latest", "drifted/latest", "stopped/latest")
_WIDTHS = {"desktop": 1280, "phone": 390}

# Contrast of text with what lies behind it, after WCAG 2: relative luminance of the first colour that is not clear.
_CONTRASTS = """
const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)') return c } return getComputedStyle(document.documentElement).backgroundColor };
return [...document.querySelectorAll('h1,h2,h3,p,dd,dt,td,th,a,span,summary,figcaption,svg text')]
  .filter(e => e.textContent.trim() && e.getClientRects().length)
  .map(e => { const s = getComputedStyle(e), own = e instanceof SVGElement ? s.fill : s.color;
    const a = light(own), b = light(behind(e));
    return [e.tagName + ': ' + e.textContent.trim().slice(0, 40), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)] });
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, payments_fraud: LifecycleDeclaration) -> Path:
    """A front page over three lives, and their pages."""
    root = tmp_path_factory.mktemp("pages")
    summaries = []
    for name, made in {
        "well": life(payments_fraud),
        "drifted": life(payments_fraud, drift_from=12),
        "stopped": life(payments_fraud, stopped=True),
    }.items():
        problems = problems_of(payments_fraud, made)
        (root / name).mkdir()
        around = Surroundings("http://127.0.0.1:3000", "http://127.0.0.1:5000")
        (root / name / "latest.html").write_text(render(payments_fraud, made, problems, around))
        summaries.append({**summary(payments_fraud, made, problems), "lifecycle": name})
    (root / "index.html").write_text(front_page(summaries))
    return root


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", sorted(_WIDTHS))
@pytest.mark.parametrize("page", _PAGES)
def test_a_page_reads_well(browser: webdriver.Chrome, folder: Path, page: str, device: str, scheme: str) -> None:
    width = _WIDTHS[device]
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": device == "phone"},
    )
    browser.get_log("performance")
    address = (folder / f"{page}.html").as_uri()
    browser.get(address)

    asked = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    urls = {one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith("data:")} == {address}
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []

    wide, high = browser.execute_script(
        "return [document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight]"
    )
    assert wide <= 0, f"the page is {wide} px wider than a window of {width}"
    faint = [(text, ratio) for text, ratio in browser.execute_script(_CONTRASTS) if ratio < 4.5]
    assert faint == []
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 9, "the text of plots can be read"
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")

    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": min(high, 6_000), "deviceScaleFactor": 1, "mobile": device == "phone"},
    )
    _SHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(_SHOTS / f"{page.partition('/')[0]}_{device}_{scheme}.png"))
