"""A day whose file is mostly broken: the real runs stop it, the sensor sees it, its page and its owner's alert come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mdlc_assets.testing import SamplePlatform, sample_platform
from mdlc_assets_tests.conftest import SHIPPED

pytestmark = pytest.mark.slow
_NAME = "payments_fraud"


@pytest.fixture(scope="module")
def platform() -> Iterator[SamplePlatform]:
    """Three good days, then one whose amounts are mostly below zero."""
    with sample_platform(SHIPPED / _NAME / "defs.yaml") as found:
        days = found.land_samples(days=4, rows=40)
        ran = found.run("history", days[:3])
        assert ran.success, ran.error
        _send_broken(found, days[3], 30)
        yield found


def _send_broken(platform: SamplePlatform, day: date, broken: int) -> None:
    rows = platform.sample(day, 40)
    below = pl.when(pl.int_range(pl.len()) < broken).then(-1.25).otherwise("amount")
    platform.land(day, rows.with_columns(amount=below))
    ran = platform.run("history", [day])
    assert not ran.success
    assert "quarantined_share" in [check for check, _ in ran.stopped_by]


def _asked(platform: SamplePlatform) -> dict[str, str]:
    """The days that the sensor asks pages for, with their run keys."""
    repository = platform.loop.definitions.get_repository_def()
    sensor = repository.get_sensor_def(f"{_NAME}_stopped_days")
    with dg.build_sensor_context(
        instance=platform.loop.instance, repository_def=repository, resources=platform.loop.resources
    ) as context:
        return {request.partition_key: request.run_key for request in sensor.evaluate_tick(context).run_requests}


def _told(platform: SamplePlatform) -> list[dict[str, Any]]:
    folder = Path(platform.home.root) / "alerts" / _NAME
    found = [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]
    return [notice for notice in found if notice.get("key") == "quality"]


def test_a_day_that_is_mostly_broken_gets_its_page_and_its_owner_is_told(platform: SamplePlatform) -> None:
    day = platform.days(4)[3]
    lake = platform.loop.resources["lake"]
    assert day not in lake.documents(_NAME, "quality_report").days(), "stopped before its report"
    assert list(_asked(platform)) == [day.isoformat()]
    ran = platform.run("report", [day])
    assert ran.success, ran.error
    page = (Path(platform.home.root) / "reports" / _NAME / f"{day}.html").read_text()
    for said in ("30 of 40 rows", "amount_min 30", "read the reasons in quarantine", "were stopped"):
        assert said in page, said
    (notice,) = _told(platform)
    assert (notice["level"], notice["owner"]) == ("bad", platform.declaration.owners.quality)
    assert "30 of 40 rows" in notice["why"]
    assert "-1.25" not in json.dumps(notice), "no value of a customer travels"


def test_a_day_that_passed_once_and_was_sent_again_broken(platform: SamplePlatform) -> None:
    day = platform.days(4)[2]
    lake = platform.loop.resources["lake"]
    assert lake.documents(_NAME, "quality_report").read_document(day)["passed"]
    assert day.isoformat() not in _asked(platform)
    _send_broken(platform, day, 20)
    assert lake.documents(_NAME, "quality_report").read_document(day)["passed"], "of the file before"
    first = _asked(platform)[day.isoformat()]
    assert platform.run("report", [day]).success
    page = (Path(platform.home.root) / "reports" / _NAME / f"{day}.html").read_text()
    assert "20 of 40 rows" in page and "were stopped" in page
    _send_broken(platform, day, 25)
    assert _asked(platform)[day.isoformat()] != first, "another broken file is told again"
    platform.land(day, platform.sample(day, 40))
    assert platform.run("history", [day]).success
    assert day.isoformat() not in _asked(platform), "mended"
