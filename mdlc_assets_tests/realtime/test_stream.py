"""The stream's worker: what it does with good records and bad, with other workers, and while something is away."""

from __future__ import annotations

import logging
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import StoreAwayError
from mdlc_assets.realtime.stream_worker import StreamWorker
from mdlc_assets_tests.realtime.streaming import QUICK, Place, entries, entry, event, ids_of


@pytest.fixture
def place(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> Place:
    return Place(tmp_path, payments_fraud)


def _wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


class Unsteady:
    """The real online features, which fail as a test wants them to."""

    def __init__(self, place: Place, fails: Callable[[pl.DataFrame], Exception | None]) -> None:
        self.online, self.fails, self.asked = place.online(), fails, 0

    def learn(self, events: pl.DataFrame) -> None:
        self.asked += 1
        error = self.fails(events)
        if error is not None:
            raise error
        self.online.learn(events)


def test_events_land_and_are_learnt_and_a_second_worker_finds_nothing(place: Place) -> None:
    place.stream().put(entries([event(i) for i in range(100)]))
    done = place.worker().run(until_empty=True)
    assert (done.landed, done.learnt, done.dead) == (100, 100, Counter())
    assert done.event_time == "2018-06-01T08:01:39+00:00"
    assert ids_of(place.raw()) == place.learnt() == list(range(100))
    assert place.worker().run(until_empty=True).landed == 0
    (shard,) = place.checkpoints().entries().values()
    assert (shard.owner, shard.after, shard.progress.events) == ("", "100", 100)
    assert place.checkpoints().workers() == []


def test_poison_amid_a_batch_is_put_aside_and_the_rest_goes_on(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    bad = [b"no event 4711", event(901, event_time="4711"), event(902, other=4711), event(903, terminal_id="\ud800")]
    contents: list[Any] = [event(i) for i in range(40)]
    for number, content in enumerate(bad):
        contents.insert(7 * number + 3, content)
    # It lands, for quality to put into quarantine, and is not learnt.
    contents.append(event(50, amount=-4711.0))
    place.stream().put(entries(contents))
    with caplog.at_level(logging.DEBUG):
        done = place.worker().run(until_empty=True)
    assert done.dead == {"not_json": 1, "no_time": 1, "columns": 1, "failed": 1}
    assert ids_of(place.raw()) == [*range(40), 50]
    assert place.learnt() == list(range(40))
    letters = place.handler().dead_letters
    (day,) = letters.days()
    found = letters.of_day(day)
    assert [letter.record.data for letter in found] == [entry(content)[1] for content in bad]
    assert [int(letter.record.sequence) for letter in found] == [4, 11, 18, 25]
    assert "4711" not in "".join(letter.reason for letter in found) + caplog.text


def test_one_record_that_fails_in_the_store_is_found_by_halves(place: Place) -> None:
    def fails(events: pl.DataFrame) -> Exception | None:
        return ValueError("it holds 13") if 13 in events["transaction_id"] else None

    place.stream().put(entries([event(i) for i in range(20)]))
    done = place.worker(Unsteady(place, fails)).run(until_empty=True)
    assert done.dead == {"failed": 1}
    assert place.learnt() == [i for i in range(20) if i != 13]
    letters = place.handler().dead_letters
    (letter,) = letters.of_day(letters.days()[0])
    assert letter.record.data == entry(event(13))[1] and "13" not in letter.reason


def test_while_the_store_is_away_nothing_is_marked_and_nothing_is_lost(place: Place) -> None:
    away = threading.Event()
    away.set()
    unsteady = Unsteady(place, lambda events: StoreAwayError("away") if away.is_set() else None)
    place.stream().put(entries([event(i) for i in range(50)]))
    worker = place.worker(unsteady)
    thread = threading.Thread(target=worker.run, kwargs={"until_empty": True})
    thread.start()
    # Longer than a lease: it must be kept all the while.
    began = time.monotonic()
    _wait(lambda: unsteady.asked > 3 and time.monotonic() - began > 1.5 * QUICK.lease)
    (shard,) = place.checkpoints().entries().values()
    assert (shard.after, shard.owner) == (None, worker.owner) and shard.until > time.time()
    # Bounded: no more than the batch at hand has been read.
    assert ids_of(place.raw()) == list(range(20))
    away.clear()
    thread.join(30)
    assert ids_of(place.raw()) == place.learnt() == list(range(50))
    assert worker.meters.pauses.labels("effects")._value.get() > 3


def test_told_to_stop_it_leaves_in_the_midst_of_waiting(place: Place) -> None:
    unsteady = Unsteady(place, lambda events: StoreAwayError("away"))
    place.stream().put(entries([event(1)]))
    worker = place.worker(unsteady)
    thread = threading.Thread(target=worker.run)
    thread.start()
    _wait(lambda: unsteady.asked > 1)
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()
    (shard,) = place.checkpoints().entries().values()
    assert (shard.after, shard.owner) == (None, "")
    assert place.worker().run(until_empty=True).learnt == 1


def test_two_workers_share_the_shards_and_a_dead_ones_are_taken_over(
    tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    place = Place(tmp_path, payments_fraud, shards=4)
    one, two = place.worker(owner="one"), place.worker(owner="two")
    threads = [threading.Thread(target=worker.run) for worker in (one, two)]

    def held() -> Counter[str]:
        return Counter(entry.owner for entry in place.checkpoints().entries().values())

    threads[0].start()
    _wait(lambda: held() == {"one": 4})
    place.stream().put(entries([event(i) for i in range(200)]))
    threads[1].start()
    _wait(lambda: held() == {"one": 2, "two": 2})
    place.stream().put(entries([event(i) for i in range(200, 400)]))
    _wait(lambda: len(place.learnt()) == 400)
    one._leave = lambda: None  # type: ignore[method-assign] - as if it had been killed
    one.stop()
    threads[0].join(30)
    place.stream().put(entries([event(i) for i in range(400, 600)]))
    _wait(lambda: held() == {"two": 4} and len(place.learnt()) == 600)
    two.stop()
    threads[1].join(30)
    assert ids_of(place.raw()) == list(range(600))


def test_who_sleeps_through_its_lease_marks_nothing_any_more(place: Place) -> None:
    place.stream().put(entries([event(i) for i in range(10)]))
    other: list[StreamWorker] = []

    def sleep_once(events: pl.DataFrame) -> None:
        if not other:
            time.sleep(1.2 * QUICK.lease)
            other.append(place.worker(owner="awake"))
            assert other[0].run(until_empty=True).learnt == 10

    done = place.worker(Unsteady(place, sleep_once), owner="asleep").run(until_empty=True)
    assert done.landed == 0
    assert ids_of(place.raw()) == place.learnt() == list(range(10))
    (shard,) = place.checkpoints().entries().values()
    assert shard.progress.events == 10


def test_children_of_a_shard_wait_for_it(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    place = Place(tmp_path, payments_fraud, shards=2)
    stream = place.stream()
    stream.put(entries([event(i) for i in range(60)]))
    stream.reshard(3)
    stream.put(entries([event(i) for i in range(60, 120)]))
    seen: list[int] = []
    watched = Unsteady(place, lambda events: seen.extend(events["transaction_id"]))
    place.worker(watched).run(until_empty=True)
    for customer in range(7):
        own = [number for number in seen if number % 7 == customer]
        assert own == sorted(own) and len(own) > 10
    assert sorted(seen) == list(range(120))
    # Those who come later know that the parents were read.
    assert place.worker().run(until_empty=True).landed == 0


def test_its_numbers_can_be_scraped(place: Place) -> None:
    place.stream().put(entries([event(1), b"poison"]))
    worker = place.worker()
    port = worker.meters.serve(0)
    worker.run(until_empty=True)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        said = answer.read().decode()
    for line in (
        'mdlc_stream_lag_ms{shard="shard-0000"} 0.0',
        "mdlc_stream_events_total 1.0",
        "mdlc_stream_learnt_total 1.0",
        'mdlc_stream_dead_letters_total{kind="not_json"} 1.0',
    ):
        assert line in said


def test_by_command_a_file_goes_through_and_mended_letters_go_back(
    tmp_path: Path, payments_fraud: LifecycleDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDLC_HOME", str(tmp_path))

    def run(*words: str) -> str:
        ran = CliRunner().invoke(main, ["stream", *words])
        said.append(ran.exit_code)
        return ran.output

    said: list[int] = []
    place = Place(tmp_path, payments_fraud)
    good = pl.DataFrame([event(i) for i in range(30)]).with_columns(
        pl.col("event_time").str.to_datetime(time_zone="UTC")
    )
    good.write_parquet(tmp_path / "some.parquet")
    assert "30 records" in run("put", "payments_fraud", str(tmp_path / "some.parquet"))
    place.stream().put(entries([b"hopeless", event(30, event_time="never")]))
    assert "30 events landed, 30 learnt; put aside: 1 no_time, 1 not_json" in run("payments_fraud", "--until-empty")
    assert "not_json: this is not one JSON object" in run("dead", "payments_fraud")
    assert "0 put back, 2 left" in run("redrive", "payments_fraud")
    (file,) = (place.home.landing / "payments_fraud" / "dead_letter").rglob("*.jsonl")
    file.write_text(file.read_text().replace("never", "2018-06-01T09:00:00Z"))
    assert "1 put back, 1 left" in run("redrive", "payments_fraud")
    assert "1 events landed" in run("read", "payments_fraud", "--until-empty")
    assert said == [0, 0, 0, 1, 1, 0]
    assert ids_of(place.raw()) == place.learnt() == list(range(31))
