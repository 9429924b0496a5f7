"""Thresholds: the score from which an event is acted on, chosen by cost or by capacity.

A threshold chosen on the very days that it is judged on looks better than it is. So each test day is also judged
with the threshold of the other days; that figure is the honest one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration.evaluation import Costs
from mdlc_assets.training.metrics import Scored, best_by_day


def row_costs(rows: pl.DataFrame, costs: Costs) -> tuple[np.ndarray, np.ndarray]:
    """What a miss and what a false alarm would cost for each row."""
    given = {"miss": costs.miss, "false_alarm": costs.false_alarm}
    found = rows.with_columns(
        (pl.sql_expr(value) if isinstance(value, str) else pl.lit(value)).cast(pl.Float64).alias(name)
        for name, value in given.items()
    )
    return found["miss"].to_numpy(), found["false_alarm"].to_numpy()


def by_cost(found: Scored, miss: np.ndarray, alarm: np.ndarray) -> dict[str, Any] | None:
    """The threshold with the least cost, what it costs a day, and what it would cost to act on nothing.

    `cost_a_day` is with each day judged by the threshold of the other days; None for a single day.
    """
    if found.one_class:
        return None
    threshold = _cheapest(found, miss, alarm)
    days = np.unique(found.day)
    honest = None
    if len(days) > 1:
        total = 0.0
        for day in days:
            today = found.day == day
            others = _cheapest(found.only(~today), miss[~today], alarm[~today])
            total += _cost(found.only(today), miss[today], alarm[today], others)
        honest = total / len(days)
    return {
        "threshold": threshold,
        "cost_a_day": honest,
        "cost_a_day_same_days": _cost(found, miss, alarm, threshold) / len(days),
        "cost_a_day_without_model": float(miss[found.label == 1].sum()) / len(days),
        **_outcome(found, threshold),
    }


def by_capacity(found: Scored, capacity: int) -> dict[str, Any] | None:
    """The lowest threshold with which no more than `capacity` entities a day are to be looked at, on average."""
    if found.one_class:
        return None
    best = pl.concat(best_by_day(found))
    days = len(np.unique(found.day))
    scores = np.sort(best["score"].to_numpy())[::-1]
    places = capacity * days
    if len(scores) <= places:
        threshold = float(scores[-1])
    else:
        # Of equal scores either all or none are above a threshold.
        above = scores[:places][scores[:places] > scores[places]]
        threshold = float(above[-1]) if len(above) else float(np.nextafter(scores[0], 2))
    chosen = best.filter(pl.col("score") >= threshold)
    busiest = chosen.group_by("day").len()["len"].max() or 0
    return {
        "capacity": capacity,
        "threshold": threshold,
        "entities_a_day": chosen.height / days,
        "entities_on_the_busiest_day": busiest,
        "share_of_entities_right": float(chosen["label"].mean()) if chosen.height else None,  # type: ignore[arg-type]
        **_outcome(found, threshold),
    }


def _cheapest(found: Scored, miss: np.ndarray, alarm: np.ndarray) -> float:
    """The threshold with the least cost; where several cost the same, the one with the fewest alarms."""
    order = np.argsort(-found.score, kind="stable")
    score, label = found.score[order], found.label[order] == 1
    ends = np.flatnonzero(np.concatenate([score[1:] != score[:-1], [True]]))
    alarms = np.cumsum(np.where(label, 0.0, alarm[order]))[ends]
    spared = np.cumsum(np.where(label, miss[order], 0.0))[ends]
    change = alarms - spared
    best = int(np.argmin(change))
    if change[best] >= 0:
        return float(np.nextafter(score[0], 2))
    return float(score[ends[best]])


def _cost(found: Scored, miss: np.ndarray, alarm: np.ndarray, threshold: float) -> float:
    acted, happened = found.score >= threshold, found.label == 1
    return float(miss[happened & ~acted].sum() + alarm[~happened & acted].sum())


def _outcome(found: Scored, threshold: float) -> dict[str, float | None]:
    acted = found.score >= threshold
    hits = float(found.label[acted].sum())
    return {
        "alarms_a_day": float(acted.sum()) / len(np.unique(found.day)),
        "precision": hits / float(acted.sum()) if acted.any() else None,
        "recall": hits / float(found.label.sum()),
    }
