"""A source that rests at weekends: days without a file, with files after them, are days without events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from mdlc_assets.testing import SamplePlatform, sample_labels, sample_platform
from mdlc_assets_tests.conftest import SHIPPED

pytestmark = pytest.mark.slow
_SUNDAY = date(2018, 4, 15)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamplePlatform]:
    """Three weeks of weekdays, trained on and approved."""
    content = yaml.safe_load((SHIPPED / "payments_fraud" / "defs.yaml").read_text())
    attributes = content["attributes"]
    attributes["dataset"]["quiet_days"] = True
    attributes["features"]["windows"] = attributes["features"]["windows"][:1]
    attributes["monitoring"]["closed_loop"]["slices"] = {}
    attributes["decisions"]["rules"] = attributes["decisions"]["rules"][:1]
    attributes["model"] |= {"windows": {"train_days": 7, "gap_days": 0, "test_days": 5}, "hyperparameters": {}}
    attributes["model"]["gate"] = {"floors": {}, "approval": "person"}
    path = tmp_path_factory.mktemp("declared") / "defs.yaml"
    path.write_text(yaml.safe_dump(content))
    with sample_platform(path) as found:
        days = found.days(21)
        for day in days:
            if day.weekday() < 5:
                rows = found.sample(day, 60)
                found.land(day, rows)
                found.land(day, sample_labels(found.declaration, rows, seed=day.toordinal()), "labels")
        for workflow, span in (("labels", days), ("history", days[:19]), ("train", days[18:19])):
            ran = found.run(workflow, span)
            assert ran.success, f"{workflow}: {ran.error} {ran.stopped_by}"
        assert found.approve(1).success
        yield found


def test_a_sunday_goes_through_every_stage(platform: SamplePlatform) -> None:
    week = [_SUNDAY + timedelta(days=i) for i in range(-2, 4)]
    for workflow in ("batch_inference", "monitor"):
        ran = platform.run(workflow, week)
        assert ran.success, f"{workflow}: {ran.error} {ran.stopped_by}"
    assert platform.table("batch_predictions", [_SUNDAY]).height == 0
    assert platform.table("batch_predictions", [_SUNDAY + timedelta(days=1)]).height == 60
    platform.check_windows([_SUNDAY + timedelta(days=1)])
    rules = {rule["rule"]: rule for rule in platform.document("quality_report", _SUNDAY)["rules"]}
    assert rules["volume"]["passed"]
    monday = platform.document("quality_report", _SUNDAY + timedelta(days=1))["rules"]
    assert next(rule for rule in monday if rule["rule"] == "volume")["observed"] == 1.0


def test_a_sunday_by_itself(platform: SamplePlatform) -> None:
    ran = platform.run("batch_inference", [_SUNDAY])
    assert ran.success, f"{ran.error} {ran.stopped_by}"


def test_the_newest_day_may_still_come(platform: SamplePlatform) -> None:
    ran = platform.run("history", platform.days(21)[-1:])
    assert not ran.success
    assert "No file for 2018-04-21" in ran.error


def test_without_the_word_a_missing_day_is_missing(tmp_path: Path) -> None:
    with sample_platform(SHIPPED / "payments_fraud" / "defs.yaml") as plain:
        for day in (plain.first_day, plain.first_day + timedelta(days=2)):
            plain.land(day, plain.sample(day, 10))
        ran = plain.run("history", plain.days(3))
    assert "No file for 2018-04-02" in ran.error
