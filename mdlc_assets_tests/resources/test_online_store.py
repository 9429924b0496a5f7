"""The online store, in both forms: a set of events, labels that find them, and what happens when it is away."""

from __future__ import annotations

import random
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from mdlc_assets.resources.online_store import DynamoStore, EventItems, Label, OnlineStore, SqliteStore, StoreAwayError
from mdlc_assets.resources.online_store.items import key_of

Store = SqliteStore | DynamoStore
_DAY = 86_400_000_000


@pytest.fixture(params=["sqlite", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return OnlineStore(path=str(tmp_path / "online" / "store.db")).store
    resource = OnlineStore(
        form="dynamodb",
        table=f"online-{uuid.uuid4().hex}",
        endpoint_url=request.getfixturevalue("dynamodb"),
        timeout=20,
    )
    resource.prepare(team="fraud")
    resource.prepare()  # once more changes nothing
    return resource.store


def _event(number: int, instant: int, entity: int | str = 7, data: bytes = b"12345678") -> EventItems:
    return EventItems(number, instant, instant + 3 * _DAY, {("customer", entity): data, ("shop", "a|b"): data}, _DAY)


def _ids(store: Store, entity: int | str = 7, after: int = -1, until: int = 100 * _DAY) -> list[tuple[bytes, int]]:
    return [(key, mark) for key, _, mark in store.query("s", "customer", entity, after, until)]


def test_events_come_in_order_of_instant_and_id(store: Store) -> None:
    events = [_event(number, instant) for number, instant in ((3, 5), (20, 5), (1, 9), (2, 1), (-4, 5))]
    store.put("s", events)
    store.put("s", events[:2])
    order = [(1, 2), (5, -4), (5, 3), (5, 20), (9, 1)]
    assert _ids(store) == [(key_of(*of), 0) for of in order]
    assert _ids(store, after=1, until=5) == [(key_of(*of), 0) for of in order[1:4]], "after is out, until is in"
    assert _ids(store, 8) == [] and store.query("other", "customer", 7, -1, 10) == []
    assert len(store.query("s", "shop", "a|b", -1, 10)) == 5
    assert store.newest("s") == 9 and store.newest("other") is None


@pytest.mark.parametrize("label_first", [True, False])
def test_a_label_finds_its_event_whichever_came_first(store: Store, *, label_first: bool) -> None:
    steps: list[Callable[[], None]] = [
        lambda: store.put_labels("s", [Label(1, 1, 5), Label(2, 0, None), Label(3, 1, 5 + 3 * _DAY)]),
        lambda: store.put("s", [_event(number, 5) for number in (1, 2, 3, 4)]),
    ]
    for step in steps if label_first else reversed(steps):
        step()
    steps[1]()
    assert [mark for _, mark in _ids(store)] == [2, 1, 0, 0], "1, 0, too late, none"
    store.put_labels("s", [Label(1, 0, 4)])
    assert _ids(store)[0][1] == 2, "what was known last stays"
    store.put_labels("s", [Label(1, 0, 6)])
    assert _ids(store)[0][1] == 1
    store.put_labels("s", [Label(1, 1, 4)], replace=True)
    store.put_labels("s", [Label(2, None, None)], replace=True)
    assert [mark for _, mark in _ids(store)] == [2, 0, 0, 0], "unless it is replaced"


def test_an_event_that_is_corrected_moves(store: Store) -> None:
    store.put("s", [_event(1, 5), _event(2, 5)])
    store.put_labels("s", [Label(1, 1, 6)])
    store.put("s", [_event(1, 8)])
    assert _ids(store) == [(key_of(5, 2), 0), (key_of(8, 1), 2)]
    store.put("s", [_event(1, 8, "other")])
    assert _ids(store) == [(key_of(5, 2), 0)] and _ids(store, "other") == [(key_of(8, 1), 2)]
    store.fill("s", [_event(1, 9), _event(2, 5)], {2: Label(2, 1, 7)})
    assert _ids(store) == [(key_of(5, 2), 2), (key_of(9, 1), 0)] and _ids(store, "other") == []


def test_a_day_s_events_are_found_and_taken_away(store: Store) -> None:
    events = [_event(number, number * _DAY // 10) for number in range(25)]
    store.fill("s", events, {})
    assert sorted(store.ids("s", _DAY, 2 * _DAY)) == list(range(10, 20))
    assert store.remove("s", [10, 11, 99]) == 2
    assert sorted(store.ids("s", _DAY, 2 * _DAY)) == list(range(12, 20))
    assert len(_ids(store)) == 23


def test_what_is_known_of_an_entity_at_an_instant(store: Store) -> None:
    store.put_versions("s", "customers", [(7, 10, '["gold"]'), (7, 20, '["silver"]'), (8, 5, "[null]")])
    store.put_versions("s", "customers", [(7, 20, '["bronze"]')])
    found = [store.version("s", "customers", 7, instant) for instant in (9, 10, 19, 20, 99)]
    assert found == [None, '["gold"]', '["gold"]', '["bronze"]', '["bronze"]']
    assert store.note("n") is None
    store.write_note("n", {"a": 1})
    store.write_note("n", {"a": 2})
    assert store.note("n") == {"a": 2}


def test_what_is_out_of_reach_goes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.put("s", [_event(number, number) for number in range(20)])
    store.put_labels("s", [Label(100, 1, 3), Label(101, 1, 300)])
    store.put_versions("s", "customers", [(7, 1, "[1]"), (7, 5, "[2]"), (7, 15, "[3]"), (8, 2, "[4]")])
    store.put_versions("s_", "customers", [(7, 1, "[1]"), (7, 5, "[2]")])
    assert store.sweep("s", 10) == 10
    assert len(_ids(store)) == 10 and len(store.ids("s", 0, 100)) == 10
    assert store.version("s", "customers", 7, 5) == "[2]" and store.version("s", "customers", 7, 4) is None
    assert store.version("s", "customers", 8, 10) == "[4]", "the newest stays, however old"
    assert store.version("s_", "customers", 7, 4) == "[1]", "another space"
    with sqlite3.connect(tmp_path / "store.db") as file:
        assert file.execute("SELECT id FROM locators WHERE instant IS NULL").fetchall() == [(101,)]
    store.clear("s")
    assert _ids(store) == [] and store.newest("s") is None and store.version("s_", "customers", 7, 4) == "[1]"


def test_items_live_as_long_as_windows_reach(dynamodb: str) -> None:
    store = DynamoStore(f"online-{uuid.uuid4().hex}", 20, endpoint_url=dynamodb)
    store.make_table({"team": "fraud"})
    client = store._writer
    about = client.describe_table(TableName=store.table)["Table"]
    assert about["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    tags = client.list_tags_of_resource(ResourceArn=about["TableArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "fraud"}]
    ttl = client.describe_time_to_live(TableName=store.table)["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    now = int(time.time())
    store.put("s", [_event(1, 5), _event(2, (now + 100) * 1_000_000)])
    store.put_labels("s", [Label(3, 1, 5), Label(1, 1, 5)])
    items = [item for item in client.scan(TableName=store.table)["Items"] if not item["pk"]["S"].startswith("newest")]
    lives = {item["pk"]["S"]: int(item["ttl"]["N"]) - now for item in items}
    assert 86_400 <= lives["event|s|i1"] < 86_500, "an old event counts from now"
    assert 86_500 <= lives["event|s|i2"] < 86_600
    assert lives["event|s|i3"] > 80 * 86_400, "a label waits for its event"
    assert len(items) == 3 + 4 and all("ttl" in item for item in items)


def test_pages_are_read_to_the_end_and_what_was_left_is_asked_again() -> None:
    store = DynamoStore("t", region="us-east-1")
    client = store._client(1)
    store.__dict__["_reader"] = store.__dict__["_writer"] = client
    last = {"pk": {"S": "x"}, "sk": {"B": b"1"}}
    left = {"DeleteRequest": {"Key": {"pk": {"S": "event|s|i1"}, "sk": {"B": b"\0"}}}}
    with Stubber(client) as stub:
        item = {"sk": {"B": b"1"}, "data": {"B": b"d"}}
        stub.add_response("query", {"Items": [item], "LastEvaluatedKey": last})
        stub.add_response("query", {"Items": [{"sk": {"B": b"2"}, "mark": {"N": "1"}}, {**item, "mark": {"N": "2"}}]})
        assert store.query("s", "customer", 7, 0, 9) == [(b"1", b"d", 0), (b"1", b"d", 2)]
        key = {"pk": {"S": "event|s|i1"}, "sk": {"B": b"\0"}}
        stub.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": {"t": {"Keys": [key]}}})
        stub.add_response("batch_get_item", {"Responses": {"t": [key]}})
        stub.add_response("batch_write_item", {"UnprocessedItems": {"t": [left]}})
        stub.add_response("batch_write_item", {}, {"RequestItems": {"t": [left]}})
        assert store.remove("s", [1]) == 1
        stub.assert_no_pending_responses()
        stub.add_client_error("query", "ProvisionedThroughputExceededException", http_status_code=400)
        with pytest.raises(StoreAwayError, match="ProvisionedThroughputExceeded"):
            store.query("s", "customer", 7, 0, 9)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _asks(store: Store) -> list[Callable[[], Any]]:
    return [
        lambda: store.query("s", "customer", 7, 0, 9),
        lambda: store.version("s", "customers", 7, 9),
        lambda: store.note("n"),
    ]


def test_dynamodb_that_does_not_answer_is_away_in_time(silent: str, dynamodb: str) -> None:
    for address in (silent, "http://127.0.0.1:1"):
        for ask in _asks(DynamoStore("t", 0.4, endpoint_url=address)):
            begin = time.monotonic()
            with pytest.raises(StoreAwayError, match="Mend"):
                ask()
            assert time.monotonic() - begin < 5, "0.4 s, and what a loaded machine adds"


def test_sqlite_that_is_locked_or_no_file_is_away_in_time(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    for ask in _asks(SqliteStore(tmp_path / "folder.db", 0.2)):
        with pytest.raises(StoreAwayError, match="Mend"):
            ask()
    store = SqliteStore(tmp_path / "store.db", 0.2)
    store.put("s", [_event(1, 5)])
    holder = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    with pytest.raises(StoreAwayError, match=r"0\.2 s"):
        store.put("s", [_event(2, 5)])
    assert 0.2 <= time.monotonic() - begin < 5
    assert len(_ids(store)) == 1, "readers do not wait for a writer"
    holder.execute("ROLLBACK")
    holder.close()
    store.put("s", [_event(2, 5)])
    assert len(_ids(store)) == 2, "and it comes back"


def test_threads_that_write_and_read_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", 30)
    events = [_event(number, number) for number in range(300)]
    labels = [Label(number, number % 2, 0) for number in range(300)]
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for part in chance.sample(range(30), 30):
                own = slice(part * 10, part * 10 + 10)
                if seed % 2:
                    store.put("s", events[own])
                else:
                    store.put_labels("s", labels[own])
                found = store.query("s", "customer", 7, -1, 300)
                assert [row[0] for row in found] == sorted(row[0] for row in found)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [mark for _, mark in _ids(store)] == [number % 2 + 1 for number in range(300)]
