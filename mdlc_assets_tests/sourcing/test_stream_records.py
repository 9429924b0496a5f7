"""Records of a stream: read as landed files are, or put aside with the reason."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Column
from mdlc_assets.resources.streams.records import Record
from mdlc_assets.sourcing import stream_records
from mdlc_assets.sourcing.days import raw_day
from mdlc_assets.sourcing.files import read_object
from mdlc_assets.sourcing.stream_records import RecordReader, StreamedFile

DAY = date(2018, 6, 1)
ARRIVED = datetime(2026, 1, 2, tzinfo=UTC)


def _event(number: int, **more: Any) -> dict[str, Any]:
    own = {"transaction_id": number, "event_time": "2018-06-01T10:00:00Z", "customer_id": 3, "terminal_id": 4}
    return own | {"amount": 12.5, "account_age_days": 7} | more


def _records(contents: Sequence[Any], first: int = 1, shard: str = "s") -> list[Record]:
    data = [c if isinstance(c, bytes) else json.dumps(c).encode() for c in contents]
    return [Record(shard, str(first + i), "k", text, ARRIVED) for i, text in enumerate(data)]


def _raw(lifecycle: LifecycleDeclaration, files: Sequence[StreamedFile], day: date = DAY) -> pl.DataFrame:
    contents = {file.name: file.content for file in files if file.day == day}
    return raw_day(lifecycle, sorted(contents), contents.__getitem__).frame


def test_what_lands_is_read_back_as_what_was_learnt_of(payments_fraud: LifecycleDeclaration) -> None:
    handbook = {"TRANSACTION_ID": 9, "TX_DATETIME": "2018-06-01 23:59:59", "CUSTOMER_ID": 1, "TERMINAL_ID": 2}
    handbook |= {"TX_AMOUNT": 1.25, "TX_FRAUD": 0, "TX_TIME_SECONDS": 0, "TX_TIME_DAYS": 0, "TX_FRAUD_SCENARIO": 0}
    young = {key: value for key, value in _event(3).items() if key != "account_age_days"}
    contents = [
        *(_event(1), _event(2, amount="twelve"), young, _event(4, account_age_days=None), handbook),
        _event(5, event_time="2018-06-02T00:00:00+00:00"),
        b'{"transaction_id": 6,\r\n "event_time": "2018-06-01T01:00:00+02:00", "customer_id": 1, "terminal_id": 1, '
        b'"amount": 1.10, "account_age_days": 2}',
    ]
    files, poison = RecordReader(payments_fraud).read(_records(contents))
    assert poison == []
    assert sorted({file.day for file in files}) == [date(2018, 5, 31), DAY, date(2018, 6, 2)]
    for day in {file.day for file in files}:
        own = sorted((file for file in files if file.day == day), key=lambda file: file.name)
        assert_frame_equal(pl.concat(file.raw for file in own), _raw(payments_fraud, own, day))
    # A column that may be missing is missing for each event by itself, whatever came beside it.
    frame = _raw(payments_fraud, files)
    named = dict(zip(frame["transaction_id"].to_list(), frame["_source_file"].to_list(), strict=True))
    assert named[3] != named[1] == named[2] and named[4] not in (named[1], named[3])
    assert frame.filter(transaction_id=2)["_unreadable"].item() == '{"amount": "twelve"}'


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[1]", "not_json"),
        (b'{"a": 1', "not_json"),
        (b"[" * 100_000, "not_json"),
        (json.dumps(_event(1)).encode("utf-16"), "not_json"),
        ({"secret": 77123}, "columns"),
        (_event(1, secret=77123), "columns"),
        (_event(1, event_time="77123"), "no_time"),
        (_event(1, event_time=None), "no_time"),
        (_event(1, event_time="0001-01-01T00:00:00Z"), "other_time"),
        (_event(1, event_time="2019-06-01T00:00:00Z"), "other_time"),
    ],
)
def test_what_is_no_event_is_put_aside_with_the_reason(
    payments_fraud: LifecycleDeclaration, content: Any, kind: str
) -> None:
    records = _records([_event(7), content, _event(8)])
    files, poison = RecordReader(payments_fraud).read(records)
    assert [(one.record, one.kind) for one in poison] == [(records[1], kind)]
    assert "Mend: " in poison[0].reason and "77123" not in poison[0].reason
    assert _raw(payments_fraud, files)["transaction_id"].to_list() == [7, 8]


def test_events_of_tomorrow_are_put_aside_where_the_dataset_has_no_end(payments_fraud: LifecycleDeclaration) -> None:
    endless = payments_fraud.model_copy(update={"dataset": payments_fraud.dataset.model_copy(update={"end": None})})
    events = [_event(i, event_time=f"2026-01-0{i}T12:00:00Z") for i in (2, 3, 4)]
    files, poison = RecordReader(endless).read(_records(events))
    assert [one.record.sequence for one in poison] == ["3"]
    assert len(files) == 2


def test_a_batch_that_comes_again_cut_otherwise_changes_nothing(payments_fraud: LifecycleDeclaration) -> None:
    contents: list[Any] = [_event(i) for i in range(1, 21)]
    # The producer sent one twice, at once and much later.
    contents[10], contents[19] = contents[9], contents[2]
    records, reader = _records(contents), RecordReader(payments_fraud)
    cuts = [(0, 7), (7, 14), (5, 12), (0, 7), (12, 20), (11, 20)]
    files = [file for first, last in cuts for file in reader.read(records[first:last])[0]]
    frame = _raw(payments_fraud, files)
    assert sorted(frame["transaction_id"].to_list()) == [i for i in range(1, 20) if i != 11]
    # A row says where in its file it stands, counting those that stand elsewhere too.
    contents_by_name = {file.name: file.content.splitlines() for file in files}
    for row in frame.iter_rows(named=True):
        line = contents_by_name[row["_source_file"]][row["_source_row"] - 1]
        assert json.loads(line)["transaction_id"] == row["transaction_id"]


def test_the_same_id_with_another_content_stays_for_quality_to_judge(payments_fraud: LifecycleDeclaration) -> None:
    files, _ = RecordReader(payments_fraud).read(_records([_event(1), _event(1, amount=99.0)]))
    assert _raw(payments_fraud, files)["amount"].to_list() == [12.5, 99.0]


_ODD = (
    *("-0", "-0.0", "1e5", "1e400", "12.0", "1.10", "0.1", "5e-324", "123456789012345678901234567890", "1E-7"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551615", "9007199254740993", "NaN", "-Infinity"),
    *("true", "null", '"7"', '""', '" "', '"a\\u00e9"', '"\\ud800"', '"[{"', "[1]", "{}", "{", "01", '"2018-06-01"'),
    "[" * 1_010 + "]" * 1_010,
)


_HANDBOOK = {"transaction_id": "TRANSACTION_ID", "event_time": "TX_DATETIME", "customer_id": "CUSTOMER_ID"}
_HANDBOOK |= {"terminal_id": "TERMINAL_ID", "amount": "TX_AMOUNT"}


def _odd_records(chance: random.Random, count: int) -> list[Record]:
    """Events as producers write them, some with a cell that is not of its column's type, or nowhere JSON."""
    contents = []
    for number in range(count):
        at = datetime(2018, 6, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(200_000))
        cells = {name: json.dumps(value) for name, value in _event(number, event_time=at.isoformat()).items()}
        cells["amount"] = repr(chance.choice([chance.uniform(0, 1e3), chance.randrange(90), chance.random() * 1e-9]))
        if chance.random() < 0.3:
            cells["account_age_days"] = "null"
        if chance.random() < 0.1:
            cells[chance.choice([*cells, "amount", "TX_FRAUD"])] = chance.choice(_ODD)
        if chance.random() < 0.05:
            del cells[chance.choice([*cells])]
        if chance.random() < 0.3:
            cells = {_HANDBOOK.get(name, name): text for name, text in cells.items() if name != "account_age_days"}
            cells |= {"TX_TIME_SECONDS": "0", "TX_TIME_DAYS": "0", "TX_FRAUD": "0", "TX_FRAUD_SCENARIO": "0"}
            if chance.random() < 0.1:
                cells["TX_TIME_DAYS"] = chance.choice(_ODD)
        named = chance.sample([*cells.items()], len(cells)) if chance.random() < 0.3 else [*cells.items()]
        contents.append(("{" + ", ".join(f'"{name}": {text}' for name, text in named) + "}").encode())
    return _records(contents)


def test_what_is_read_by_type_is_what_is_read_as_text(
    payments_fraud: LifecycleDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one record to many: in small ones most kinds are whole, in large ones some cell is odd."""
    columns = dict(payments_fraud.dataset.columns)
    words = {"channel": Column(type="string", optional=True), "first": Column(type="boolean", optional=True)}
    dataset = payments_fraud.dataset.model_copy(update={"columns": columns | words})
    lifecycle, chance = payments_fraud.model_copy(update={"dataset": dataset}), random.Random(7)
    batches = [_records([_event(1, amount=0.5), json.dumps(_event(2, amount=0)).replace(": 0,", ": -0,").encode()])]
    for _ in range(60):
        records = _odd_records(chance, chance.choice([1, 2, 5, 20, 200]))
        batches += [records, [_with(chance, record) for record in records]]
    typed: list[bool] = []
    by_type = RecordReader._typed

    def noted(*asked: Any) -> pl.DataFrame | None:
        frame = by_type(*asked)
        typed.append(frame is not None)
        return frame

    with monkeypatch.context() as patch:
        patch.setattr(RecordReader, "_typed", noted)
        found = [_read(lifecycle, records) for records in batches]
    assert sum(typed) > 100 and not all(typed), "what is read by type, and what of it is refused"
    monkeypatch.setattr(
        stream_records, "_read_row", lambda line: (None if b"\x00" in line else read_object(line), False)
    )
    for records, (files, poison) in zip(batches, found, strict=True):
        plain_files, plain_poison = _read(lifecycle, records)
        assert poison == plain_poison
        for file, plain in zip(files, plain_files, strict=True):
            assert (file.day, file.name, file.content) == (plain.day, plain.name, plain.content)
            assert_frame_equal(file.raw, plain.raw, check_exact=True)
            # 0.0 equals -0.0, which is another number to the last bit.
            assert repr(file.raw["amount"].to_list()) == repr(plain.raw["amount"].to_list())


def _read(lifecycle: LifecycleDeclaration, records: list[Record]) -> tuple[list[StreamedFile], object]:
    """What is read, or the error that makes the handler look for its record."""
    try:
        return RecordReader(lifecycle).read(records)
    except UnicodeEncodeError as error:
        return [], type(error)


def _with(chance: random.Random, record: Record) -> Record:
    """The record with a word and a truth value beside it."""
    words = chance.choice([b'"x"', b'"x"', b'"x"', b"null", b"1.10"])
    more = b'{"channel": ' + words + b', "first": ' + chance.choice([b"true", b"false", b"null"]) + b", "
    return replace(record, data=more + record.data[1:])
