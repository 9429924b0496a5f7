"""Reading landed files: formats, types, time zones, sources; every bad file with its field and mend."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration.dataset import Column, Source
from mdlc_assets.sourcing.cells import read_cells
from mdlc_assets.sourcing.days import LandingDayError, labels_day, raw_day
from mdlc_assets.sourcing.declared import sourcing_problems
from mdlc_assets_tests.sourcing.small_platform import DAY, parquet, payments, shipped

COLUMNS = ["transaction_id", "event_time", "customer_id", "terminal_id", "amount"]


def _raw(**files: bytes) -> pl.DataFrame:
    named = {name.replace("__", "."): content for name, content in files.items()}
    return raw_day(shipped(), sorted(named), named.__getitem__).frame


def _error(**files: bytes) -> str:
    with pytest.raises(LandingDayError) as caught:
        _raw(**files)
    return str(caught.value)


def test_all_formats_give_the_same_rows() -> None:
    frame = payments(DAY, 50)
    forms = {
        "a.parquet": parquet(frame),
        "a.csv": frame.write_csv().encode(),
        "a.csv.gz": gzip.compress(frame.write_csv(separator=";").encode()),
        "a.jsonl": frame.write_ndjson().encode(),
    }
    for name, content in forms.items():
        got = raw_day(shipped(), [name], {name: content}.__getitem__).frame
        assert got.select(COLUMNS).equals(frame), name
        assert got["_source_row"].to_list() == list(range(1, 51)), name
        assert got["account_age_days"].null_count() == 50, name
        assert got["_unreadable"].null_count() == 50, name


def test_a_declared_source_is_found_by_its_columns() -> None:
    theirs = shipped().dataset.sources["fraud_detection_handbook"].columns
    frame = payments(DAY, 5).rename({ours: theirs[ours] for ours in COLUMNS})
    frame = frame.with_columns(pl.col("TX_DATETIME").dt.replace_time_zone(None), TX_FRAUD=0, TX_FRAUD_SCENARIO=0)
    assert _raw(a__parquet=parquet(frame)).select(COLUMNS).equals(payments(DAY, 5))


def test_an_empty_file() -> None:
    assert "a.parquet: (file): the file is empty, 0 bytes. Mend: send the file again" in _error(a__parquet=b"")


def test_a_truncated_parquet_file() -> None:
    whole = parquet(payments(DAY, 50))
    for cut in (5, len(whole) // 2, len(whole) - 1):
        text = _error(a__parquet=whole[:cut])
        assert "a.parquet" in text and "cut off" in text and "Mend" in text


def test_a_damaged_parquet_file() -> None:
    whole = bytearray(parquet(payments(DAY, 50)))
    whole[4:400] = b"\xff" * 396
    assert "a.parquet: (file): the Parquet data is damaged" in _error(a__parquet=bytes(whole))


def test_a_csv_with_a_missing_column() -> None:
    text = _error(a__csv=payments(DAY, 5).drop("amount").write_csv().encode())
    assert "a.csv: amount: column amount is missing" in text and "Mend: send the file again" in text


def test_a_renamed_column_is_recognised_as_such() -> None:
    text = _error(a__csv=payments(DAY, 5).rename({"amount": "amounts"}).write_csv().encode())
    assert "say under dataset.columns that the column is now called amounts" in text


def test_an_unknown_extra_column() -> None:
    text = _error(a__parquet=parquet(payments(DAY, 5).with_columns(channel=pl.lit("web"))))
    assert "a.parquet: channel: column channel is not declared" in text and "ignore" in text


@pytest.mark.parametrize(
    "content",
    [b"PAR1\x00\x01\x02\xff\xfe", b"\xff\xfea\x00b\x00", b"\n\n", b"{}", b"no,such,columns\n1,2,3\n"],
)
def test_a_file_that_is_not_the_csv_it_says(content: bytes) -> None:
    assert "a.csv" in _error(a__csv=content)


def test_json_lines_name_the_line_at_fault() -> None:
    good = payments(DAY, 2).write_ndjson().encode()
    assert "a.jsonl: line 3: this is not one JSON object" in _error(a__jsonl=good + b'{"transaction_id": 3,')


def test_a_header_without_rows_and_a_header_with_doubles() -> None:
    assert "columns but no rows" in _error(a__csv=(",".join(COLUMNS) + "\n").encode())
    assert "names this column twice" in _error(a__csv=b"amount,amount\n1,2\n")


def test_all_bad_files_are_named_at_once() -> None:
    text = _error(a__csv=b"", b__parquet=b"PAR1", c__parquet=parquet(payments(DAY, 5)))
    assert "a.csv" in text and "b.parquet" in text and "c.parquet" not in text


def test_wrong_types_become_null_and_keep_their_text() -> None:
    rows = [
        "1,2018-04-01 10:00:00,12.0,3,1.5",
        "x2,2018-04-01 10:00:00,4.5,3,abc",
        "3,yesterday,4,,inf",
    ]
    frame = _raw(a__csv="\n".join([",".join(COLUMNS), *rows]).encode())
    assert frame["customer_id"].to_list() == [12, None, 4]
    assert frame["terminal_id"].to_list() == [3, 3, None]
    said = [json.loads(text) if text else None for text in frame["_unreadable"]]
    assert said[0] is None
    assert said[1] == {"transaction_id": "x2", "customer_id": "4.5", "amount": "abc"}
    assert said[2] == {"event_time": "yesterday", "amount": "inf"}


def test_typed_parquet_of_the_wrong_type_keeps_its_text_too() -> None:
    frame = payments(DAY, 2).with_columns(
        customer_id=pl.Series([1.0, 2.5]), amount=pl.Series(["7.25", "free"]), event_time=pl.Series([1, 2])
    )
    got = _raw(a__parquet=parquet(frame))
    assert got["customer_id"].to_list() == [1, None] and got["amount"].to_list() == [7.25, None]
    assert json.loads(got["_unreadable"][1]) == {"event_time": "2", "customer_id": "2.5", "amount": "free"}
    nested = payments(DAY, 2).with_columns(amount=pl.Series([[1.0], [2.0]]))
    assert "a.parquet: amount: values of type List" in _error(a__parquet=parquet(nested))


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2018-04-01T10:00:00Z", "Europe/Brussels", datetime(2018, 4, 1, 10, tzinfo=UTC)),
        ("2018-04-01 10:00:00.250", "Europe/Brussels", datetime(2018, 4, 1, 8, 0, 0, 250_000, tzinfo=UTC)),
        ("2018-04-01 10:00:00+0530", "UTC", datetime(2018, 4, 1, 4, 30, tzinfo=UTC)),
        ("2018-04-01 10:00:00-05", "UTC", datetime(2018, 4, 1, 15, tzinfo=UTC)),
        ("2018-04-01", "America/New_York", datetime(2018, 4, 1, 4, tzinfo=UTC)),
        ("2018-10-28 02:30:00", "Europe/Brussels", datetime(2018, 10, 28, 0, 30, tzinfo=UTC)),
        ("2018-03-25 02:30:00", "Europe/Brussels", None),  # skipped when the clocks went forward
        ("2018-02-30 10:00:00", "UTC", None),
    ],
)
def test_timestamps_with_and_without_a_zone(text: str, zone: str, instant: datetime | None) -> None:
    values, unreadable = read_cells(pl.Series("t", [text]), "timestamp", zone)
    assert values.to_list() == [instant]
    assert unreadable.to_list() == [instant is None]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["integer", "float", "boolean", "string", "timestamp"]),
    st.lists(st.none() | st.text(max_size=12) | st.integers().map(str) | st.floats().map(str), max_size=8),
)
def test_no_cell_is_lost_without_a_word(type_: Any, cells: list[str | None]) -> None:
    values, unreadable = read_cells(pl.Series("c", cells, dtype=pl.String), type_)
    for cell, value, said in zip(cells, values, unreadable, strict=True):
        nothing_there = cell is None or (type_ != "string" and not cell.strip())
        assert (value is None) == (nothing_there or said), (cell, value, said)


def test_the_same_bytes_twice_are_read_once_and_said() -> None:
    content = parquet(payments(DAY, 5))
    files = {"2018-04-01 (1).parquet": content, "2018-04-01.parquet": content}
    landed = raw_day(shipped(), files, files.__getitem__)
    assert landed.frame.height == 5 and landed.repeated == ("2018-04-01.parquet",)


def _labels(label_files: dict[str, bytes], events: dict[str, bytes] | None = None) -> pl.DataFrame:
    events = events or {}
    return labels_day(shipped(), DAY, events, events.__getitem__, label_files, label_files.__getitem__).frame


def test_the_label_known_last_wins() -> None:
    head = "transaction_id,is_fraud,known_at\n"
    files = {
        "a.csv": (head + "2,0,2018-04-08\n1,1,2018-04-08\n").encode(),
        "b.csv": (head + "2,1,2018-04-20 12:00:00\n1,0,2018-04-02\n").encode(),
        "c.csv": (head + "1,0,2018-04-08\n").encode(),
    }
    frame = _labels(files)
    assert frame.select("transaction_id", "is_fraud").rows() == [(1, 0), (2, 1)]
    assert frame["known_at"][1] == datetime(2018, 4, 20, 12, tzinfo=UTC)
    assert frame.schema["is_fraud"] == pl.Int8


@pytest.mark.parametrize("label", ["2", "-1", "fraud", "0.5", ""])
def test_labels_are_0_or_1(label: str) -> None:
    with pytest.raises(LandingDayError, match=r"a\.csv: is_fraud: 1 of 1 labels are neither 0 nor 1.*Mend"):
        _labels({"a.csv": f"transaction_id,is_fraud,known_at\n1,{label},2018-04-08\n".encode()})


def test_inline_labels_are_known_after_the_delay_and_for_the_day_only() -> None:
    theirs = shipped().dataset.sources["fraud_detection_handbook"].columns
    frame = payments(DAY, 4).rename({ours: theirs[ours] for ours in COLUMNS})
    frame = frame.with_columns(
        TX_FRAUD=pl.Series([0, 1, None, 1]),
        TX_DATETIME=pl.col("TX_DATETIME") + pl.Series([0, 0, 0, 2]) * timedelta(days=1),
    )
    got = _labels({}, {"a.parquet": parquet(frame)})
    assert got.select("transaction_id", "is_fraud").rows() == [(0, 0), (1, 1)]
    first = frame["TX_DATETIME"][0]
    assert got["known_at"][0] == first + timedelta(days=7)


def test_wrong_sources_are_refused_with_field_value_and_mend() -> None:
    good = shipped().dataset.sources["fraud_detection_handbook"]
    bad = Source(
        columns={**good.columns, "terminal_id": "CUSTOMER_ID"},
        ignore=["TX_DATETIME"],
        absent=["amount", "account_age_days"],
        labels_inline=True,
        time_zone="Mars/Olympus",
    )
    columns = {
        **shipped().dataset.columns,
        "amount": Column(type="string", min=0),
        "is_fraud": Column(type="integer"),
    }
    dataset = shipped().dataset.model_copy(update={"sources": {"bad": bad}, "columns": columns})
    problems = sourcing_problems(shipped().model_copy(update={"dataset": dataset}))
    assert {problem.field for problem in problems} == {
        "dataset.columns.amount.min",
        "dataset.columns.is_fraud",
        "dataset.sources.bad.absent",
        "dataset.sources.bad.columns",
        "dataset.sources.bad.ignore",
        "dataset.sources.bad.time_zone",
    }
    assert all(problem.mend for problem in problems)
    assert sourcing_problems(shipped()) == []
