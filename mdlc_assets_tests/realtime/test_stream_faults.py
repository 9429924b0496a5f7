"""The stream under faults: whatever happens, raw is what was sent, and the store is what one quiet reading makes it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets_tests.realtime.streaming import Place, entries, event, ids_of

_KILLS = 50


class Nursery:
    """Lets workers loose, and ends them."""

    def __init__(self, place: Place) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mdlc_assets_tests.realtime.killed_worker", str(place.home.root), str(place.shards)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, what: str = "go on") -> int:
        """A new worker's process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return int(self._line("ready"))

    def drained(self) -> int:
        """How a worker ended that reads what is left, which may be nothing, and goes."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("drain\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return int(line.split()[1]) if line.startswith("ended") else self.ended()

    def ended(self) -> int:
        """How the worker ended: 0, or the signal with a minus."""
        return int(self._line("ended"))

    def close(self) -> None:
        """Ends it with its workers: one that is left would read on for good."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def _line(self, word: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(word), f"a worker said {line!r} in the place of {word}"
        return line.split()[1]


def state_of(place: Place) -> list[Any]:
    """All that the online store holds, in order."""
    connection = sqlite3.connect(place.home.root / "online" / "store.db")
    items = "SELECT name, entity, key, data, mark FROM items JOIN partitions ON number = partition ORDER BY 1, 2, 3"
    locators = "SELECT id, instant, due, places, label, known_at FROM locators ORDER BY id"
    found = [*connection.execute(items), *connection.execute(locators)]
    connection.close()
    return found


def quiet_state(tmp_path: Path, lifecycle: LifecycleDeclaration, contents: list[dict[str, Any]]) -> list[Any]:
    """What the store holds when nothing happens."""
    place = Place(tmp_path / "quiet", lifecycle)
    place.stream().put(entries(contents))
    place.worker().run(until_empty=True)
    return state_of(place)


@pytest.mark.slow
def test_fifty_times_killed_loses_and_doubles_nothing(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    place, generator = Place(tmp_path / "killed", payments_fraud, shards=2), random.Random(7)
    contents = [event(i) for i in range(12_000)]
    records = entries(contents)
    # The producer sent some twice.
    again = [generator.randrange(len(records)) for _ in range(500)]
    sent = [*records, *(records[i] for i in again)]
    stream, portion = place.stream(), len(sent) // (_KILLS + 1)
    nursery, killed = Nursery(place), 0
    try:
        for number in range(_KILLS):
            stream.put(sent[number * portion : (number + 1) * portion])
            pid = nursery.start("at once" if number % 3 == 0 else "go on")
            time.sleep(generator.uniform(0, 0.1))
            os.kill(pid, signal.SIGKILL)
            killed += nursery.ended() == -signal.SIGKILL
        marked = [entry.after for entry in place.checkpoints().entries().values()]
        stream.put(sent[_KILLS * portion :])
        # One that drains leaves to others what they hold, and a dead worker holds its shards until its lease is over.
        while any(entry.until > time.time() for entry in place.checkpoints().entries().values()):
            time.sleep(0.01)
        assert nursery.drained() == 0
    finally:
        nursery.close()
    assert killed == _KILLS
    # They had come a part of the way, and not all of it: the kills fell into the work.
    assert any(marked) and place.checkpoints().entries().keys() == {"shard-0000", "shard-0001"}
    reached = sum(int(after or 0) for after in marked)
    assert 1_000 < reached < sum(int(entry.after or 0) for entry in place.checkpoints().entries().values())
    assert ids_of(place.raw()) == list(range(len(contents)))
    assert state_of(place) == quiet_state(tmp_path, payments_fraud, contents)
    assert not [name for name in (tmp_path / "killed").rglob("*.jsonl") if name.name.startswith(".")]


@pytest.mark.parametrize("order", ["as sent", "turned round", "shuffled"])
def test_order_and_repetition_make_no_difference(
    tmp_path: Path, payments_fraud: LifecycleDeclaration, order: str
) -> None:
    generator = random.Random(3)
    contents = [event(i) for i in range(300)]
    sent = contents + generator.sample(contents, 100)
    if order == "turned round":
        sent.reverse()
    elif order == "shuffled":
        generator.shuffle(sent)
    place = Place(tmp_path / "sent", payments_fraud, shards=3)
    place.stream().put(entries(sent))
    place.worker().run(until_empty=True)
    assert ids_of(place.raw()) == list(range(300))
    assert state_of(place) == quiet_state(tmp_path, payments_fraud, contents)


def test_read_again_from_the_beginning_nothing_changes(tmp_path: Path, payments_fraud: LifecycleDeclaration) -> None:
    place = Place(tmp_path / "again", payments_fraud, shards=2)
    place.stream().put(entries([event(i) for i in range(100)]))
    place.worker().run(until_empty=True)
    before = (place.raw().sort("transaction_id").drop("_source_file", "_source_row"), state_of(place))
    (place.home.streams / "checkpoints.db").unlink()
    for left in place.home.streams.glob("checkpoints.db-*"):
        left.unlink()
    assert place.worker().run(until_empty=True).landed == 100
    after = (place.raw().sort("transaction_id").drop("_source_file", "_source_row"), state_of(place))
    assert before[0].equals(after[0]) and before[1] == after[1]
