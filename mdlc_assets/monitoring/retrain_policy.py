"""The policy that asks for a new model: pure, from figures to a verdict with its reasons.

What harms is told from what does not: a drop that labels show asks for a model, and so does a drop that is
expected of scores which have moved, until labels say otherwise. Inputs that moved never do so alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal

from mdlc_assets.declaration.monitoring import Monitoring, Retrain

VerdictName = Literal["none", "wait", "retrain", "recalibrate", "stop"]
_CLEARS_AT = 0.5


@dataclass(frozen=True)
class LabelledDay:
    """A day whose labels are in, scored by the champion. `metric` is the day's own, `recent` that of the last
    declared days together with its interval; `promised` is what the gate saw; `calibration` is realised over
    expected positives over the last `calibration_days`."""

    day: date
    metric: float | None
    recent: float | None
    recent_days: int
    interval: tuple[float, float] | None
    promised: float | None
    calibration: float | None = None
    calibration_interval: tuple[float, float] | None = None
    calibration_days: int = 0
    promised_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class EstimatedDay:
    """What the open loop saw on a day scored by the champion: columns in alarm, those of them that are outputs, and
    the estimated metric of the last days beside the `usual` one of labelled days."""

    day: date
    inputs_moved: Sequence[str]
    outputs_moved: Sequence[str]
    estimate: float | None
    usual: float | None


@dataclass(frozen=True)
class Training:
    """A candidate as of a day, and what its gate said; None when it was not judged."""

    day: date
    passed: bool | None


@dataclass(frozen=True)
class OnlineDays:
    """Days of online traffic, as those of the batch path; `was_open`: yesterday a drop of it was open."""

    labelled: Sequence[LabelledDay] = ()
    estimated: Sequence[EstimatedDay] = ()
    was_open: bool = False


@dataclass(frozen=True)
class Situation:
    """All that the policy looks at, as of `today`. `champion_trained` is the as-of day of the champion,
    `trainings` are those of all candidates before today; `asked` is the newest day that asked for one;
    `stopped_days` are recent days that quality stopped; `was_open`: yesterday the drop of this champion was open;
    `without_labels`: none will ever come. `online`: the same of what the decision service answered, None where the
    policy is not to act on it."""

    today: date
    champion_trained: date | None
    trainings: Sequence[Training]
    stopped_days: Sequence[date]
    labelled: Sequence[LabelledDay]
    estimated: Sequence[EstimatedDay] = ()
    asked: date | None = None
    was_open: bool = False
    label_delay_days: int = 0
    without_labels: bool = False
    online: OnlineDays | None = None


@dataclass(frozen=True)
class Verdict:
    """What to do, and why in words; the first reason is the one that decided. `open`: a drop stands; `online`: it is
    one of online traffic."""

    verdict: VerdictName
    reasons: list[str]
    open: bool = False
    since: date | None = None
    online: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For the day's document."""
        since = self.since.isoformat() if self.since else None
        said = {"verdict": self.verdict, "reasons": self.reasons, "open": self.open, "since": since}
        return {**said, "online": True} if self.online else said


@dataclass(frozen=True)
class _Drop:
    found: bool
    said: str
    since: date | None = None
    online: bool = False


def decide(declared: Monitoring, now: Situation) -> Verdict:
    """Stop on broken data; retrain on a drop, or at the maximum age; wait for labels, cool-down or budget."""
    rule = declared.retrain
    last = now.estimated[-1] if now.estimated else None
    moved = [f"inputs or scores moved: {', '.join(last.inputs_moved)}"] if last and last.inputs_moved else []
    online = now.online or OnlineDays()
    if online.estimated and online.estimated[-1].inputs_moved:
        moved.append(f"online inputs or scores moved: {', '.join(online.estimated[-1].inputs_moved)}")
    if now.stopped_days:
        which = ", ".join(map(str, now.stopped_days))
        why = f"quality stopped {which}: mend the data, never retrain on it"
        return Verdict("stop", [why, *moved], now.was_open or online.was_open, online=online.was_open)
    if now.champion_trained is None:
        return Verdict("none", ["there is no champion yet", *moved])
    drop = _realised_drop(rule, now.labelled, now.was_open)
    if now.without_labels:
        drop = _Drop(False, "nobody says what was right, so only the champion's age asks for a new one")
    elif not drop.found:
        drop = _estimated_drop(rule, now.estimated, now.labelled) or drop
        if not drop.found:
            drop = _online_drop(rule, online) or drop
    age = (now.today - now.champion_trained).days
    if not drop.found and age < rule.max_age_days:
        off = _calibration_off(declared, now.labelled)
        if not off and (online_off := _calibration_off(declared, online.labelled)):
            off = f"online, {online_off}"
        return Verdict("recalibrate", [off, drop.said, *moved]) if off else Verdict("none", [drop.said, *moved])
    why = drop.said if drop.found else f"the champion is {age} days old, {rule.max_age_days} are allowed"
    if drop.since:
        why += f", since {drop.since}"
    hindered = _hindered(rule, now)
    if hindered:
        return Verdict("wait", [f"{why}; {hindered}", *moved], drop.found, drop.since, drop.online)
    if not drop.found:
        return Verdict("retrain", [why, drop.said, *moved])
    assert drop.since is not None
    fresh = sum(day.day >= drop.since for day in (online.labelled if drop.online else now.labelled))
    if fresh < rule.fresh_labelled_days:
        why += f"; {fresh} of {rule.fresh_labelled_days} labelled days to learn from"
        return Verdict("wait", [why, *moved], True, drop.since, drop.online)
    why += f"; {fresh} labelled days to learn from"
    return Verdict("retrain", [why, *moved], True, drop.since, drop.online)


def _online_drop(rule: Retrain, online: OnlineDays) -> _Drop | None:
    """A drop of online traffic, by the same rules as of the batch path; None where there is none."""
    found = _realised_drop(rule, online.labelled, online.was_open)
    if not found.found:
        found = _estimated_drop(rule, online.estimated, online.labelled) or found
    return replace(found, said=f"online, {found.said}", online=True) if found.found else None


def _realised_drop(rule: Retrain, labelled: Sequence[LabelledDay], was_open: bool) -> _Drop:
    """Whether labels show that the metric has fallen for good, in words, and the day it began.

    It opens when the interval lies below the promise, by the declared drop and with the promise's own interval
    allowed for, and closes at half the drop.
    """
    if not labelled:
        return _Drop(False, "no day scored by the champion has labels yet")
    last = labelled[-1]
    if last.promised is None or last.recent is None:
        return _Drop(False, f"{rule.metric} cannot be judged on {last.day}")
    said = f"{rule.metric} {last.recent:.3f} over {last.recent_days} days to {last.day}, promised {last.promised:.3f}"
    if was_open:
        low = last.recent < last.promised - rule.drop * _CLEARS_AT
    else:
        bound = min(last.promised - rule.drop, (last.promised_interval or (last.promised,))[0])
        high = last.interval[1] if last.interval else last.recent
        low = last.recent < last.promised - rule.drop and high < bound and last.recent_days >= rule.for_days
    if not low:
        return _Drop(False, said)
    since = last.day
    for day in reversed(labelled):
        # A day without figures neither proves nor ends a drop.
        if day.metric is not None:
            if day.metric >= last.promised - rule.drop * _CLEARS_AT:
                break
            since = day.day
    return _Drop(True, said, since)


def _estimated_drop(rule: Retrain, estimated: Sequence[EstimatedDay], labelled: Sequence[LabelledDay]) -> _Drop | None:
    """A drop to be expected of scores that moved, unless the labels of those days have shown no harm."""
    if not estimated or not estimated[-1].outputs_moved:
        return None
    last = estimated[-1]
    if last.estimate is None or last.usual is None or last.estimate > last.usual - rule.estimated_drop:
        return None
    since = last.day
    for day in reversed(estimated):
        if not day.outputs_moved:
            break
        since = day.day
    known = [day.metric for day in labelled if day.day >= since and day.metric is not None]
    said = f"{rule.metric} is estimated at {last.estimate:.3f} on {last.day} where {last.usual:.3f} is usual"
    promised = labelled[-1].promised if labelled else None
    if promised is not None and len(known) >= min(rule.fresh_labelled_days, rule.for_days):
        mean = sum(known) / len(known)
        if mean > promised - rule.drop:
            return _Drop(False, f"{said}, but labels of {len(known)} days since {since} say {mean:.3f}")
    return _Drop(True, f"{said}, and {', '.join(last.outputs_moved)} moved", since)


def _hindered(rule: Retrain, now: Situation) -> str:
    """Why nothing may be asked for now; empty when it may."""
    newest = now.trainings[-1].day if now.trainings else None
    if now.asked is not None and now.asked < now.today and (newest is None or newest < now.asked):
        # A request that nobody followed is not kept waiting for longer than a cool-down.
        until = now.asked + timedelta(days=_cool_down(rule, now))
        if now.today < until:
            return f"a model was asked for on {now.asked} and is not trained yet"
    if newest is not None:
        until = newest + timedelta(days=_cool_down(rule, now))
        if now.today < until:
            return f"a model was trained as of {newest}, cool-down until {until}"
    since = now.today - timedelta(days=rule.budget_days)
    spent = [training for training in now.trainings if training.day > since]
    if len(spent) >= rule.budget:
        refused = sum(training.passed is False for training in spent)
        return (
            f"{len(spent)} models were trained in {rule.budget_days} days ({refused} refused by the gate), "
            f"{rule.budget} are allowed: a person has to look"
        )
    return ""


def _cool_down(rule: Retrain, now: Situation) -> int:
    """Never shorter than the label delay: before that nobody knows whether the last training helped."""
    return max(rule.cool_down_days, now.label_delay_days)


def _calibration_off(declared: Monitoring, labelled: Sequence[LabelledDay]) -> str:
    loop = declared.closed_loop
    if not labelled or labelled[-1].calibration is None or labelled[-1].calibration_days < loop.calibration_days:
        return ""
    last = labelled[-1]
    assert last.calibration is not None
    low, high = last.calibration_interval or (last.calibration, last.calibration)
    if high >= loop.calibration_low and low <= loop.calibration_high:
        return ""
    return (
        f"{last.calibration:.2f} times what was expected came over {last.calibration_days} days to "
        f"{last.day}, allowed {loop.calibration_low:g} to {loop.calibration_high:g}"
    )
