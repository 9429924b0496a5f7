"""Metrics beside their own history: quiet days stay quiet, what changes is told, whatever the weekday does."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration.quality import UsualRule
from mdlc_assets.quality.history import DayFacts, History, RuleResult
from mdlc_assets.quality.metrics import as_mapping, daily_metrics
from mdlc_assets.quality.usual import check_name, judge_usual
from mdlc_assets_tests.sourcing.small_platform import shipped

_FIRST = date(2018, 4, 2)  # a Monday
_RULE = UsualRule()


def _day(index: int) -> date:
    return _FIRST + timedelta(days=index)


def _rows(
    index: int, rng: np.random.Generator, *, rows: int = 3_000, factor: float = 1.0, missing: float = 0.0
) -> pl.DataFrame:
    start = pl.lit(_day(index)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.DataFrame(
        {
            "transaction_id": np.arange(rows),
            "customer_id": rng.integers(0, 1_000, rows),
            "terminal_id": rng.integers(0, 2_000, rows),
            "amount": (rng.gamma(2, 25, rows) * factor).round(2),
            "second": rng.integers(0, 86_400, rows),
        }
    ).select(
        "transaction_id",
        (start + pl.duration(seconds="second")).alias("event_time"),
        "customer_id",
        "terminal_id",
        pl.when(pl.Series(rng.random(rows)) >= missing).then("amount").alias("amount"),
        account_age_days=pl.col("customer_id") + index,
    )


def _watch(frames: list[pl.DataFrame], rule: UsualRule = _RULE) -> list[dict[str, RuleResult]]:
    """The verdicts of successive days."""
    history, found = History(), []
    for i, frame in enumerate(frames):
        today = as_mapping(daily_metrics(shipped(), frame, {}))
        found.append({said.rule: said for said in judge_usual(shipped(), rule, _day(i), today, history)})
        broken = frozenset(name for name, said in found[-1].items() if not said.passed)
        history.days[_day(i)] = DayFacts(True, frame.height, [], broken=broken)
        history.metrics[_day(i)] = today
    return found


def _told(verdicts: dict[str, RuleResult]) -> set[str]:
    return {name for name, said in verdicts.items() if not said.passed}


def test_sixty_quiet_days_with_weekends_and_a_noise_of_their_own_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    # Weekends have half the rows and dearer purchases, and no two days are quite alike.
    frames = [
        _rows(
            i,
            rng,
            rows=int((1_500 if i % 7 >= 5 else 3_000) * rng.lognormal(0, 0.02)),
            factor=(1.4 if i % 7 >= 5 else 1.0) * rng.lognormal(0, 0.01),
        )
        for i in range(81)
    ]
    told = [
        (i, name, said.text)
        for i, day in enumerate(_watch(frames)[21:])
        for name, said in day.items()
        if not said.passed
    ]
    assert told == []


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"factor": 1.2}, "amount_usual", "mean"),
        ({"factor": 100}, "amount_usual", "p50"),
        ({"missing": 0.02}, "amount_usual", "missing values 2."),
        ({"rows": 2_200}, "day_usual", "rows 2,200 where 2,99"),
    ],
)
def test_a_change_is_told_on_its_day_under_its_column(change: dict[str, float], check: str, words: str) -> None:
    rng = np.random.default_rng(1)
    frames = [_rows(i, rng, rows=3_000 + int(rng.integers(-50, 50))) for i in range(30)]
    verdicts = _watch([*frames, _rows(30, rng, **change)])[-1]  # type: ignore[arg-type]
    assert _told(verdicts) == {check}
    text = verdicts[check].text
    assert words in text and f"Since {_day(30)}." in text and "a Wednesday" in text and "Mend: compare" in text


def test_a_weekend_that_reads_like_a_weekday_is_unusual() -> None:
    rng = np.random.default_rng(2)
    frames = [_rows(i, rng, rows=1_500 if i % 7 >= 5 else 3_000) for i in range(33)]
    verdicts = _watch([*frames, _rows(33, rng, rows=3_000)])[-1]
    assert _day(33).weekday() == 5
    assert "rows 3,000 where 1,500 is usual" in verdicts["day_usual"].text


def test_two_smaller_changes_on_end_count_as_one() -> None:
    rng = np.random.default_rng(3)
    frames = [_rows(i, rng) for i in range(30)]
    lone, second = (_rows(i, np.random.default_rng(5), factor=1.065) for i in (30, 31))
    found = _watch([*frames, lone, second])
    assert _told(found[30]) == set()
    assert _told(found[31]) == {"amount_usual"}


def test_a_new_level_becomes_usual_in_time_and_the_days_are_counted() -> None:
    rng = np.random.default_rng(4)
    rule = UsualRule(look_back_days=14)
    found = _watch([_rows(i, rng, factor=1.5 if i >= 20 else 1.0) for i in range(40)], rule)
    assert all("amount_usual" in _told(found[i]) for i in range(20, 25))
    assert f"Since {_day(20)}, 5 days." in found[24]["amount_usual"].text
    assert _told(found[39]) == set()


def test_a_value_never_seen_needs_a_smaller_share() -> None:
    content = shipped().dataset.columns["amount"].model_copy(update={"type": "string", "min": None, "decimals": None})
    columns = {**shipped().dataset.columns, "channel": content}
    lifecycle = shipped().model_copy(update={"dataset": shipped().dataset.model_copy(update={"columns": columns})})
    rng, history = np.random.default_rng(5), History()
    for i in range(31):
        channel = rng.choice(["web", "shop"], 3_000).astype(object)
        if i == 30:
            channel[:10] = "app"
        frame = _rows(i, rng).with_columns(channel=pl.Series(channel, dtype=pl.String))
        today = as_mapping(daily_metrics(lifecycle, frame, {}))
        verdicts = {said.rule: said for said in judge_usual(lifecycle, _RULE, _day(i), today, history)}
        history.days[_day(i)] = DayFacts(True, frame.height, [])
        history.metrics[_day(i)] = today
    assert _told(verdicts) == {"channel_usual"}
    assert "rows with 'app' 0.33% where 0.00% is usual" in verdicts["channel_usual"].text


def test_amounts_in_cents_stop_the_day_and_dearer_ones_do_not() -> None:
    rng = np.random.default_rng(8)
    rule = UsualRule(stop_change=3)
    frames = [_rows(i, rng) for i in range(30)]
    grave = {
        factor: _watch([*frames, _rows(30, np.random.default_rng(9), factor=factor)], rule)[-1]["amount_usual"]
        for factor in (100, 0.2, 2)
    }
    assert {factor: (said.passed, said.severity) for factor, said in grave.items()} == {
        100: (False, "stop"),
        0.2: (False, "stop"),
        2: (False, "warn"),
    }
    one = frames[-1].with_columns(amount=pl.when(pl.col("transaction_id") == 1).then(1e9).otherwise("amount"))
    verdict = _watch([*frames, one], rule)[-1]["amount_usual"]
    assert not verdict.passed and verdict.severity == "warn"


def test_with_a_week_or_less_it_says_so() -> None:
    rng = np.random.default_rng(6)
    verdicts = _watch([_rows(i, rng) for i in range(7)])[-1]
    assert {said.text for said in verdicts.values()} == {"not judged: fewer than 7 earlier passed days to compare with"}
    assert set(verdicts) == {check_name(c) for c in ("", *list(shipped().dataset.columns)[1:])}


def test_metrics_say_what_a_day_is_like() -> None:
    frame = _rows(0, np.random.default_rng(7), missing=0.5)
    found = as_mapping(daily_metrics(shipped(), frame, {"amount_min": 1_000}, 20.0))
    assert found["", "rows", ""] == 3_000 and found["", "arrived_hours", ""] == 20.0
    assert found["", "refused", "amount_min"] == found["", "refused", ""] == 0.25
    assert found["amount", "nulls", ""] == frame["amount"].null_count() / 3_000
    assert found["amount", "p50", ""] == pytest.approx(frame["amount"].median(), abs=0.1)
    assert found["amount", "max", ""] == frame["amount"].max()
    assert found["event_time", "share", "07"] == (frame["event_time"].dt.hour() == 7).mean()
    assert found["customer_id", "distinct", ""] == frame["customer_id"].n_unique()
    assert ("customer_id", "mean", "") not in found
    empty = as_mapping(daily_metrics(shipped(), frame.clear(), {}))
    assert empty == {("", "rows", ""): 0.0, ("", "refused", ""): 0.0}
