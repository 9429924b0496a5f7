"""What is wrong with a lifecycle on a day, in words that a person acts on: the same for the page and for alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.sketch import Sketch
from mdlc_assets.resources.alerts import Problem

_ONLINE_LATE = timedelta(days=2)


@dataclass(frozen=True)
class Figures:
    """What page and alerts are made from, by day: the documents of the stages. `sketches` has for each column to
    be drawn today's and those of the reference days."""

    day: date
    quality: Mapping[date, Mapping[str, Any]]
    open_loop: Mapping[date, Mapping[str, Any]]
    closed_loop: Mapping[date, Mapping[str, Any]]
    retrain: Mapping[date, Mapping[str, Any]]
    model: Mapping[str, Any]
    sketches: Mapping[str, tuple[Sketch, list[Sketch]]]
    run_id: str = ""
    online_open: Mapping[date, Mapping[str, Any]] = field(default_factory=dict)
    online_closed: Mapping[date, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def newest_online(self) -> date | None:
        """The day whose online traffic stands for today: its report is made after the batch path has run."""
        recent = [day for day in self.online_open if timedelta(0) <= self.day - day <= _ONLINE_LATE]
        return max(recent, default=None)


def problems_of(lifecycle: LifecycleDeclaration, found: Figures) -> list[Problem]:
    """The problems of the day, the worst first."""
    problems = [
        *_broken_data(lifecycle, found),
        *_verdict(lifecycle, found),
        *_drift(lifecycle, found),
        *_online_drift(lifecycle, found),
    ]
    return sorted(problems, key=lambda problem: problem.level != "bad")


def without_earlier_verdicts(found: Figures) -> Figures:
    """A day that passed once and was stopped when it was sent again: what was said of the earlier file is left out."""
    report = found.quality.get(found.day)
    if report is None or report["passed"]:
        return found
    opened, decided = (
        {day: said for day, said in documents.items() if day != found.day}
        for documents in (found.open_loop, found.retrain)
    )
    return replace(found, open_loop=opened, retrain=decided, sketches={})


def not_judged(found: Figures) -> set[str]:
    """Keys of problems that nobody looked for on the day, since quality stopped it."""
    missing = set()
    if found.day not in found.open_loop:
        missing |= {"scores", "inputs"}
    if found.day not in found.retrain:
        missing |= {"performance", "calibration"}
    if found.newest_online is None:
        missing |= {"online_scores", "online_inputs"}
    return missing


def to_tell(
    lifecycle: LifecycleDeclaration, problems: list[Problem], not_judged: set[str]
) -> tuple[list[Problem], set[str]]:
    """Problems to be told, and keys that nobody looked for. Who keeps data for several hears of them once."""
    of_data = {"quality", "quality_warning"} if lifecycle.uses else set()
    return [problem for problem in problems if problem.key not in of_data], not_judged | of_data


def _broken_data(lifecycle: LifecycleDeclaration, found: Figures) -> list[Problem]:
    report = found.quality.get(found.day)
    owner = lifecycle.owners.quality
    if report is None or all(rule["passed"] for rule in report["rules"]):
        return []
    broken = [rule for rule in report["rules"] if not rule["passed"]]
    why = " ".join(f"{rule['rule']}: {_without_values(rule).rstrip('.')}." for rule in broken)
    if not report["passed"]:
        since = _first_of_spell(found, found.quality, lambda said: not said["passed"])
        return [
            Problem(
                "quality",
                "bad",
                "The data of this day were stopped: nothing was scored or decided from them.",
                why,
                "Have the file mended and sent again; the day then runs by itself. Until then there is no retraining.",
                owner,
                since,
                max((rule["observed"] or 0.0 for rule in broken), default=1.0),
            )
        ]
    names = {rule["rule"] for rule in broken}
    since = _first_of_spell(
        found, found.quality, lambda said: any(one["rule"] in names and not one["passed"] for one in said["rules"])
    )
    return [
        Problem(
            "quality_warning",
            "warn",
            "The data broke a rule that only warns.",
            why,
            "Look at the rule at the next opportunity; the day went on.",
            owner,
            since,
        )
    ]


def _without_values(rule: Mapping[str, Any]) -> str:
    """A rule's text less the examples in it: these are values of customers, and alerts travel."""
    text, examples = str(rule["text"]), list(rule.get("examples") or [])
    for example in ["; ".join(examples), *examples]:
        text = text.replace(f" For instance {example}.", "").replace(example, "...") if example else text
    return text


def _verdict(lifecycle: LifecycleDeclaration, found: Figures) -> list[Problem]:
    said = found.retrain.get(found.day)
    if said is None or said["verdict"] in {"none", "stop"}:
        return []
    owner, why = lifecycle.owners.training, "; ".join(said["reasons"])
    since = said.get("since") or _first_of_spell(found, found.retrain, lambda one: one["verdict"] == said["verdict"])
    what, do = {
        "retrain": (
            "The model has to be replaced; a new one is being asked for.",
            "Nothing while the gate passes: the sensor trains, the gate compares. If it refuses, the old model stays."
            if lifecycle.model.gate.approval == "policy"
            else "The sensor trains, the gate compares. Read the evaluation then, and approve or reject the version.",
        ),
        "wait": (
            "The model has become worse, or too old; a new one has to wait.",
            "See what it waits for. If harm cannot wait: tighten the decision rules, or `mdlc rollback`.",
        ),
        "recalibrate": (
            "Not as much comes as is foretold."
            if lifecycle.labels.kind == "number"
            else "The scores no longer say how likely the event is; the ranking still holds.",
            "Review the thresholds of the decision rules; train again if it lasts."
            if lifecycle.labels.kind == "number"
            else "Calibrate the scores again, or review the thresholds of the decision rules.",
        ),
    }[said["verdict"]]
    key = "calibration" if said["verdict"] == "recalibrate" else "performance"
    level = "warn" if said["verdict"] == "recalibrate" or not said.get("open", True) else "bad"
    return [Problem(key, level, what, why, do, owner, since)]  # type: ignore[arg-type]


def _drift(lifecycle: LifecycleDeclaration, found: Figures) -> list[Problem]:
    report = found.open_loop.get(found.day)
    texts = ("Scores or decisions are not what they were.", "Inputs are not what they were on healthy days.")
    return _moved(lifecycle, found.day, report, ("scores", "inputs"), texts)


def _online_drift(lifecycle: LifecycleDeclaration, found: Figures) -> list[Problem]:
    day = found.newest_online
    texts = (
        f"Online, scores or decisions of {day} are not those of the batch path's healthy days.",
        f"Online, the features that the decision service was given on {day} are not those of healthy days.",
    )
    report = None if day is None else found.online_open[day]
    return _moved(lifecycle, day or found.day, report, ("online_scores", "online_inputs"), texts)


def _moved(
    lifecycle: LifecycleDeclaration,
    day: date,
    report: Mapping[str, Any] | None,
    keys: tuple[str, str],
    texts: tuple[str, str],
) -> list[Problem]:
    """What an open loop's report says of outputs, and of inputs."""
    if report is None or not report["alarm"]:
        return []
    reasons = dict(zip(report["alarmed"], report["reasons"], strict=True))
    outputs = report["outputs_alarmed"]
    inputs = [name for name in report["alarmed"] if name not in outputs]
    return [
        Problem(
            key,
            "warn",
            what,
            "; ".join(reasons[name] for name in names) + ".",
            "Ask whether the source or the business changed. The model is only replaced when labels, or "
            "its own estimate, show harm.",
            lifecycle.owners.monitoring,
            min(report["since"].get(name, day.isoformat()) for name in names),
            max(report["columns"][name]["size"] for name in names),
        )
        for key, what, names in zip(keys, texts, (outputs, inputs), strict=True)
        if names
    ]


def _first_of_spell(found: Figures, documents: Mapping[date, Mapping[str, Any]], holds) -> str:  # type: ignore[no-untyped-def]
    """The first day of the unbroken run of days, up to today, on which something holds."""
    first = found.day
    for day in sorted((when for when in documents if when <= found.day), reverse=True):
        if not holds(documents[day]):
            break
        first = day
    return first.isoformat()
