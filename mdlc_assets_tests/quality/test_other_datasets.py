"""Values that must exist elsewhere, a second source that must agree, events that come again, labels that are due."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import AgreementRule, LabelsRule, ReferenceRule, RepeatRule
from mdlc_assets.quality.arrival import DueLabels, due_day, is_backfill, judge_arrival, judge_labels
from mdlc_assets.quality.history import DayFacts, History
from mdlc_assets.quality.metrics import ARRIVED
from mdlc_assets.quality.other_datasets import OtherDataset, judge_agreement, judge_reference
from mdlc_assets.quality.repeats import judge_repeats, marks
from mdlc_assets_tests.sourcing.small_platform import (
    DAY,
    Platform,
    days_from,
    failure_text,
    payments,
    ran,
    shipped,
    verdicts,
)

_TERMINALS = ReferenceRule(
    name="known_terminals",
    column="terminal_id",
    dataset="terminals",
    dataset_column="id",
    mend="Ask for the terminals.",
)


def _agreement(**more: Any) -> AgreementRule:
    fields = {"name": "ledger_agrees", "dataset": "ledger", "mend": "Ask the ledger's owner.", **more}
    return AgreementRule.model_validate(fields)


def _reference(values: list[Any], rule: ReferenceRule = _TERMINALS) -> tuple[bool, str]:
    other = OtherDataset("2018-04-01.csv", pl.DataFrame({"id": values}))
    found = judge_reference(rule, shipped(), DAY, payments(DAY), other, History())
    return found.passed, found.text


def test_each_value_exists_in_the_reference() -> None:
    assert _reference([str(i) for i in range(7)])[0]  # text, as from a CSV
    passed, text = _reference(list(range(6)))
    assert not passed
    assert "68 of 480 rows of 2018-04-01 (14.17%) have a terminal_id that is not among the 6 of terminals" in text
    assert "For instance 6 (68 rows). Mend: Ask for the terminals." in text
    assert _reference(list(range(6)), _TERMINALS.model_copy(update={"tolerated_share": 0.2}))[0]


def test_a_customer_is_never_an_example() -> None:
    rule = _TERMINALS.model_copy(update={"column": "customer_id"})
    passed, text = _reference(list(range(30)), rule)
    assert not passed and "For instance" not in text and "10 different values" in text


def test_a_reference_without_the_column_says_which_it_has() -> None:
    other = OtherDataset("t.csv", pl.DataFrame({"terminal": [1]}))
    found = judge_reference(_TERMINALS, shipped(), DAY, payments(DAY), other, History())
    assert not found.passed and "t.csv has no column id; it has terminal" in found.text and "Mend" in found.text
    missing = judge_reference(_TERMINALS, shipped(), DAY, payments(DAY), None, History())
    assert missing.passed and missing.text.startswith("not judged: dataset terminals has no file")


def _agree(rule: AgreementRule, theirs: pl.DataFrame | None) -> tuple[bool, str, float | None]:
    other = None if theirs is None else OtherDataset("ledger.parquet", theirs)
    found = judge_agreement(rule, shipped(), DAY, payments(DAY), other, History())
    return found.passed, found.text, found.observed


def _ledger() -> pl.DataFrame:
    return payments(DAY).select(entry="transaction_id", value="amount", card="customer_id")


def test_two_sources_agree_row_by_row() -> None:
    rule = _agreement(id="entry", columns={"amount": "value", "customer_id": "card"})
    assert _agree(rule, _ledger())[0]
    assert _agree(rule, _ledger().with_columns(pl.col("value").cast(pl.String)))[0]
    other = (
        _ledger()
        .with_columns(
            value=pl.when(pl.col("entry") < 5).then(pl.col("value") + 1).otherwise("value"),
            card=pl.when(pl.col("entry") == 7).then(999).otherwise("card"),
        )
        .tail(-2)
    )
    extra = pl.concat([other, other.tail(1).with_columns(entry=pl.lit(10_000, pl.Int64))])
    passed, text, share = _agree(rule, extra)
    assert not passed and share == 7 / 481
    assert "2 of 481 ids (0.42%) are not in ledger" in text and "1 of 481 ids (0.21%) are there alone" in text
    assert "amount has another value for 3 ids (0.62%)" in text and "customer_id has another value for 1 ids" in text
    assert "For instance amount 1.74 here, 2.74 there" in text and "999" not in text


def test_two_sources_agree_in_totals() -> None:
    rule = _agreement(columns={"amount": "value"}, tolerated_share=0.01)
    assert _agree(rule, _ledger())[0]
    passed, text, share = _agree(rule, _ledger().tail(-48))
    assert not passed and share == pytest.approx(0.1)
    assert "rows 480 here and 432 there (10.00%); the sum of amount" in text
    assert _agree(rule, _ledger().tail(-2))[0]


def test_a_second_source_that_is_required_and_absent() -> None:
    assert _agree(_agreement(), None)[1].startswith("not judged")
    passed, text, _ = _agree(_agreement(required=True), None)
    assert not passed and "ledger has no file for 2018-04-01" in text and "Mend: Ask" in text


def _repeats(today: pl.DataFrame, days_back: int = 1) -> dict[str, tuple[bool, str]]:
    history, before = History(), DAY - timedelta(days=days_back)
    history.days[before] = DayFacts(True, 480, [])
    history.marks[before] = marks(shipped(), payments(before).with_columns(account_age_days=pl.lit(None, pl.Int64)))
    prints = marks(shipped(), today.with_columns(account_age_days=pl.lit(None, pl.Int64)))
    return {r.rule: (r.passed, r.text) for r in judge_repeats(RepeatRule(), shipped(), DAY, prints, history)}


def test_ids_and_rows_that_were_there_before() -> None:
    yesterday = DAY - timedelta(days=1)
    good = payments(DAY)
    assert all(passed for passed, _ in _repeats(good).values())
    old = payments(yesterday).with_columns(pl.col("event_time") + timedelta(days=1))
    said = _repeats(pl.concat([good.head(432), old.tail(48)]))
    assert not said["repeated_ids"][0] and not said["repeated_rows"][0]
    assert f"48 of 480 values of transaction_id on {DAY} were there before (10.00%)" in said["repeated_ids"][1]
    assert f"They stand there 48 on {yesterday}" in said["repeated_rows"][1] and "Mend" in said["repeated_rows"][1]
    renumbered = pl.concat([good, good.head(48).with_columns(pl.col("transaction_id") + 9_000_000)])
    said = _repeats(renumbered)
    assert said["repeated_ids"][0] and not said["repeated_rows"][0]
    assert "They stand there 48 on the same day" in said["repeated_rows"][1]
    assert all(passed for passed, _ in _repeats(old, days_back=9).values())  # longer ago than the rule looks


def test_labels_are_due_once_delay_and_grace_have_passed() -> None:
    rule, day = LabelsRule(), DAY + timedelta(days=8)
    assert due_day(shipped(), rule, day) == DAY
    events = payments(DAY)["transaction_id"]
    known = [datetime(2018, 4, 9, 23, tzinfo=UTC)] * 400 + [datetime(2018, 4, 10, tzinfo=UTC)] * 80
    labels = pl.DataFrame({"transaction_id": events, "known_at": known})
    found = judge_labels(rule, shipped(), day, DueLabels(DAY, events, labels), History())
    assert not found.passed and found.observed == 80 / 480
    assert "80 of 480 events of 2018-04-01 (16.67%) have no label by the end of 2018-04-09" in found.text
    later = judge_labels(rule, shipped(), day + timedelta(days=1), DueLabels(DAY, events, labels), History())
    assert later.passed
    assert judge_labels(rule, shipped(), day, DueLabels(DAY, None, labels), History()).observed is None
    assert judge_labels(rule, shipped(), day, DueLabels(DAY, events, None), History()).observed is None


def test_a_late_file_is_told() -> None:
    late = judge_arrival(shipped(), DAY, {("", ARRIVED, ""): 40.0}, History())
    assert not late.passed and "came 40 hours after the day began; expected within 36h" in late.text
    assert judge_arrival(shipped(), DAY, {("", ARRIVED, ""): 30.0}, History()).passed


def _with_rules() -> LifecycleDeclaration:
    quality = shipped().quality.model_copy(
        update={
            "references": [_TERMINALS],
            "agreements": [_agreement(id="entry", columns={"amount": "value"}, severity="error")],
        }
    )
    return shipped().model_copy(update={"quality": quality})


def test_other_datasets_are_found_in_the_landing_zone(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path), _with_rules())
    days = days_from(DAY, 3)
    platform.put_days(days)
    platform.put("2018-03-31.csv", b"id,name\n" + b"".join(b"%d,x\n" % i for i in range(7)), "terminals")
    platform.put("2018-04-03.csv", b"id\n1\n2\n3\n", "terminals")
    for day in days[1:]:
        ledger = payments(day).select(entry="transaction_id", value="amount")
        platform.put(f"{day}.parquet", ledger if day == days[1] else ledger.tail(-48), "ledger")
    result = platform.run(days[0], days[-1])
    said = verdicts(result)
    assert [said["known_terminals", day.isoformat()][0] for day in days] == [True, True, False]
    assert [said["ledger_agrees", day.isoformat()][0] for day in days] == [True, True, False]
    assert "not judged" in said["ledger_agrees", str(days[0])][1]
    assert "48 of 480 ids (10.00%) are not in ledger" in said["ledger_agrees", str(days[2])][1]
    assert not ran(result, "next_stage") and not platform.report(days[2])["passed"]


def test_an_error_that_does_not_stop(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path), _with_rules())
    platform.put_days([DAY])
    platform.put(f"{DAY}.parquet", payments(DAY).select(entry="transaction_id", value=pl.lit(1.0)), "ledger")
    result = platform.run(DAY)
    assert not verdicts(result)["ledger_agrees", str(DAY)][0]
    assert platform.report(DAY)["passed"] and ran(result, "next_stage")


def test_a_damaged_reference_fails_with_its_file(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path), _with_rules())
    platform.put_days([DAY])
    platform.put(f"{DAY}.parquet", b"PAR1 cut", "terminals")
    result = platform.run(DAY)
    assert not result.success and "2018-04-01.parquet: (file): the file is cut off. Mend" in failure_text(result)


def test_files_and_labels_that_came_late_through_dagster(tmp_path: Path) -> None:
    dataset = shipped().dataset.model_copy(update={"end": None})
    platform = Platform(str(tmp_path), shipped().model_copy(update={"dataset": dataset}))
    days = days_from(DAY, 10)
    platform.put_days(days)
    for day in days:
        came = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=40 if day == days[9] else 26)
        file = tmp_path / "landing" / "payments_fraud" / "transactions" / f"{day}.parquet"
        os.utime(file, (came.timestamp(), came.timestamp()))
    # The labels of the first day are all there; of the second every other is.
    for day, step in zip(days[:2], (1, 2), strict=True):
        known = (pl.col("event_time") + timedelta(days=7)).alias("known_at")
        labels = payments(day).gather_every(step).select("transaction_id", known, is_fraud=pl.lit(0))
        platform.put(f"{day}.parquet", labels, "labels")
    result = platform.run(days[0], days[-1])
    said = verdicts(result)
    assert said["arrived_in_time", str(days[8])][0]
    late, text = said["arrived_in_time", str(days[9])]
    assert not late and "came 40 hours after the day began; expected within 36h" in text
    assert said["labels_due", str(days[8])][0] and "0 of 480" in said["labels_due", str(days[8])][1]
    due, text = said["labels_due", str(days[9])]
    assert not due and "240 of 480 events of 2018-04-02 (50.00%) have no label by the end of 2018-04-10" in text
    assert ran(result, "next_stage")  # both only warn


def test_a_history_brought_in_afterwards_is_a_backfill_and_not_late_each_day(tmp_path: Path) -> None:
    dataset = shipped().dataset.model_copy(update={"end": None})
    platform = Platform(str(tmp_path), shipped().model_copy(update={"dataset": dataset}))
    days = days_from(DAY, 14)
    platform.put_days(days)
    brought = datetime(days[11].year, days[11].month, days[11].day, 9, tzinfo=UTC)
    for i, day in enumerate(days):
        # Twelve within minutes of one another, on the morning of the last of them; one in time; one alone and late.
        came = brought + timedelta(minutes=i)
        if day > days[11]:
            came = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=26 if day == days[12] else 50)
        file = tmp_path / "landing" / "payments_fraud" / "transactions" / f"{day}.parquet"
        os.utime(file, (came.timestamp(), came.timestamp()))
    result = platform.run(days[0], days[-1])
    said = {day: verdicts(result)["arrived_in_time", str(day)] for day in days}
    backfill = [day for day in days if "it is of a backfill, whose files came together" in said[day][1]]
    assert backfill == days[:10], "of those that came together, the newest two were not late at all"
    assert [day for day in days if not said[day][0]] == [days[13]]
    assert "50 hours after the day began; expected within 36h" in said[days[13]][1]
    again = platform.run(days[0], days[11])
    (summary,) = (
        event.event_specific_data
        for event in again.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
        and event.event_specific_data.check_name == "arrived_in_time"
        and event.event_specific_data.partition is None
    )
    assert summary.passed
    assert summary.description.startswith(
        "holds on all 12 days, 10 not judged. 2018-04-01: not judged: it is of a backfill"
    )


def test_one_file_that_comes_late_is_no_backfill() -> None:
    lifecycle = shipped()

    def came(days_later: dict[int, float]) -> Callable[[date], float | None]:
        found = {DAY + timedelta(days=day): days for day, days in days_later.items()}

        def when(day: date) -> float | None:
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            return (start + timedelta(days=found[day])).timestamp() if day in found else None

        return when

    usual = dict.fromkeys(range(-40, 0), 1.1)
    assert not is_backfill(lifecycle, DAY, came(usual | {0: 20.0}))
    assert not is_backfill(lifecycle, DAY, came(dict.fromkeys(range(-40, 9), 20.0))), "a feed always three weeks behind"
    assert not is_backfill(lifecycle, DAY, came(usual | {0: 4.0, 1: 3.0, 2: 2.0})), "an outage of three days"
    assert not is_backfill(lifecycle, DAY, came({}))
    together = {day: 20.0 - day for day in range(19)}
    assert all(is_backfill(lifecycle, DAY + timedelta(days=day), came(together)) for day in together)
