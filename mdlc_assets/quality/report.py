"""A day's quality report: its figures and the verdicts of the rules over days."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from mdlc_assets.declaration.dataset import Dataset
from mdlc_assets.declaration.quality import Quality
from mdlc_assets.quality.rules import judge_entities, judge_volume, last_values


class QualityHistory:
    """What is kept of healthy days, to judge later ones by: hourly counts and entities' last values.

    `read` gives a day's validated rows with the named columns; each day is read at most once.
    """

    def __init__(self, dataset: Dataset, quality: Quality, read: Callable[[date, list[str]], pl.DataFrame]) -> None:
        self.dataset, self.quality, self.read = dataset, quality, read
        self.hours: dict[date, Sequence[int]] = {}
        self._values: dict[str, dict[date, pl.DataFrame]] = {rule.name: {} for rule in quality.entities}

    def add_healthy(self, day: date, hours: Sequence[int]) -> None:
        """Count a day among those that later ones are compared with."""
        self.hours[day] = hours

    def values(self, rule_name: str, day: date) -> Mapping[date, pl.DataFrame]:
        """Last values of the day and of the healthy days within the rule's look-back."""
        rule = next(rule for rule in self.quality.entities if rule.name == rule_name)
        kept = self._values[rule_name]
        wanted = [when for when in self.hours if 0 < (day - when).days <= rule.look_back_days] + [day]
        for when in wanted:
            if when not in kept:
                kept[when] = last_values(self.read(when, [rule.entity, rule.column]), rule)
        return {when: kept[when] for when in wanted}


def judge_day(day: date, rows: pl.DataFrame, quarantined: int, history: QualityHistory) -> dict[str, Any]:
    """The document `quality_report` of a day; a healthy day is added to the history."""
    dataset, quality = history.dataset, history.quality
    hours = hourly_counts(rows[dataset.time])
    results = judge_volume(quality.volume, day, rows.height, hours, history.hours)
    results += [judge_entities(rule, day, history.values(rule.name, day)) for rule in quality.entities]
    passed = all(result.passed for result in results if result.severity == "stop")
    if passed:
        history.add_healthy(day, hours)
    return {
        "passed": passed,
        "rows": rows.height,
        "quarantined": quarantined,
        "columns": {name: _figures(rows[name]) for name in dataset.columns},
        "hours": hours,
        "rules": [result.as_dict() for result in results],
    }


def hourly_counts(instants: pl.Series) -> list[int]:
    """Events in each of the 24 hours, UTC."""
    counted = dict(instants.dt.hour().value_counts().iter_rows())
    return [counted.get(hour, 0) for hour in range(24)]


def _figures(cells: pl.Series) -> dict[str, Any]:
    found: dict[str, Any] = {"nulls": cells.null_count(), "distinct": cells.n_unique()}
    if cells.dtype.is_numeric() and cells.null_count() < len(cells):
        found |= {"min": cells.min(), "max": cells.max(), "mean": cells.mean()}
    elif cells.dtype.is_temporal() and len(cells):
        found |= {"min": str(cells.min()), "max": str(cells.max())}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in found.items()
    }
