"""Each daily metric against its own history: what is usual on that weekday, and how far off the day is.

What is usual is the median of the passed days, moved by the weekday's own median where that weekday is clearly
another. How far off is said in scatters: the spread of the days around what is usual, at least what sampling so
many rows alone would give. Large samples make any difference significant, so a change must also be large enough
to matter. One odd day among those looked back at moves a median by next to nothing; a new level becomes usual
once half of them have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import UsualRule
from mdlc_assets.quality.history import History, Metric, RuleResult, broken, kept, skipped
from mdlc_assets.quality.metrics import QUANTILES, REFUSED, ROWS, entities_of

_FEWEST_DAYS = 7
_NAMED = 4
# A weekday's median is another when it is off by so many standard errors.
_ANOTHER_WEEKDAY = 2.5
# Of the declared scatters, when yesterday was off in the same direction. At 5 scatters: 3.5 twice.
_TWO_DAYS_RUNNING = 0.7
# A scatter known from few days is known badly: by four days' worth, for heavy tails.
_FEW_DAYS_ALLOWANCE = 4
# The largest value, and through it the standard deviation, hangs on single rows.
_LEAST_CHANGE_OF_MAX = np.log(3)
_LEAST_CHANGE_OF_STD = 5
# A share that never was above zero needs only so much of the least share.
_NEVER_SEEN = 0.2
_SHARES = {"nulls", "top_share", "zero_share", "whole_share", "true_share", "share", REFUSED}
_COUNTS = {ROWS, "distinct", "max"}
_QUARTILES = ("p25", "p50", "p75")
_LEVELS = {"mean", "std", *QUANTILES}
_MEND = (
    "compare the day's file with an earlier one and ask the owner of the data what changed; if the change is meant, "
    "nothing needs doing: it becomes usual as days go by"
)


@dataclass(frozen=True)
class Deviation:
    """One metric of a day beside what is usual; `scatters` has the sign of the change."""

    metric: Metric
    value: float
    usual: float
    scatters: float
    unusual: bool


def check_name(column: str) -> str:
    """The name of the check on a column's metrics; those of the day as a whole have no column."""
    return f"{column or 'day'}_usual"


def judged_columns(lifecycle: LifecycleDeclaration) -> list[str]:
    """The columns whose metrics are judged, the day as a whole (no column) first; none without a rule."""
    rule = lifecycle.quality.usual
    if rule is None:
        return []
    chosen = rule.columns or [name for name in lifecycle.dataset.columns if name != lifecycle.dataset.id]
    return ["", *chosen]


def judge_usual(
    lifecycle: LifecycleDeclaration, rule: UsualRule, day: date, today: Mapping[Metric, float], history: History
) -> list[RuleResult]:
    """One verdict for the day as a whole and one for each column."""
    days = [d for d in history.before(day, rule.look_back_days) if d in history.metrics]
    columns = judged_columns(lifecycle)
    if len(days) < _FEWEST_DAYS:
        why = f"fewer than {_FEWEST_DAYS} earlier passed days to compare with"
        return [skipped(check_name(column), rule.severity, why) for column in columns]
    found = deviations(lifecycle, rule, day, today, [(d, history.metrics[d]) for d in days])
    fewer_rows = any(said.unusual and said.metric == ("", ROWS, "") for said in found)
    results = []
    for column in columns:
        own = [said for said in found if said.metric[0] == column]
        # With fewer rows there are fewer distinct values: that is said once, of the rows.
        odd = [said for said in own if said.unusual and not (fewer_rows and said.metric[1] == "distinct")]
        odd.sort(key=lambda said: -abs(said.scatters))
        name = check_name(column)
        most = max((abs(said.scatters) for said in own), default=0.0)
        if not odd:
            text = f"{len(own)} metrics of {column or 'the day'} are as usual on the {len(days)} passed days before"
            results.append(kept(name, rule.severity, most, text))
            continue
        more = f" and {len(odd) - _NAMED} more metrics" if len(odd) > _NAMED else ""
        said_all = "; ".join(_in_words(said) for said in odd[:_NAMED]) + more
        text = f"{column or 'the day'} is unusual on {day}, a {day:%A}: {said_all}"
        severity = "stop" if any(_stops(rule, said) for said in odd) else rule.severity
        results.append(broken(name, severity, most, text, _MEND, day=day, history=history))
    return results


def _stops(rule: UsualRule, said: Deviation) -> bool:
    """Whether a quartile moved so far that no features should be made from the day; single rows cannot move it."""
    _, metric, _ = said.metric
    if rule.stop_change is None or metric not in _QUARTILES:
        return False
    few, many = sorted((abs(said.value), abs(said.usual)))
    return many >= (1 + rule.stop_change) * few


def deviations(
    lifecycle: LifecycleDeclaration,
    rule: UsualRule,
    day: date,
    today: Mapping[Metric, float],
    before: Sequence[tuple[date, Mapping[Metric, float]]],
) -> list[Deviation]:
    """Every judged metric of the day; `before` are the days that serve as a measure, in order."""
    metrics = sorted(metric for metric in _all_metrics(today, before) if _is_judged(lifecycle, metric, today, before))
    if not metrics:
        return []
    days = [d for d, _ in before]
    past = np.array([[_value(known, metric) for metric in metrics] for _, known in before])
    now = np.array([_value(today, metric) for metric in metrics])
    counted = np.array([metric[1] in _COUNTS for metric in metrics])
    y = np.where(counted, np.log(np.maximum(past, 0.5)), past)
    y_now = np.where(counted, np.log(np.maximum(now, 0.5)), now)
    usual = _median(y)
    noise, least = _noise(metrics, usual, today), _least(lifecycle, rule, metrics, usual, past)
    weekdays = np.array([d.weekday() for d in days])
    expected = np.array([_weekday_median(y, usual, noise, weekdays == weekday) for weekday in range(7)])
    residual = y - expected[weekdays]
    scatter = _scatter(residual, noise)
    z, far = _off(y_now - expected[day.weekday()], scatter, least)
    z_before, far_before = _off(residual[-1], scatter, least)
    two_running = far & far_before & (np.sign(z) == np.sign(z_before)) & ((day - days[-1]).days <= 3)
    needed = np.where(two_running, _TWO_DAYS_RUNNING * rule.scatters, rule.scatters)
    strong = np.where(two_running, np.minimum(np.abs(z), np.abs(z_before)), 0) >= needed
    unusual = far & (strong | (np.abs(z) >= rule.scatters))
    shown = expected[day.weekday()]
    shown = np.exp(shown, where=counted, out=shown.copy())
    return [
        Deviation(metric, float(now[i]), float(shown[i]), float(z[i]), bool(unusual[i]))
        for i, metric in enumerate(metrics)
    ]


def _weekday_median(y: np.ndarray, usual: np.ndarray, noise: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What is usual on a weekday: its own median where it is clearly another, else that of all days."""
    if not chosen.any():
        return usual
    spread = np.maximum(1.4826 * _median(np.abs(y - usual)), noise)
    # Of two middle values the one nearer to the other days, so that a change of level does not pass for a weekday.
    low, high = _middle(y[chosen])
    own = np.where(np.abs(low - usual) <= np.abs(high - usual), low, high)
    error = 1.25 * spread / np.sqrt(chosen.sum())
    return np.where(np.abs(own - usual) > _ANOTHER_WEEKDAY * error, own, usual)


def _middle(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two middle values of each column, nulls left out; NaN where there are none. NumPy's own loops in Python."""
    ordered, count = np.sort(y, axis=0), (~np.isnan(y)).sum(axis=0)
    low, high = (
        np.take_along_axis(ordered, np.maximum(at, 0)[None], axis=0)[0] for at in ((count - 1) // 2, count // 2)
    )
    return low, np.where(count > 0, high, np.nan)


def _median(y: np.ndarray) -> np.ndarray:
    low, high = _middle(y)
    return (low + high) / 2


def _scatter(residual: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The days' spread with outliers pulled in, never below sampling noise, more for a short history."""
    limit = 3 * np.maximum(1.4826 * _median(np.abs(residual)), noise)
    spread = np.sqrt(np.nanmean(np.clip(residual, -limit, limit) ** 2, axis=0))
    return np.maximum(spread, noise) * (1 + _FEW_DAYS_ALLOWANCE / len(residual))


def _off(change: np.ndarray, scatter: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many scatters a change is, and whether it is large enough to matter."""
    return change / np.maximum(scatter, 1e-12), np.abs(change) > least


def _noise(metrics: Sequence[Metric], usual: np.ndarray, today: Mapping[Metric, float]) -> np.ndarray:
    """What sampling as many rows as today has alone would scatter."""
    rows = max(1.0, today.get(("", ROWS, ""), 1.0))
    place = {metric: i for i, metric in enumerate(metrics)}
    found = np.zeros(len(metrics))
    for i, (column, metric, _) in enumerate(metrics):
        if metric in _SHARES:
            share = min(max(usual[i], 1 / rows), 1 - 1 / rows) if rows > 1 else 0.5
            found[i] = np.sqrt(share * (1 - share) / rows)
        elif metric in (ROWS, "distinct"):
            found[i] = 1 / np.sqrt(rows)
        elif metric.endswith("mean"):
            std = place.get((column, metric[:-4] + "std", ""))
            found[i] = usual[std] / np.sqrt(rows) if std is not None else 0.0
    return found


def _least(
    lifecycle: LifecycleDeclaration,
    rule: UsualRule,
    metrics: Sequence[Metric],
    usual: np.ndarray,
    past: np.ndarray,
) -> np.ndarray:
    """The change of each metric below which nothing is said."""
    place = {metric: i for i, metric in enumerate(metrics)}
    found = np.zeros(len(metrics))
    for i, (column, metric, _) in enumerate(metrics):
        if metric in _SHARES:
            found[i] = rule.least_share * (1 if past[:, i].any() else _NEVER_SEEN)
        elif metric == "max":
            found[i] = _LEAST_CHANGE_OF_MAX
        elif metric in _COUNTS:
            found[i] = rule.least_change
        else:
            prefix, name = ("hour_", metric[5:]) if metric.startswith("hour_") else ("", metric)
            std = place.get((column, f"{prefix}std", ""))
            size = max(abs(usual[i]), usual[std] if std is not None else 0.0)
            found[i] = rule.least_change * size * (_LEAST_CHANGE_OF_STD if name == "std" else 1)
            if name in QUANTILES and not prefix and lifecycle.dataset.columns[column].type == "integer":
                # A quantile of whole numbers moves by one when a few rows do.
                found[i] = max(found[i], 1.0)
    return found


def _all_metrics(today: Mapping[Metric, float], before: Sequence[tuple[date, Mapping[Metric, float]]]) -> set[Metric]:
    return set(today).union(*(known for _, known in before))


def _is_judged(
    lifecycle: LifecycleDeclaration,
    metric: Metric,
    today: Mapping[Metric, float],
    before: Sequence[tuple[date, Mapping[Metric, float]]],
) -> bool:
    column, name, _ = metric
    if column not in judged_columns(lifecycle):
        return False
    if name in _SHARES:
        return True
    # Values that move from day to day by their own rule have a level that is never usual.
    moving = {r.column for r in lifecycle.quality.entities if r.change in ("grows_by_day", "never_falls")}
    level = name.removeprefix("hour_") in _LEVELS or name == "max"
    if level and (column in moving or column in entities_of(lifecycle)):
        return False
    known = sum(metric in day for _, day in before)
    return (level or name in _COUNTS) and metric in today and known >= _FEWEST_DAYS


def _value(known: Mapping[Metric, float], metric: Metric) -> float:
    return known.get(metric, 0.0 if metric[1] in _SHARES else np.nan)


def _in_words(said: Deviation) -> str:
    _, metric, category = said.metric
    if metric in _SHARES:
        what = {
            "nulls": "missing values",
            "top_share": "rows with the most frequent value",
            "zero_share": "zeros",
            "whole_share": "whole numbers",
            "true_share": "true",
            "share": f"rows in the hour from {category}:00" if category.isdigit() else f"rows with {category!r}",
            REFUSED: f"rows in quarantine{f' by {category}' if category else ''}",
        }[metric]
        return f"{what} {said.value:.2%} where {said.usual:.2%} is usual ({said.scatters:+.0f} scatters)"
    name = {ROWS: "rows", "distinct": "distinct values"}.get(metric, metric.replace("_", " "))
    change = f"{said.value / said.usual - 1:+.0%}, " if said.usual else ""
    return f"{name} {said.value:,.4g} where {said.usual:,.4g} is usual ({change}{said.scatters:+.0f} scatters)"
