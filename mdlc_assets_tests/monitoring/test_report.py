"""Pages and problems of lives in memory: what they say, that they ask for nothing, that nothing is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.front_page import front_page
from mdlc_assets.monitoring.problems import Figures, not_judged, problems_of
from mdlc_assets.monitoring.report import Surroundings, render, summary
from mdlc_assets_tests.monitoring.lives import FIRST, life

_AROUND = Surroundings("http://127.0.0.1:3000", "http://127.0.0.1:5000")


@pytest.fixture(scope="module")
def lives(payments_fraud: LifecycleDeclaration) -> dict[str, Figures]:
    return {
        "well": life(payments_fraud),
        "drifted": life(payments_fraud, drift_from=12),
        "stopped": life(payments_fraud, stopped=True),
    }


def test_all_is_well(payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]) -> None:
    assert problems_of(payments_fraud, lives["well"]) == []
    page = render(payments_fraud, lives["well"], [], _AROUND)
    assert "Nothing has to be done." in page
    assert "promised 0.700" in page


def test_drift_that_harms_says_what_since_when_and_what_to_do(
    payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]
) -> None:
    found = lives["drifted"]
    problems = problems_of(payments_fraud, found)
    assert [problem.key for problem in problems] == ["performance", "scores", "inputs"]
    began = str(FIRST + timedelta(days=12))
    assert [problem.since for problem in problems] == [began] * 3
    assert "labelled days to learn from" in problems[0].why
    page = render(payments_fraud, found, problems, _AROUND)
    for said in (began, "team:fraud-science", "amount moved: mean", "alarm since", "terminals_with_fraud"):
        assert said in page, said


def test_nothing_realised_draws_no_empty_plot(payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]) -> None:
    title = "realised, promised, estimated"
    assert title in render(payments_fraud, lives["well"], [], _AROUND)
    opened = {day: {**said, "estimated": None} for day, said in lives["well"].open_loop.items()}
    page = render(payments_fraud, replace(lives["well"], closed_loop={}, open_loop=opened), [], _AROUND)
    assert title not in page
    assert "1970" not in page
    assert "Rows a day" in page


def test_the_estimate_falls_before_labels_show_it(lives: dict[str, Figures]) -> None:
    opened = lives["drifted"].open_loop
    before, at_once = (opened[FIRST + timedelta(days=i)]["estimated"]["metrics"] for i in (11, 12))
    assert at_once["average_precision"] < before["average_precision"] - 0.1


def test_a_stopped_day_has_a_page_that_names_the_mend(
    payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]
) -> None:
    found = lives["stopped"]
    assert not_judged(found) == {"scores", "inputs", "performance", "calibration", "online_scores", "online_inputs"}
    problems = problems_of(payments_fraud, found)
    assert [(problem.key, problem.level, problem.owner) for problem in problems] == [
        ("quality", "bad", "team:payments-data")
    ]
    page = render(payments_fraud, found, problems, _AROUND)
    assert "Mend: ask the accounts team to send the file again" in page
    assert "nothing was scored" in page


def test_a_warning_says_since_when_its_rule_is_broken(
    payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]
) -> None:
    found = lives["well"]
    quality = dict(found.quality)
    # Another rule warned the day before it began; that is another story.
    for ago, name in ((0, "amount_usual"), (1, "amount_usual"), (2, "rows_usual")):
        day = found.day - timedelta(days=ago)
        warned = {**quality[day]["rules"][0], "rule": name, "severity": "warn", "passed": False, "text": "unusual."}
        quality[day] = {**quality[day], "rules": [warned]}
    (problem,) = problems_of(payments_fraud, replace(found, quality=quality))
    assert (problem.key, problem.since) == ("quality_warning", str(found.day - timedelta(days=1)))


def test_alerts_hold_no_example_of_a_customer(payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]) -> None:
    found = lives["stopped"]
    report = found.quality[found.day]
    examples = ["customer_id 17: 364, 54, 54", "customer_id 18: 9, 9"]
    text = f"ages must grow. For instance {'; '.join(examples)}. Mend: send the file again."
    rule = {**report["rules"][0], "text": text, "examples": examples}
    (problem,) = problems_of(
        payments_fraud, replace(found, quality={**found.quality, found.day: {**report, "rules": [rule]}})
    )
    assert problem.why == "account_age_grows: ages must grow. Mend: send the file again."


def test_pages_are_whole_in_themselves(payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]) -> None:
    pages = [render(payments_fraud, found, problems_of(payments_fraud, found), _AROUND) for found in lives.values()]
    pages.append(front_page([summary(payments_fraud, found, []) for found in lives.values()]))
    for page in pages:
        assert page.count("<svg") >= 2
        assert not re.findall(r"""src=|@import|url\((?!#)|<link rel="stylesheet""", page)
        asked = [address for address in re.findall(r"""href="([^"]+)""", page) if address.startswith("http")]
        assert all(address.startswith("http://127.0.0.1:") for address in asked)
        text = re.sub(r"<style.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
        assert not re.findall(r"\b(nan|None|inf|Undefined)\b", text)


def test_links_lead_to_run_asset_and_version(payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]) -> None:
    page = render(payments_fraud, lives["well"], [], Surroundings("http://d", "http://m", [FIRST, lives["well"].day]))
    for address in (
        "http://d/runs/0000",
        "http://d/assets/payments_fraud/open_loop_report?partition=2018-06-26",
        "http://d/assets/payments_fraud/closed_loop_report?partition=2018-06-19",
        "http://m/#/models/payments_fraud/versions/1",
        "2018-06-01.html",
    ):
        assert f'href="{address}"' in page, address


def test_the_front_page_puts_the_worst_first(payments_fraud: LifecycleDeclaration, lives: dict[str, Figures]) -> None:
    summaries = [
        {**summary(payments_fraud, found, problems_of(payments_fraud, found)), "lifecycle": name}
        for name, found in lives.items()
    ]
    page = front_page(summaries)
    order = [page.index(f'href="{name}/latest.html"') for name in ("drifted", "stopped", "well")]
    assert order == sorted(order)
    assert "3 in all: 2 to act on, 1 well" in page
    assert "No lifecycle has a report yet" in front_page([])
