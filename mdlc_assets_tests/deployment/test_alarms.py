"""Alarms evaluated as CloudWatch does, and the steps of each strategy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from mdlc_assets.declaration.deployment import RealTime
from mdlc_assets.deployment.routing import Turns
from mdlc_assets.resources.endpoint_alarms import LATENCY_BOUNDS, Point, evaluate, latency_bin, quantile_of
from mdlc_assets.resources.endpoint_plan import steps_of


def _alarm(**changes: Any) -> dict[str, Any]:
    return {
        "AlarmName": "x",
        "MetricName": "Invocation5XXErrors",
        "Statistic": "Average",
        "Period": 10,
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 0.1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        **changes,
    }


def _points(*errors: int) -> list[Point]:
    """Ten requests a second for ten seconds each, with so many errors among the hundred."""
    points = []
    for number, count in enumerate(errors):
        points += [Point(number * 10 + s, 10, 0, count if s == 0 else 0) for s in range(10)]
    return points


@pytest.mark.parametrize(
    ("errors", "now", "state"),
    [
        ((50,), 10, "INSUFFICIENT_DATA"),  # one period of two
        ((50, 50), 19, "INSUFFICIENT_DATA"),  # the second is not over
        ((50, 50), 20, "ALARM"),
        ((50, 0), 20, "OK"),
        ((0, 50), 20, "OK"),
        ((0, 50, 50), 30, "ALARM"),
        ((10, 10), 20, "OK"),  # at the limit is not above it
        ((11, 11), 20, "ALARM"),
    ],
)
def test_whole_periods_in_a_row_must_breach(errors: tuple[int, ...], now: float, state: str) -> None:
    assert evaluate(_alarm(), _points(*errors), 0, now).state == state


def test_a_machine_too_busy_to_count_in_each_period_still_alarms() -> None:
    # Counted every 25 s where a period has 10: no two periods in a row have a count of their own.
    failing = [Point(at, 100, 0, 50, span=25) for at in (24, 49, 74)]
    assert evaluate(_alarm(), failing[:2], 0, 70).state == "OK"  # nothing after 49 is counted yet
    assert evaluate(_alarm(), failing, 0, 74).state == "ALARM"
    mended = [*failing[:2], Point(74, 100, span=25)]
    assert evaluate(_alarm(), mended, 0, 74).state == "OK"


def test_one_of_two_may_do_and_missing_values_are_treated_as_said() -> None:
    assert evaluate(_alarm(DatapointsToAlarm=1), _points(50, 0), 0, 20).state == "ALARM"
    assert evaluate(_alarm(), [], 0, 20).state == "OK"
    assert evaluate(_alarm(TreatMissingData="breaching"), [], 0, 20).state == "ALARM"
    assert evaluate(_alarm(TreatMissingData="missing"), [], 0, 20).state == "INSUFFICIENT_DATA"


def test_latency_is_in_microseconds_and_within_a_twelfth() -> None:
    assert LATENCY_BOUNDS[latency_bin(0.0123)] == pytest.approx(0.0123, rel=0.081)
    slow = {latency_bin(0.002): 98, latency_bin(0.5): 2}
    assert quantile_of(slow, 0.5) == pytest.approx(0.002, rel=0.081)
    alarm = _alarm(MetricName="ModelLatency", ExtendedStatistic="p99", Threshold=100_000)
    del alarm["Statistic"]
    points = [Point(s, 100, latency=slow) for s in range(20)]
    verdict = evaluate(alarm, points, 0, 20)
    assert verdict.state == "ALARM"
    assert "ModelLatency p99 was" in verdict.reason
    assert evaluate({**alarm, "ExtendedStatistic": "p90"}, points, 0, 20).state == "OK"


def test_drift_needs_scores_enough_and_is_the_share_that_moved() -> None:
    alarm = _alarm(MetricName="ScoreDrift", Statistic="Maximum", EvaluationPeriods=1, DatapointsToAlarm=1)
    few = [Point(0, scores={0: 199}, usual_scores={19: 5000})]
    assert evaluate(alarm, few, 0, 10).state == "OK"
    moved = [Point(0, scores={0: 240, 1: 60}, usual_scores={0: 900, 1: 100})]
    verdict = evaluate(alarm, moved, 0, 10)  # 0.8 and 0.2 against 0.9 and 0.1: a tenth has moved
    assert "was 0.1 in" in verdict.reason


def test_steps_of_each_strategy() -> None:
    def shares(*given: Any) -> list[float]:
        return [step.share for step in steps_of(*given)]

    assert shares("all_at_once", 0.1, 60) == [1.0]
    assert shares("canary", 0.1, 60) == [0.1, 1.0]
    assert shares("linear", 0.25, 60) == [0.25, 0.5, 0.75, 1.0]
    assert shares("linear", 0.3, 60) == pytest.approx([0.3, 0.6, 0.9, 1.0])
    assert shares("canary", 0.1, 0) == []


def test_turns_are_exact() -> None:
    for share in (0.0, 0.1, 0.25, 1 / 3, 1.0):
        turns = Turns(share)
        assert sum(turns.take() for _ in range(3000)) == round(3000 * share)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategy": "canary"}, "the strategy canary watches nothing"),
        ({"strategy": "canary", "bake": "2h"}, "an hour at most"),
        ({"strategy": "linear", "bake": "10m", "share": 0.05}, "linear steps of 0.1 to 0.5"),
        ({"bake": "30s"}, "before an alarm can go off, which takes 1m"),
        ({"bake": "10m", "alarms": {"error_rate": None}}, "without alarms nothing is ever rolled back"),
        ({"bake": "10m", "alarms": {"named": [str(i) for i in range(10)]}}, "ten alarms at most"),
        ({"workers": 4, "autoscaling": {"most_workers": 3, "calls_per_minute": 1}}, "never exceeds workers: 4"),
        ({"serverless": {}, "shadow": True}, "a serverless endpoint has neither"),
    ],
)
def test_what_cannot_be_is_refused_with_a_mend(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RealTime.model_validate(given)
    (error,) = caught.value.errors()
    assert words in error["ctx"]["message"]
    assert error["ctx"]["mend"]
    assert RealTime(strategy="canary", bake=timedelta(minutes=5)).alarms.error_rate == 0.01
