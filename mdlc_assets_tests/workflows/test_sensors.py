"""The sensors, ticked on a real instance: what they ask for, and what they say when they ask for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import build_definitions, embedded_resources
from mdlc_assets.demo.feed import SimulatedFeed
from mdlc_assets.demo.loop import open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle

_NAME = "payments_fraud"


class Ticker:
    """Ticks a sensor or schedule of the shipped lifecycle below a folder of its own."""

    def __init__(self, root: Path, lifecycle: LifecycleDeclaration, instance: dg.DagsterInstance) -> None:
        self.home = Home(root)
        self.resources = embedded_resources(self.home)
        definitions = build_definitions([ModelLifecycle(lifecycle)], home=self.home)
        self.repository = definitions.get_repository_def()
        self.instance = instance

    def sensor(self, name: str, cursor: str | None = None) -> Any:
        sensor = self.repository.get_sensor_def(f"{_NAME}_{name}")
        with dg.build_sensor_context(
            instance=self.instance, cursor=cursor, repository_def=self.repository, resources=self.resources
        ) as context:
            return sensor.evaluate_tick(context)

    def schedule(self, at: datetime) -> Any:
        schedule = self.repository.get_schedule_def(f"{_NAME}_daily_catch_up")
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=at,
            repository_def=self.repository,
            resources=self.resources,
        ) as context:
            return schedule.evaluate_tick(context)


@pytest.fixture
def ticker(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> Iterator[Ticker]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Ticker(tmp_path, payments_fraud, instance)


def _asked(tick: Any) -> list[tuple[str, str]]:
    return [(request.job_name.removeprefix(f"{_NAME}_"), request.partition_key) for request in tick.run_requests]


def test_new_replaced_and_late_files(ticker: Ticker, payments_fraud: LifecycleDeclaration) -> None:
    feed = SimulatedFeed(ticker.home.landing, payments_fraud, 10)
    first = feed.days[0]
    empty = ticker.sensor("new_files")
    assert empty.run_requests == []
    assert empty.skip_message == "No new file has arrived."

    for day in feed.days[:3]:
        feed.deliver(day)
    tick = ticker.sensor("new_files", empty.cursor)
    assert _asked(tick) == [("batch_inference", str(day)) for day in feed.days[:3]]
    assert ticker.sensor("new_files", tick.cursor).run_requests == []

    feed.deliver(first, drift=1.1)
    again = ticker.sensor("new_files", tick.cursor)
    assert _asked(again)[:1] == [("batch_inference", str(first))]
    rebuild = again.run_requests[1]
    assert rebuild.job_name == f"{_NAME}_rebuild"
    assert rebuild.tags["dagster/asset_partition_range_end"] == str(feed.days[2])
    assert again.run_requests[0].run_key != tick.run_requests[0].run_key

    feed.deliver_labels(first)
    feed.deliver(feed.days[8])
    waiting = ticker.sensor("new_files", again.cursor)
    assert _asked(waiting) == [("monitor", str(first))]
    waiting = ticker.sensor("new_files", waiting.cursor)
    assert waiting.run_requests == []
    assert "waits for the labels of 2018-04-02" in waiting.skip_message
    feed.deliver_labels(feed.days[1])
    assert _asked(ticker.sensor("new_files", waiting.cursor)) == [
        ("monitor", str(feed.days[1])),
        ("batch_inference", str(feed.days[8])),
    ]


@pytest.mark.slow
def test_days_that_overtook_a_killed_run_are_run_again(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    home = Home(tmp_path)
    feed = SimulatedFeed(home.landing, payments_fraud, 4)
    loop = open_loop(ModelLifecycle(payments_fraud), home)
    ticker = Ticker(tmp_path, payments_fraud, loop.instance)
    ready, killed, second, third = feed.days
    for day in feed.days:
        feed.deliver(day)
    tick = ticker.sensor("new_files")
    assert len(tick.run_requests) == 4

    def features() -> list[date]:
        return ticker.resources["lake"].table(_NAME, "features").days()

    def asked_again() -> list[tuple[str, str]]:
        return _asked(ticker.sensor("new_files", tick.cursor))

    # There is no champion yet, so runs end after the features; the one of the second day is killed before it begins.
    loop.run("batch_inference", ready)
    for day in (second, third):
        assert f"has no data for {killed}" in loop.run("batch_inference", day).error
        assert asked_again() == [], "it would fail again"
    assert features() == [ready]
    loop.run("batch_inference", killed)
    assert asked_again() == [("batch_inference", str(second))], "the third follows from the second"
    loop.run("batch_inference", second)
    assert asked_again() == [("batch_inference", str(third))]
    loop.run("batch_inference", third)
    assert asked_again() == []
    assert features() == feed.days


def test_what_a_backfill_brought_in_is_not_news(ticker: Ticker, payments_fraud: LifecycleDeclaration) -> None:
    feed = SimulatedFeed(ticker.home.landing, payments_fraud, 3)
    for day in feed.days:
        feed.deliver(day)
    lake = ticker.resources["lake"]
    for day in feed.days[:2]:
        lake.table(_NAME, "raw").write_day(day, pl.DataFrame({"a": [1]}))
    assert _asked(ticker.sensor("new_files")) == [("batch_inference", str(feed.days[2]))]


def test_retraining_is_asked_for_once(ticker: Ticker) -> None:
    lake, day = ticker.resources["lake"], date(2018, 6, 20)
    assert "No retrain_decision" in ticker.sensor("retrain_when_asked").skip_message
    documents = lake.documents(_NAME, "retrain_decision")
    documents.write_document(day, {"verdict": "wait", "reasons": ["3 of 5 labelled days"]})
    assert ticker.sensor("retrain_when_asked").skip_message == "2018-06-20: wait. 3 of 5 labelled days"
    documents.write_document(day, {"verdict": "recalibrate", "reasons": ["1.5 times"]})
    assert ticker.sensor("retrain_when_asked").skip_message == "2018-06-20: recalibrate. 1.5 times"
    documents.write_document(day, {"verdict": "retrain", "reasons": ["it fell"]})
    (request,) = ticker.sensor("retrain_when_asked").run_requests
    assert (request.partition_key, request.tags["mdlc/reason"]) == (str(day), "it fell")
    lake.documents(_NAME, "evaluation").write_document(day, {"passed": False})
    assert "was trained already" in ticker.sensor("retrain_when_asked").skip_message


def test_a_stopped_day_gets_its_page_once(ticker: Ticker) -> None:
    reports = ticker.resources["lake"].documents(_NAME, "quality_report")
    assert "Quality stopped none" in ticker.sensor("stopped_days").skip_message
    for i, passed in enumerate((False, True, True, False)):
        reports.write_document(date(2018, 6, 10 + i), {"passed": passed, "rows": i})
    (request,) = ticker.sensor("stopped_days").run_requests
    assert request.partition_key == "2018-06-13"
    (again,) = ticker.sensor("stopped_days").run_requests
    assert again.run_key == request.run_key
    reports.write_document(date(2018, 6, 13), {"passed": False, "rows": 9})
    (other,) = ticker.sensor("stopped_days").run_requests
    assert other.run_key != request.run_key, "another file that is stopped too is told again"


def test_nothing_is_deployed_before_an_approval(ticker: Ticker) -> None:
    assert ticker.sensor("deploy_approved").skip_message == "No version has been approved yet."


def test_the_schedule_asks_only_for_what_is_missing(ticker: Ticker, payments_fraud: LifecycleDeclaration) -> None:
    morning = datetime(2018, 4, 2, 9)
    assert "No file for 2018-04-01" in ticker.schedule(morning).skip_message
    SimulatedFeed(ticker.home.landing, payments_fraud, 1).deliver(date(2018, 4, 1))
    (request,) = ticker.schedule(morning).run_requests
    assert request.partition_key == "2018-04-01"
    ticker.resources["lake"].table(_NAME, "decisions").write_day(date(2018, 4, 1), pl.DataFrame({"a": [1]}))
    assert "done already" in ticker.schedule(morning).skip_message
    assert "ended on 2018-08-31" in ticker.schedule(morning + timedelta(days=400)).skip_message
