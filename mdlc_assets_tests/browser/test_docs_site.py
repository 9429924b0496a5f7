"""Each page of the documentation as it is seen on a desk and on a telephone."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver

from mdlc_assets_tests.docs_site import build_site

_ROOT = Path(__file__).parent.parent.parent

# Elements that stick out of the window and cannot be moved into it, and pictures that did not load.
_WRONG = """
const wide = document.documentElement.clientWidth, wrong = [];
for (const one of document.querySelectorAll("article *")) {
  if (one.getBoundingClientRect().right <= wide + 1) continue;
  let above = one.parentElement;
  while (above && getComputedStyle(above).overflowX == "visible") above = above.parentElement;
  if (!above || above.tagName == "BODY" || above.tagName == "HTML") wrong.push(one.tagName + " " + one.textContent);
}
for (const one of document.images) if (!one.complete || !one.naturalWidth) wrong.push("picture " + one.src);
return wrong.slice(0, 5);
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs")
    build_site(folder).check_returncode()
    return folder / "site"


def _shown(browser: webdriver.Chrome, page: Path, width: int) -> None:
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_of_a_page_is_out_of_reach(browser: webdriver.Chrome, site: Path, width: int) -> None:
    shown = sorted(page for page in site.rglob("*.html") if page.name != "404.html")
    assert len(shown) > 30
    wrong: dict[str, list[str]] = {}
    for page in shown:
        _shown(browser, page, width)
        if found := browser.execute_script(_WRONG):
            wrong[page.name] = found
    assert not wrong


def test_names_in_tables_stay_whole_and_the_last_column_of_many_is_seen(browser: webdriver.Chrome, site: Path) -> None:
    _shown(browser, site / "lake_tables.html", 400)
    lines = """return [...document.querySelectorAll("td:first-child code")].map(one => one.getClientRects().length)"""
    assert set(browser.execute_script(lines)) == {1}
    _shown(browser, site / "sizing.html", 1400)
    sums = """return [...document.querySelectorAll("article table")].map(one => {
      const last = one.querySelector("th:last-child"), box = one.parentElement.getBoundingClientRect();
      return [last.textContent, last.getBoundingClientRect().right <= box.right + 1]})"""
    assert browser.execute_script(sums)[:2] == [["USD a month", True]] * 2


def test_what_a_command_says_is_read_without_moving_it(browser: webdriver.Chrome, site: Path) -> None:
    _shown(browser, site / "mistakes.html", 400)
    beyond = """return [...document.querySelectorAll(".language-text code")].filter(
      one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"""
    assert browser.execute_script(beyond) == []
