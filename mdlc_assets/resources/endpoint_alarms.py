"""Alarms as CloudWatch evaluates them, on what an endpoint's own workers count.

An alarm is CloudWatch's request PutMetricAlarm as a dictionary, so the same one goes to AWS. A point is one
second of one version's answers. Metrics, and their names and units, are those SageMaker gives its endpoints:
Invocations, Invocation4XXErrors and Invocation5XXErrors (average: the share of requests), ModelLatency in
microseconds; and our own ScoreDrift, the distance between the scores of the new version and the old.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

AlarmState = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
OWN_NAMESPACE = "MDLC/Endpoints"

# Upper bounds of the latency's bins in seconds, each a twelfth above the last: 20 microseconds to 100 seconds.
LATENCY_BOUNDS = [20e-6 * 1.08**number for number in range(201)]
SCORE_BINS = 20
# Fewer scores than this say nothing of their distribution.
LEAST_SCORES = 200


def latency_bin(seconds: float) -> int:
    """The bin of a time; the last one is open."""
    return bisect.bisect_left(LATENCY_BOUNDS, seconds)


@dataclass
class Point:
    """What one version answered in the `span` seconds up to `at`. Bins are counts by bin number.

    `usual_scores` are those of the version it is to replace, in the same span.
    """

    at: float
    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    scores: dict[int, int] = field(default_factory=dict)
    usual_scores: dict[int, int] = field(default_factory=dict)
    span: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The state of an alarm and why, in words."""

    state: AlarmState
    reason: str


def merge(points: Iterable[Point], at: float = 0.0) -> Point:
    """Several points as one."""
    total = Point(at)
    for point in points:
        total.invocations += point.invocations
        total.errors_4xx += point.errors_4xx
        total.errors_5xx += point.errors_5xx
        for bins, more in (
            (total.latency, point.latency),
            (total.scores, point.scores),
            (total.usual_scores, point.usual_scores),
        ):
            for number, count in more.items():
                bins[number] = bins.get(number, 0) + count
    return total


def evaluate(alarm: Mapping[str, Any], points: Sequence[Point], since: float, now: float) -> Verdict:
    """The state of an alarm on the points from `since` to `now` (seconds on the same clock).

    The last EvaluationPeriods whole periods count, DatapointsToAlarm of them must breach. Periods in which
    the metric has no value are treated as the alarm says (TreatMissingData).
    """
    period, wanted = float(alarm["Period"]), int(alarm["EvaluationPeriods"])
    breaches_needed = int(alarm.get("DatapointsToAlarm", wanted))
    whole = int((now - since) / period)
    if whole < wanted:
        return Verdict("INSUFFICIENT_DATA", f"{whole} of {wanted} periods of {period:g} s have passed")
    values = []
    for number in range(whole - wanted, whole):
        begin = since + number * period
        values.append(metric_value(alarm, _within(points, begin, begin + period)))
    missing = alarm.get("TreatMissingData", "missing")
    found = [value for value in values if value is not None]
    if not found and missing == "missing":
        return Verdict("INSUFFICIENT_DATA", f"{alarm['MetricName']} has no value yet")
    breaching = [value for value in found if breaches(alarm, value)]
    count = len(breaching) + (len(values) - len(found) if missing == "breaching" else 0)
    shown = ", ".join("no value" if value is None else f"{value:.4g}" for value in values)
    name, limit = alarm["MetricName"], alarm["Threshold"]
    text = f"{name} {_statistic(alarm)} was {shown} in {len(values)} x {period:g} s; the limit is {limit:g}"
    return Verdict("ALARM" if count >= breaches_needed else "OK", text)


def _within(points: Sequence[Point], begin: float, end: float) -> Point:
    """What was answered in a period. One in which nobody counted, as on a busy machine, is part of the next count."""
    inside = [point for point in points if begin <= point.at < end]
    return merge(inside or [point for point in points if point.at - point.span < end <= point.at])


def metric_value(alarm: Mapping[str, Any], point: Point) -> float | None:
    """The alarm's metric in a point, or None where there is none."""
    name = alarm["MetricName"]
    if name == "ScoreDrift":
        return _drift(point)
    if name == "ModelLatency":
        return _latency(alarm, point)
    count = {
        "Invocations": point.invocations,
        "Invocation4XXErrors": point.errors_4xx,
        "Invocation5XXErrors": point.errors_5xx,
    }.get(name)
    if count is None or not point.invocations:
        return None
    return count / point.invocations if alarm.get("Statistic") == "Average" else float(count)


def breaches(alarm: Mapping[str, Any], value: float) -> bool:
    """Whether a value is beyond the alarm's threshold."""
    limit = float(alarm["Threshold"])
    return {
        "GreaterThanThreshold": value > limit,
        "GreaterThanOrEqualToThreshold": value >= limit,
        "LessThanThreshold": value < limit,
        "LessThanOrEqualToThreshold": value <= limit,
    }[alarm["ComparisonOperator"]]


def quantile_of(latency: Mapping[int, int], level: float) -> float | None:
    """The upper bound in seconds of the bin that holds the quantile."""
    total, passed = sum(latency.values()), 0
    for number in sorted(latency):
        passed += latency[number]
        if passed >= level * total:
            return LATENCY_BOUNDS[min(number, len(LATENCY_BOUNDS) - 1)]
    return None


def _latency(alarm: Mapping[str, Any], point: Point) -> float | None:
    extended = alarm.get("ExtendedStatistic")
    if extended:
        seconds = quantile_of(point.latency, float(extended.removeprefix("p")) / 100)
        return None if seconds is None else 1e6 * seconds
    total = sum(point.latency.values())
    if not total:
        return None
    bounds = {number: LATENCY_BOUNDS[min(number, len(LATENCY_BOUNDS) - 1)] for number in point.latency}
    if alarm.get("Statistic") == "Maximum":
        return 1e6 * max(bounds.values())
    return 1e6 * sum(count * bounds[number] for number, count in point.latency.items()) / total


def _drift(point: Point) -> float | None:
    return score_distance(point.scores, point.usual_scores)


def score_distance(new: Mapping[int, float], usual: Mapping[int, float], least: float = LEAST_SCORES) -> float | None:
    """The total variation distance of two histograms: 0 where they are alike, 1 where they share nothing.

    None where either holds too few scores to say anything.
    """
    total, total_usual = sum(new.values()), sum(usual.values())
    if min(total, total_usual) < least:
        return None
    bins = {*new, *usual}
    return 0.5 * sum(abs(new.get(b, 0) / total - usual.get(b, 0) / total_usual) for b in bins)


def _statistic(alarm: Mapping[str, Any]) -> str:
    return str(alarm.get("ExtendedStatistic") or alarm.get("Statistic", "")).lower()
