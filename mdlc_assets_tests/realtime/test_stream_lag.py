"""The asset `stream_lag`, and days that the batch path leaves alone while a stream writes them."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import build_definitions
from mdlc_assets.lifecycle import ModelLifecycle
from mdlc_assets.realtime.assets import stream_definitions
from mdlc_assets.realtime.stream_lag import look_at_stream
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.streams.resource import Streams
from mdlc_assets.workflows.settling import settled
from mdlc_assets_tests.realtime.streaming import DAY, Place, entries, event


@pytest.fixture
def place(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> Place:
    return Place(tmp_path, payments_fraud)


def _materialize(place: Place) -> tuple[dict[str, object], dict[str, dg.AssetCheckEvaluation]]:
    (asset,) = stream_definitions(place.lifecycle).assets or ()
    resources = {"streams": Streams(root=str(place.home.streams)), "landing": LandingZone(root=str(place.home.landing))}
    ran = dg.materialize([asset], resources=resources)  # type: ignore[list-item]
    (made,) = ran.get_asset_materialization_events()
    metadata = {name: value.value for name, value in made.materialization.metadata.items()}
    return metadata, {check.check_name: check for check in ran.get_asset_check_evaluations()}


def test_the_asset_says_how_late_what_was_read_and_what_could_not_be(place: Place) -> None:
    assert all(check.passed for check in _materialize(place)[1].values())
    place.stream().put(entries([*(event(i) for i in range(10)), b"poison"]))
    place.worker().run(until_empty=True)
    metadata, checks = _materialize(place)
    assert (metadata["events"], metadata["lag_seconds"], metadata["dead letters today"]) == (10, 0.0, 1)
    assert metadata["events through"] == "2018-06-01T08:00:09+00:00"
    assert "data:image/" in str(metadata["lag by shard"]) and "| nobody | 10 |" in str(metadata["shards"])
    assert checks["lag"].passed and not checks["dead_letters"].passed
    assert "1 not_json" in str(checks["dead_letters"].description)


def test_the_schedules_job_looks_at_the_stream(place: Place) -> None:
    place.stream().put(entries([event(1), event(2)]))
    place.worker().run(until_empty=True)
    repository = build_definitions([ModelLifecycle(place.lifecycle)], home=place.home).get_repository_def()
    schedule = repository.get_schedule_def("payments_fraud_stream_lag")
    with dg.DagsterInstance.ephemeral() as instance:
        with dg.build_schedule_context(instance=instance, repository_def=repository) as context:
            assert len(schedule.evaluate_tick(context).run_requests or ()) == 1
        ran = repository.get_job(schedule.job_name).execute_in_process(instance=instance)
    (made,) = ran.asset_materializations_for_node("payments_fraud__stream_lag")
    assert made.metadata["events"].value == 2


def test_who_declares_no_stream_has_nothing_to_look_at(place: Place) -> None:
    silent = place.lifecycle.model_copy(update={"stream": None})
    definitions = build_definitions([ModelLifecycle(silent)], home=place.home)
    repository = definitions.get_repository_def()
    named = {spec.key.path[-1] for spec in definitions.resolve_all_asset_specs()}
    named |= {job.name for job in repository.get_all_jobs()} | {one.name for one in repository.schedule_defs}
    assert "payments_fraud_online_day" in named
    assert not [name for name in named if "stream" in name]


def test_a_stream_that_nobody_reads_is_late(place: Place) -> None:
    place.stream().put(entries([event(1)]))
    letters = place.handler().dead_letters
    now = datetime.now(UTC) + timedelta(minutes=6)
    found = look_at_stream(place.stream(), place.checkpoints(), letters, now)
    assert found.lag > timedelta(minutes=5, seconds=59)
    assert found.late(timedelta(minutes=5)) == ["shard-0000 is 360 s behind, unread"]
    place.worker().run(until_empty=True)
    assert look_at_stream(place.stream(), place.checkpoints(), letters, now).late(timedelta(minutes=5)) == []


def test_a_day_is_taken_when_it_is_over_and_quiet(place: Place) -> None:
    place.stream().put(entries([event(i) for i in range(3)]))
    place.worker().run(until_empty=True)
    other = place.home.landing / "payments_fraud" / "transactions" / "2018-06-02.parquet"
    other.write_bytes(b"a file that somebody sent")
    midnight = datetime(2018, 6, 2, tzinfo=UTC)

    def taken(now: datetime, arrived: datetime, known: dict[date, str] | None = None) -> dict[date, str]:
        for file in other.parent.rglob("stream-*.jsonl"):
            os.utime(file, (arrived.timestamp(), arrived.timestamp()))
        feed = LandingZone(root=str(place.home.landing)).feed("payments_fraud", "transactions")
        return settled(place.lifecycle, feed, now, known or {})

    minute, settle = timedelta(minutes=1), timedelta(minutes=15)
    before = midnight - timedelta(hours=3)
    # Files that others send are taken at once.
    assert date(2018, 6, 2) in taken(midnight - minute, before)
    assert DAY not in taken(midnight - minute, before)
    assert DAY not in taken(midnight + settle - minute, before)
    assert DAY in taken(midnight + settle, before)
    # A late event puts it off again, and until then the day stands as it was known.
    late = midnight + timedelta(hours=5)
    assert DAY not in taken(late + minute, late)
    assert taken(late + minute, late, {DAY: "before"})[DAY] == "before"
    assert taken(late + settle, late, {DAY: "before"})[DAY] not in ("", "before")
