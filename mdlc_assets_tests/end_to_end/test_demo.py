"""The demo as a newcomer runs it, in a process of its own: the loop closes by itself."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import embedded_resources
from mdlc_assets_tests.conftest import DemoRun

pytestmark = pytest.mark.slow


def test_it_ends_well_and_tells_the_story(demo: DemoRun) -> None:
    assert demo.code == 0, demo.output[-3000:]
    for said in ("stopped:", "mended:", "alarm:", "model:", "deployed:", "Realised", "latest.html"):
        assert said in demo.output, said


def test_the_broken_day_went_no_further_until_it_was_mended(
    demo: DemoRun, payments_fraud: LifecycleDeclaration
) -> None:
    broken = _live(demo, payments_fraud)[4]
    assert re.search(rf"{broken} ■ stopped: .*account_age_days", demo.output)
    report = _lake(demo).documents(payments_fraud.name, "quality_report").read_document(broken)
    assert report["passed"] is True
    assert broken in _lake(demo).table(payments_fraud.name, "decisions").days()


def test_drift_led_to_one_retraining_and_the_new_model_is_better(
    demo: DemoRun, payments_fraud: LifecycleDeclaration
) -> None:
    lake, name = _lake(demo), payments_fraud.name
    live = _live(demo, payments_fraud)
    trained = [day for day in lake.documents(name, "evaluation").days() if day in live]
    assert len(trained) == 1, "one retraining, no storm"
    evaluation = lake.documents(name, "evaluation").read_document(trained[0])
    assert evaluation["passed"]
    metric = payments_fraud.model.gate.compare_by
    assert evaluation["metrics"][metric] > evaluation["champion"]["metrics"][metric] + 0.05

    closed = lake.documents(name, "closed_loop_report")
    before, after = (
        [closed.read_document(day) for day in live if (day > trained[0]) == late] for late in (False, True)
    )
    assert {report["model_version"] for report in after} == {evaluation["version"]}
    mean = [sum(report["metrics"][metric] for report in some) / len(some) for some in (before, after)]
    assert mean[1] > mean[0] + 0.05


def test_the_champion_is_approved_and_on_record(demo: DemoRun, payments_fraud: LifecycleDeclaration) -> None:
    registry = embedded_resources(demo.home)["registry"]
    versions = registry.history(payments_fraud.name)
    assert len(versions) == 2
    champion = registry.champion(payments_fraud.name)
    assert champion is not None
    assert int(champion.version) == max(int(version["version"]) for version in versions)


def test_the_report_is_one_file_that_asks_for_nothing(demo: DemoRun, payments_fraud: LifecycleDeclaration) -> None:
    for page in (demo.home.reports / payments_fraud.name / "latest.html", demo.home.reports / "index.html"):
        text = page.read_text()
        assert "<svg" in text
        assert not re.findall(r"""src=["'](?:https?:)?//|<link[^>]+href=["'](?:https?:)?//|@import""", text)


def test_drift_alarmed_on_its_first_day_and_each_problem_was_told_once(
    demo: DemoRun, payments_fraud: LifecycleDeclaration
) -> None:
    live = _live(demo, payments_fraud)
    opened = _lake(demo).documents(payments_fraud.name, "open_loop_report")
    before = [day for day in opened.days() if day < live[0]]
    assert len(before) == 14
    assert not any(opened.read_document(day)["alarm"] for day in before), "no false alarm"
    first = opened.read_document(live[0])
    assert "amount" in first["alarmed"]
    told = [path.name for path in (demo.home.root / "alerts" / payments_fraud.name).glob("*-new.json")]
    assert len([name for name in told if name.endswith("-inputs-new.json")]) == 1
    assert f"{live[4]}-quality-new.json" in told
    assert (demo.home.root / "alerts" / payments_fraud.name / f"{live[4]}-quality-over.json").exists()


def _lake(demo: DemoRun):  # type: ignore[no-untyped-def]
    return embedded_resources(demo.home)["lake"]


def _live(demo: DemoRun, lifecycle: LifecycleDeclaration):  # type: ignore[no-untyped-def]
    first = lifecycle.dataset.start + timedelta(days=66)
    return [first + timedelta(days=i) for i in range(14)]
