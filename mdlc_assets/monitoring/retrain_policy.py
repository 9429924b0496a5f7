"""The policy that asks for a new model: pure, from figures to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from mdlc_assets.declaration.monitoring import Retrain

VerdictName = Literal["none", "wait", "retrain", "stop"]


@dataclass(frozen=True)
class LabelledDay:
    """A day whose labels are in, scored by the champion. `metric` is the day's own, `recent` that of the last
    declared days together with its interval; `promised` is what the gate saw."""

    day: date
    metric: float | None
    recent: float | None
    recent_days: int
    interval: tuple[float, float] | None
    promised: float | None


@dataclass(frozen=True)
class Situation:
    """All that the policy looks at, as of `today`. `trained` is the as-of day of the newest candidate,
    `champion_trained` that of the champion; `stopped_days` are recent days that quality stopped."""

    today: date
    champion_trained: date | None
    trained: date | None
    stopped_days: Sequence[date]
    labelled: Sequence[LabelledDay]
    inputs_moved: Sequence[str]


@dataclass(frozen=True)
class Verdict:
    """What to do, and why in words; the first reason is the one that decided."""

    verdict: VerdictName
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For the day's document."""
        return {"verdict": self.verdict, "reasons": self.reasons}


def decide(declared: Retrain, now: Situation) -> Verdict:
    """Stop on broken data; retrain on a confirmed drop, or at the maximum age; wait for labels or the cool-down.

    Inputs that moved are told as a reason, and never ask for retraining alone: most drift does no harm.
    """
    moved = [f"inputs moved: {', '.join(now.inputs_moved)}"] if now.inputs_moved else []
    if now.stopped_days:
        which = ", ".join(map(str, now.stopped_days))
        return Verdict("stop", [f"quality stopped {which}: mend the data, never retrain on it", *moved])
    if now.champion_trained is None:
        return Verdict("none", ["there is no champion yet", *moved])
    dropped, reason, since = _drop(declared, now.labelled)
    age = (now.today - now.champion_trained).days
    if not dropped and age < declared.max_age_days:
        return Verdict("none", [reason, *moved])
    cooled = now.trained is None or (now.today - now.trained).days >= declared.cool_down_days
    if not cooled:
        assert now.trained is not None
        until = now.trained + timedelta(days=declared.cool_down_days)
        return Verdict("wait", [f"{reason}; a model was trained as of {now.trained}, cool-down until {until}", *moved])
    if not dropped:
        return Verdict("retrain", [f"the champion is {age} days old, {declared.max_age_days} are allowed", *moved])
    assert since is not None
    fresh = (now.labelled[-1].day - since).days + 1
    if fresh < declared.fresh_labelled_days:
        wanted = declared.fresh_labelled_days
        return Verdict("wait", [f"{reason}, since {since}; {fresh} of {wanted} labelled days to learn from", *moved])
    return Verdict("retrain", [f"{reason}, since {since}; {fresh} labelled days to learn from", *moved])


def _drop(declared: Retrain, labelled: Sequence[LabelledDay]) -> tuple[bool, str, date | None]:
    """Whether the metric has fallen for good, in words, and the day it began."""
    if not labelled:
        return False, "no day scored by the champion has labels yet", None
    last = labelled[-1]
    if last.promised is None or last.recent is None:
        return False, f"{declared.metric} cannot be judged on {last.day}", None
    said = (
        f"{declared.metric} {last.recent:.3f} over {last.recent_days} days to {last.day}, promised {last.promised:.3f}"
    )
    low = last.recent < last.promised - declared.drop
    sure = last.interval is None or last.interval[1] < last.promised
    if not (low and sure and last.recent_days >= declared.for_days):
        return False, said, None
    since = last.day
    for day in reversed(labelled):
        # A day without figures neither proves nor ends a drop.
        if day.metric is not None:
            if day.metric >= last.promised - declared.drop / 2:
                break
            since = day.day
    return True, said, since
