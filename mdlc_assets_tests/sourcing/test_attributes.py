"""Attributes of entities: files of changes, and the version that each event gets."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Dataset
from mdlc_assets.sourcing.attributes import attributes_day, with_attributes
from mdlc_assets_tests.sourcing.small_platform import DAY, Platform, days_from, failure_text, metadata_of, shipped

_DAYS = days_from(DAY, 4)
_CUSTOMERS = {
    "entity": "customer_id",
    "columns": {"segment": {"type": "string"}, "credit_limit": {"type": "float", "decimals": 2}},
}


def declared(attributes: dict[str, Any] | None = None) -> LifecycleDeclaration:
    """The payments lifecycle with attributes of customers."""
    dataset = shipped().dataset.model_dump(mode="json") | {"attributes": attributes or {"customers": _CUSTOMERS}}
    return shipped().model_copy(update={"dataset": Dataset.model_validate(dataset)})


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Four days of payments, and customers of which one changes at noon of the second day."""
    platform = Platform(str(tmp_path), declared())
    platform.put_days(_DAYS)
    _put(platform, _DAYS[0], "0,2018-01-01,gold,1000", "1,2018-04-01 12:00:00,gold,250.5")
    _put(platform, _DAYS[1], "0,2018-04-02T12:00:00Z,silver,500")
    return platform


def _put(platform: Platform, day: date, *rows: str) -> None:
    content = "\n".join(["customer_id,known_at,segment,credit_limit", *rows])
    platform.put(f"{day}.csv", content.encode(), "customers")


def _segments(platform: Platform, day: date, customer: int) -> list[tuple[int, str | None]]:
    """The customer's segments in order of time, with the hour from which on it is seen."""
    rows = platform.table("validated").read_day(day).filter(pl.col("customer_id") == customer)
    seen: list[tuple[int, str | None]] = []
    for time, segment in rows.select("event_time", "segment").iter_rows():
        if not seen or seen[-1][1] != segment:
            seen.append((time.hour, segment))
    return seen


def test_each_event_gets_the_version_of_its_instant(platform: Platform) -> None:
    result = platform.run(_DAYS[0], _DAYS[-1])
    assert result.success, failure_text(result)
    assert _segments(platform, _DAYS[0], 0) == [(0, "gold")]
    assert _segments(platform, _DAYS[0], 1) == [(0, None), (12, "gold")]
    assert _segments(platform, _DAYS[1], 0) == [(0, "gold"), (12, "silver")]
    assert _segments(platform, _DAYS[3], 0) == [(0, "silver")]
    assert _segments(platform, _DAYS[3], 2) == [(0, None)]
    validated = platform.table("validated").read_day(_DAYS[3])
    assert validated.columns[-2:] == ["segment", "credit_limit"]
    assert validated.filter(pl.col("customer_id") == 1)["credit_limit"].unique().to_list() == [250.5]
    # The day's table: what stood when it began, and no more of what went before.
    assert platform.table("customers").read_day(_DAYS[2])["customer_id"].to_list() == [0, 1]
    assert metadata_of(result, "customers", _DAYS[1])["dagster/partition_row_count"] == 3
    entry = platform.catalogue.find("payments_fraud", "customers")
    assert entry is not None and [c.name for c in entry.columns][:2] == ["customer_id", "known_at"]


def test_one_day_after_the_other_gives_the_same_bytes(platform: Platform, tmp_path: Path) -> None:
    assert platform.run(_DAYS[0], _DAYS[-1]).success
    whole = platform.contents()
    for day in _DAYS:
        assert platform.run(day).success
    assert platform.contents() == whole


def test_what_comes_late_was_not_known_before(platform: Platform) -> None:
    _put(platform, _DAYS[2], "0,2018-04-01 06:00:00,bronze,1")
    assert platform.run(_DAYS[0], _DAYS[-1]).success
    assert _segments(platform, _DAYS[0], 0) == [(0, "gold")]
    assert _segments(platform, _DAYS[2], 0) == [(0, "bronze")]


def test_a_changed_file_takes_away_what_no_longer_follows(platform: Platform) -> None:
    assert platform.run(_DAYS[0], _DAYS[-1]).success
    assert platform.run(_DAYS[1], None, "customers").success
    assert platform.table("customers").days() == _DAYS, "the same again leaves later days as they are"
    _put(platform, _DAYS[1], "0,2018-04-02T18:00:00Z,silver,500")
    assert platform.run(_DAYS[1], None, "customers").success
    assert platform.table("customers").days() == _DAYS[:2]
    result = platform.run(_DAYS[3], None, "validated", "quarantine", "daily_metrics")
    assert not result.success
    assert "customers has no data for 2018-04-04" in failure_text(result) and "Mend:" in failure_text(result)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0,2018-04-05,gold,1", "known_at: 1 of 1 changes are known only after the day of the file. Mend: put each"),
        (",2018-04-01,gold,1", "customer_id: 1 of 1 cells are empty or cannot be read as integer. Mend: correct"),
        ("0,soon,gold,1", "known_at: 1 of 1 cells are empty or cannot be read as timestamp"),
        ("0,2018-04-01,gold,plenty", "credit_limit: 1 of 1 cells cannot be read as float"),
    ],
)
def test_a_bad_change_is_refused_by_name(platform: Platform, row: str, said: str) -> None:
    _put(platform, _DAYS[0], row)
    result = platform.run(_DAYS[0])
    assert not result.success
    assert f"{_DAYS[0]}.csv: {said}" in failure_text(result)
    assert platform.table("customers").days() == []


def test_a_file_of_other_columns_is_refused(platform: Platform) -> None:
    platform.put(f"{_DAYS[0]}.csv", b"customer_id,known_at,segment\n1,2018-04-01,gold", "customers")
    assert "credit_limit" in failure_text(platform.run(_DAYS[0])) and platform.table("customers").days() == []


_CHANGES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-30, 71), st.integers(0, 2), st.integers(0, 99)), max_size=12
)


@given(_CHANGES, st.lists(st.tuples(st.integers(0, 71), st.one_of(st.none(), st.integers(0, 2))), max_size=12))
@settings(max_examples=200, deadline=None)
def test_versions_against_a_plain_scan(changes: list[tuple[int, ...]], payments: list[tuple[int, int | None]]) -> None:
    """Changes as (day of the file, hour known, customer, limit) over three days, payments as (hour, customer)."""
    lifecycle, start = declared(), datetime(2018, 4, 1, tzinfo=UTC)
    changes = [change for change in changes if change[0] < 3 and change[1] < (change[0] + 1) * 24]
    before = None
    for place, day in enumerate(_DAYS[:3]):
        rows = [
            f"{customer},{start + timedelta(hours=hour)},seg,{limit}"
            for file, hour, customer, limit in changes
            if file == place
        ]
        content = "\n".join(["customer_id,known_at,segment,credit_limit", *rows]).encode()
        files = ["x.csv"] if rows else []
        before = attributes_day(lifecycle, "customers", day, files, lambda _, content=content: content, before).frame
        times = sorted((paid for paid in payments if paid[0] // 24 == place), key=lambda paid: paid[0])
        events = pl.DataFrame(
            {
                "event_time": [start + timedelta(hours=hour) for hour, _ in times],
                "customer_id": [customer for _, customer in times],
            },
            schema={"event_time": pl.Datetime("us", "UTC"), "customer_id": pl.Int64},
        )
        found = with_attributes(lifecycle, events, {"customers": before})
        assert found["credit_limit"].to_list() == [_naive(changes, hour, customer) for hour, customer in times]


def _naive(changes: list[tuple[int, ...]], hour: int, customer: int | None) -> float | None:
    """The limit of the greatest instant at which a change counts, up to the hour; of equal ones that said last."""
    known = [
        (max(said, file * 24), file, place, float(limit))
        for place, (file, said, whose, limit) in enumerate(changes)
        if whose == customer and max(said, file * 24) <= hour
    ]
    return max(known)[3] if known else None
