"""Rules across days, and that a stopped day goes no further, through real Dagster runs."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mdlc_assets.declaration.quality import EntityRule, RowRule, VolumeRule
from mdlc_assets.quality.entities import entity_values, judge_entities
from mdlc_assets.quality.history import DayFacts, History
from mdlc_assets.quality.volume import judge_hours, judge_volume
from mdlc_assets_tests.sourcing.small_platform import (
    DAY,
    Platform,
    days_from,
    payments,
    ran,
    shipped,
    verdicts,
    with_ages,
)


def _rule(change: str = "grows_by_day", **more: Any) -> EntityRule:
    fields = {"name": "ages", "entity": "customer_id", "column": "age", "mend": "Ask the accounts team."}
    return EntityRule.model_validate({**fields, "change": change, **more})


def _judge(rule: EntityRule, days: list[dict[int, list[int]]]) -> list[tuple[bool, str]]:
    """Verdicts of successive days, each {entity: its values}."""
    history, found = History(), []
    for i, values in enumerate(days):
        day = DAY + timedelta(days=i)
        rows = [(entity, value) for entity, ages in values.items() for value in ages]
        frame = pl.DataFrame(rows, schema={"customer_id": pl.Int64, "age": pl.Int64}, orient="row")
        today = entity_values(rule, frame)
        result = judge_entities(rule, day, today, history)
        broken = frozenset() if result.passed else frozenset({rule.name})
        history.days[day] = DayFacts(result.passed, frame.height, [0] * 24, broken=broken)
        history.values[rule.name, day] = today
        found.append((result.passed, result.text))
    return found


def test_the_ages_364_54_54_54_stop_each_day_and_say_why() -> None:
    found = _judge(_rule(), [{1: [364]}, {1: [54]}, {1: [54]}, {1: [54]}])
    assert [passed for passed, _ in found] == [True, False, False, False]
    assert found[1][1] == (
        "age must grow by one for each day; it does not for 100.0% of the 1 values of customer_id on "
        "2018-04-02 that were seen before (2018-04-01); tolerated 0.1%. Most often the change is -310 "
        "over 1 day. Since 2018-04-02. For instance 364 on 2018-04-01, 54 on 2018-04-02. "
        "Mend: Ask the accounts team."
    )
    assert "2018-04-04" in found[3][1] and "-310 over 3 days" in found[3][1]
    assert "Since 2018-04-02, 3 days." in found[3][1]
    assert "364 on 2018-04-01, 54 on 2018-04-02, 54 on 2018-04-03, 54 on 2018-04-04" in found[3][1]


@pytest.mark.parametrize(
    ("change", "days", "passed"),
    [
        ("grows_by_day", [{1: [364]}, {1: [365]}, {1: [366]}, {1: [367, 367]}], [True] * 4),
        ("grows_by_day", [{1: [364]}, {2: [5]}, {1: [366], 2: [6]}], [True] * 3),
        ("grows_by_day", [{1: [364]}, {1: [364]}], [True, False]),
        ("grows_by_day", [{1: [364]}, {1: [365, 54]}], [True, False]),
        ("never_falls", [{1: [3]}, {1: [3, 9]}, {1: [9]}, {1: [8]}], [True, True, True, False]),
        ("constant", [{1: [3]}, {1: [3]}, {1: [3, 4]}, {1: [3]}], [True, True, False, True]),
        ("never_sticks", [{1: [3]}, {1: [3]}, {1: [3]}, {1: [3]}, {1: [4]}], [True, True, False, False, True]),
        ("never_sticks", [{1: [3]}, {1: [3]}, {2: [9]}, {1: [3]}], [True, True, True, False]),
        ("never_sticks", [{1: [3]}, {1: [4]}, {1: [3]}, {1: [3, 5]}], [True] * 4),
        ("never_jumps", [{1: [100]}, {1: [110]}, {1: [100]}, {1: [89]}], [True, True, True, False]),
        ("never_jumps", [{1: [100]}, {2: [0]}, {1: [120]}, {1: [131, 400]}], [True, True, True, False]),
    ],
)
def test_each_kind_of_change(change: str, days: list[dict[int, list[int]]], passed: list[bool]) -> None:
    more = {"max_change": 10} if change == "never_jumps" else {}
    assert [verdict for verdict, _ in _judge(_rule(change, **more), days)] == passed


def test_a_fault_that_outlasts_the_look_back_does_not_become_the_measure() -> None:
    found = _judge(_rule(look_back_days=2), [{1: [364]}, *[{1: [54]}] * 8, {1: [373]}])
    assert [passed for passed, _ in found] == [True, *[False] * 8, True]


def test_a_share_of_entities_is_tolerated() -> None:
    before, after = {i: [10] for i in range(100)}, {i: [11 if i else 10] for i in range(100)}
    assert _judge(_rule(tolerated_share=0.01), [before, after])[1][0]
    verdict, text = _judge(_rule(tolerated_share=0.009), [before, after])[1]
    assert not verdict and "1.0% of the 100 values of customer_id" in text


def _history(rows: list[int], hours: list[int] | None = None, stopped: tuple[int, ...] = ()) -> History:
    history = History()
    for i, count in enumerate(rows):
        history.days[DAY + timedelta(days=i)] = DayFacts(i not in stopped, count, hours or [20] * 24)
    return history


def test_volume_is_judged_by_the_median_of_passed_days() -> None:
    rule, day = VolumeRule(), DAY + timedelta(days=5)
    history = _history([100, 110, 90, 9_000, 100], stopped=(3,))
    assert judge_volume(rule, day, 160, history).passed
    doubled = judge_volume(rule, day, 200, history)
    assert not doubled.passed and doubled.observed == 2.0
    assert "2.00 times the median of the 4 passed days before (100)" in doubled.text and "Mend" in doubled.text
    assert not judge_volume(rule, day, 59, history).passed
    few = judge_volume(rule, day, 5, _history([100, 100]))
    assert few.passed and few.observed is None and "not judged" in few.text


def test_an_empty_hour_that_never_was_before() -> None:
    hours = [20] * 24
    hours[3], hours[4] = 0, 4
    rule, day, history = VolumeRule(), DAY + timedelta(days=4), _history([480] * 4, hours)
    quiet = [0 if hour in (3, 4) else 20 for hour in range(24)]
    assert judge_hours(rule, day, quiet, history).passed  # one always empty, one empty now and then
    quiet[14] = 0
    result = judge_hours(rule, day, quiet, history)
    assert not result.passed and "in the hour from 14:00 UTC" in result.text and result.observed == 1


def test_a_stuck_age_column_stops_the_day_and_the_days_before_pass(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 4)
    for day, age in zip(days, [364, 54, 54, 54], strict=True):
        platform.put(f"{day}.parquet", with_ages(payments(day), age))
    assert ran(platform.run(days[0]), "next_stage")
    for day in days[1:]:
        result = platform.run(day)
        passed, text = verdicts(result)["account_age_grows", day.isoformat()]
        assert not passed and not ran(result, "next_stage")
        assert "account_age_days" in text and "100.0%" in text and "Ask the accounts team" in text
        assert not platform.report(day)["passed"]
    # Mended files let the days pass, in one run.
    for day, age in zip(days[1:], [365, 366, 367], strict=True):
        platform.put(f"{day}.parquet", with_ages(payments(day), age))
    result = platform.run(days[1], days[-1])
    assert ran(result, "next_stage") and all(passed for passed, _ in verdicts(result).values())


def test_a_range_whose_middle_day_is_bad_is_judged_in_order_and_stops(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 6)
    for i, day in enumerate(days):
        frame = payments(day)
        if i == 4:
            frame = frame.filter(pl.col("event_time").dt.hour() != 14)
        platform.put(f"{day}.parquet", with_ages(frame, 54 if i == 3 else 364 + i))
    result = platform.run(days[0], days[-1])
    said = verdicts(result)
    ages = {day: said["account_age_grows", day.isoformat()][0] for day in days}
    hours = {day: said["empty_hours", day.isoformat()][0] for day in days}
    assert [day for day in days if not ages[day]] == [days[3]]
    assert [day for day in days if not hours[day]] == [days[4]]
    assert not ran(result, "next_stage")
    assert [platform.report(day)["passed"] for day in days] == [True, True, True, False, False, True]
    one_by_one = Platform(str(tmp_path / "single"))
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "landing").symlink_to(tmp_path / "landing")
    for day in days:
        one_by_one.run(day, day)
    assert [one_by_one.report(day) for day in days] == [platform.report(day) for day in days]


def test_too_much_in_quarantine_stops_the_range_before_the_report(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 3)
    platform.put_days(days)
    bad = payments(days[1]).with_columns(
        amount=pl.when(pl.col("transaction_id") % 10 == 0).then(-1.0).otherwise("amount")
    )
    platform.put(f"{days[1]}.parquet", bad)
    result = platform.run(days[0], days[-1])
    said = verdicts(result)
    assert [said["quarantined_share", day.isoformat()][0] for day in days] == [True, False, True]
    text = said["quarantined_share", days[1].isoformat()][1]
    assert "48 of 480 rows of 2018-04-02 are in quarantine (10.00%: amount_min 48); allowed 2.00%" in text
    assert "For instance amount -1.0 is below 0." in text and "Mend" in text
    assert all(said["schema", day.isoformat()][0] for day in days)
    assert not ran(result, "quality_report") and not ran(result, "next_stage")
    quarantine = platform.table("quarantine").read_day(days[1])
    assert quarantine.height == 48 and set(quarantine["rule"]) == {"amount_min"}
    assert platform.table("validated").read(days).height + 48 == platform.table("raw").read(days).height


def test_doubled_volume_and_a_missing_hour_stop_the_day(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 4)
    platform.put_days(days)
    assert platform.run(days[0], days[2]).success
    platform.put(f"again_{days[3]}.parquet", payments(days[3], first_id=7_000_000))
    passed, text = verdicts(platform.run(days[3]))["volume", days[3].isoformat()]
    assert not passed and "2.00 times" in text

    platform.put(f"again_{days[3]}.parquet", payments(days[3]))  # the same bytes: a file that came twice
    gap = payments(days[3]).filter(pl.col("event_time").dt.hour() != 9)
    platform.put(f"again_{days[3]}.parquet", gap)
    platform.put(f"{days[3]}.parquet", gap)
    result = platform.run(days[3])
    passed, text = verdicts(result)["empty_hours", days[3].isoformat()]
    assert not passed and "09:00" in text and not ran(result, "next_stage")


def test_a_warning_lets_the_day_go_on(tmp_path: Path) -> None:
    warn = shipped().quality.volume.model_copy(update={"severity": "warn"})
    quality = shipped().quality.model_copy(update={"volume": warn})
    platform = Platform(str(tmp_path), shipped().model_copy(update={"quality": quality}))
    days = days_from(DAY, 4)
    platform.put_days(days[:3])
    platform.put(f"{days[3]}.parquet", payments(days[3], 100))
    result = platform.run(days[0], days[-1])
    assert not verdicts(result)["volume", days[3].isoformat()][0]
    assert platform.report(days[3])["passed"] and ran(result, "next_stage")


def test_a_column_that_is_absent_throughout_is_not_judged(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 2)
    platform.put_days(days)
    result = platform.run(days[0], days[-1])
    passed, text = verdicts(result)["account_age_grows", days[1].isoformat()]
    assert passed and text == "not judged: account_age_days has no values on 2018-04-02"
    figures = platform.report(days[0])["columns"]
    assert figures["account_age_days"] == {
        "nulls": 480,
        "min": None,
        "max": None,
        "mean": None,
        "distinct": 0,
    }
    assert figures["amount"]["nulls"] == 0 and figures["amount"]["distinct"] > 1
    assert platform.report(days[0])["hours"] == [20] * 24


def test_stored_rows_that_were_tampered_with_fail_their_checks(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 2)
    platform.put_days(days)
    platform.run(days[0], days[1])
    table = platform.table("validated")
    table.write_day(days[1], table.read_day(days[1]).tail(-3).with_columns(amount=pl.lit(-1.0)))
    said = verdicts(platform.run(days[0], days[1], checks_only=True))
    assert said["schema", str(days[0])][0] and said["quarantined_share", str(days[0])][0]
    fits, text = said["schema", str(days[1])]
    assert not fits and text.startswith("amount_min fails in 477 of 477 rows (amount). ") and "Mend: run" in text
    passed, text = said["quarantined_share", str(days[1])]
    assert not passed and "Raw has 480 rows, 3 more than validated and quarantine together" in text


def test_days_that_lasted_are_counted_through_dagster(tmp_path: Path) -> None:
    """The seed's example, as the person who is called reads it."""
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 4)
    for day, age in zip(days, [364, 54, 54, 54], strict=True):
        platform.put(f"{day}.parquet", with_ages(payments(day), age))
    said = verdicts(platform.run(days[0], days[-1]))
    assert said["account_age_grows", "2018-04-04"] == (
        False,
        "account_age_days must grow by one for each day; it does not for 100.0% of the 40 values of customer_id on "
        "2018-04-04 that were seen before (2018-04-01); tolerated 0.1%. Most often the change is -310 over 3 days. "
        "Since 2018-04-02, 3 days. For instance 364 on 2018-04-01, 54 on 2018-04-02, 54 on 2018-04-03, 54 on "
        "2018-04-04. Mend: Ask the accounts team to send the day's file again; account age must grow by one a day.",
    )
    # A day that is run again by itself, from what the lake remembers, says the same.
    again = verdicts(platform.run(days[3]))
    assert again["account_age_grows", "2018-04-04"] == said["account_age_grows", "2018-04-04"]


def test_a_rule_that_only_warns_leaves_its_rows_in(tmp_path: Path) -> None:
    rule = RowRule(
        name="cheap", holds="amount < 80", reason="Dear payments are rare.", severity="warn", tolerated_share=0.01
    )
    quality = shipped().quality.model_copy(update={"rows": [rule]})
    platform = Platform(str(tmp_path), shipped().model_copy(update={"quality": quality}))
    platform.put_days([DAY])
    result = platform.run(DAY)
    passed, text = verdicts(result)["cheap", str(DAY)]
    dear = int((payments(DAY)["amount"] >= 80).sum())
    assert dear and not passed and f"{dear} of 480 rows" in text and "Dear payments are rare" in text
    assert ran(result, "next_stage") and platform.table("validated").read_day(DAY).height == 480


def test_a_gross_change_of_a_metric_stops_and_a_moderate_one_warns(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    days = days_from(DAY, 9)
    platform.put_days(days[:7])
    for day, factor in zip(days[7:], (1.5, 100), strict=True):
        platform.put(f"{day}.parquet", payments(day).with_columns((pl.col("amount") * factor).round(2)))
    assert ran(platform.run(days[0], days[7]), "next_stage")
    assert platform.report(days[7])["passed"]
    result = platform.run(days[8])
    passed, text = verdicts(result)["amount_usual", str(days[8])]
    assert not passed and not ran(result, "next_stage") and not platform.report(days[8])["passed"]
    assert f"Since {days[7]}, 2 days." in text and "Mend: compare" in text


def test_metrics_of_a_stopped_day_are_kept(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    platform.put(f"{DAY}.parquet", payments(DAY).with_columns(amount=pl.lit(-1.0)))
    result = platform.run(DAY)
    assert not ran(result, "quality_report")
    metrics = platform.table("daily_metrics").read_day(DAY)
    assert metrics.filter(metric="refused", category="amount_min")["value"].to_list() == [1.0]


def test_reports_of_a_date_long_gone_do_not_matter(tmp_path: Path) -> None:
    platform = Platform(str(tmp_path))
    late = date(2018, 7, 1)
    platform.put_days([*days_from(DAY, 3), late])
    platform.run(DAY, DAY + timedelta(days=2))
    text = verdicts(platform.run(late))["volume", late.isoformat()][1]
    assert "fewer than 3 earlier passed days" in text
