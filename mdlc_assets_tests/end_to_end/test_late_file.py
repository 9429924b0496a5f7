"""A file that comes late for an earlier day: what depends on it is marked in Dagster, and is made again."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus

from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.demo.feed import SimulatedFeed
from mdlc_assets.demo.loop import Loop, open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle

_LATE = 3
# Not quality_report: a later day keeps the verdict that it got beside what was known then.
_TABLES = ("raw", "validated", "quarantine", "feature_state", "features")


@pytest.fixture
def platform(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> Iterator[tuple[Loop, SimulatedFeed]]:
    """Ten days brought in, the fourth with four fifths of its rows only."""
    home = Home(tmp_path)
    loop, feed = open_loop(ModelLifecycle(payments_fraud), home), SimulatedFeed(home.landing, payments_fraud, 10)
    for day in feed.days:
        feed.deliver(day)
        feed.deliver_labels(day)
    path = home.landing / payments_fraud.name / "transactions" / f"{feed.days[_LATE]}.parquet"
    pl.read_parquet(path).sample(fraction=0.8, seed=1).write_parquet(path)
    _good(loop.run("labels", feed.days[0], feed.days[2]))
    _good(loop.run("history", feed.days[0], feed.days[-1]))
    yield loop, feed
    loop.instance.dispose()


def test_what_depends_on_it_is_marked_and_made_again(
    platform: tuple[Loop, SimulatedFeed], tmp_path_factory: pytest.TempPathFactory
) -> None:
    loop, feed = platform
    late, last = feed.days[_LATE], feed.days[-1]
    assert _stale(loop, "features", last) == StaleStatus.FRESH
    cursor = loop.tick()
    assert cursor == [], "what the backfill brought in is not news"

    feed.deliver(late)
    ran = loop.tick()
    assert [(run.workflow, run.partition) for run in ran] == [
        ("batch_inference", str(late)),
        ("rebuild", f"{feed.days[_LATE + 1]}...{last}"),
    ]
    # There is no champion yet to score with, and the run says so; the day's own features were made all the same.
    assert "has no champion" in ran[0].error
    assert ran[1].success, ran[1].error

    fresh = _fresh_lake(loop, tmp_path_factory.mktemp("fresh"))
    for table in _TABLES:
        assert _digests(loop, table) == {name: fresh[table][name] for name in fresh[table]}, table


def test_dagster_marks_later_days_when_an_earlier_one_changes(platform: tuple[Loop, SimulatedFeed]) -> None:
    loop, feed = platform
    feed.deliver(feed.days[_LATE])
    _good(loop.run("history", feed.days[_LATE]))
    assert _stale(loop, "features", feed.days[-1]) == StaleStatus.STALE
    assert _stale(loop, "features", feed.days[_LATE - 1]) == StaleStatus.FRESH


def test_lost_state_and_features_are_made_again_from_the_command_line(
    platform: tuple[Loop, SimulatedFeed], tmp_path: Path
) -> None:
    loop, feed = platform
    tables = ("feature_state", "features")
    before = {table: _digests(loop, table) for table in tables}
    lake = loop.resources["lake"]
    for day in feed.days[2:]:
        lake.table(loop.lifecycle.name, "feature_state").delete_day(day)
    lake.table(loop.lifecycle.name, "features").delete_day(feed.days[-1])

    mdlc = [str(Path(sys.executable).parent / "mdlc"), "--home", str(tmp_path), "features", "rebuild"]
    ran = subprocess.run([*mdlc, "payments_fraud", "--last", "2018-05-31"], capture_output=True, text=True)
    assert ran.returncode == 1
    assert f"has no validated rows. Mend: choose days between {feed.days[0]} and {feed.days[-1]}" in ran.stderr
    ran = subprocess.run([*mdlc, "payments_fraud", "--first", "2018-03-01"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert f"from {feed.days[0]} to {feed.days[-1]} are made again" in ran.stdout
    assert {table: _digests(loop, table) for table in tables} == before


def _good(ran) -> None:  # type: ignore[no-untyped-def]
    assert ran.success, ran.error


def _stale(loop: Loop, asset: str, day: date) -> StaleStatus:
    graph = loop.definitions.get_repository_def().asset_graph
    context = dg._core.loader.LoadingContextForTest(loop.instance)  # type: ignore[attr-defined]
    resolver = CachingStaleStatusResolver(loop.instance, graph, context)
    return resolver.get_status(asset_key(loop.lifecycle, asset), day.isoformat())


def _fresh_lake(loop: Loop, root: Path) -> dict[str, dict[str, str]]:
    """The same ten days, whole from the start, in a home of their own."""
    home = Home(root)
    feed = SimulatedFeed(home.landing, loop.lifecycle, 10)
    for day in feed.days:
        feed.deliver(day)
        feed.deliver_labels(day)
    fresh = open_loop(ModelLifecycle(loop.lifecycle), home)
    _good(fresh.run("labels", feed.days[0], feed.days[2]))
    _good(fresh.run("history", feed.days[0], feed.days[-1]))
    found = {table: _digests(fresh, table) for table in _TABLES}
    fresh.instance.dispose()
    return found


def _digests(loop: Loop, table: str) -> dict[str, str]:
    lake = loop.resources["lake"].table(loop.lifecycle.name, table)
    return {str(day): hashlib.sha256(lake.storage.read(lake.name_of(day))).hexdigest() for day in lake.days()}
