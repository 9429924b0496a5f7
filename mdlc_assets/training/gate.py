"""The gate: may a candidate serve? A verdict with its reasons in words, for whoever is woken by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mdlc_assets.declaration.evaluation import Gate, SliceGate


@dataclass(frozen=True)
class Finding:
    """How one condition came out, in words."""

    passed: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """What was found, condition by condition."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)

    @property
    def reasons(self) -> list[str]:
        """All findings in words, those that refuse first."""
        return [finding.text for finding in sorted(self.findings, key=lambda finding: finding.passed)]


def judge(gate: Gate, found: Mapping[str, Any]) -> Verdict:
    """Judge an evaluation (the document without its verdict) by what was declared."""
    return Verdict(tuple(_findings(gate, found)))


def _findings(gate: Gate, found: Mapping[str, Any]) -> Iterator[Finding]:
    metrics, intervals = found["metrics"], found.get("intervals", {})
    positives = found["positives"]
    if positives is None and found["test_rows"] < gate.least_positives:
        yield Finding(False, f"{found['test_rows']} test rows are too few; {gate.least_positives} are needed")
    if positives is not None and positives < gate.least_positives:
        yield Finding(
            False,
            f"{positives} positives among {found['test_rows']} test rows are too few to judge by; "
            f"{gate.least_positives} are needed",
        )
    for name, floor in gate.floors.items():
        yield _floor(name, metrics.get(name), floor, intervals.get(name))
    for name, ceiling in gate.ceilings.items():
        value = metrics.get(name)
        good = value is not None and value <= ceiling
        word = "stays within" if good else "is above"
        yield Finding(good, f"{name} {_shown(value)}{_range(intervals.get(name))} {word} the ceiling {ceiling:g}")
    if gate.calibration:
        yield _calibrated(gate.calibration, found["calibration"]["observed_to_expected"], positives is None)
    yield _beside(gate, metrics, found.get("champion"))
    for name, declared in gate.slices.items():
        yield from _slice(gate, name, declared, found["slices"][name])


def _floor(name: str, value: float | None, floor: float, interval: Any, where: str = "") -> Finding:
    good = value is not None and value >= floor
    word = "reaches" if good else "is below"
    return Finding(good, f"{where}{name} {_shown(value)}{_range(interval)} {word} the floor {floor:g}")


def _calibrated(bounds: tuple[float, float], ratio: float | None, number: bool) -> Finding:
    low, high = bounds
    if ratio is None:
        why = "some numbers lie below 0" if number else "all scores are 0"
        return Finding(False, f"calibration cannot be computed: {why}")
    good = low <= ratio <= high
    word = "within" if good else "outside"
    said = "times as much came as was foretold" if number else "positives for each that the scores expect"
    return Finding(good, f"{ratio:.2f} {said}, {word} {low:g} to {high:g}")


def _beside(gate: Gate, metrics: Mapping[str, float | None], champion: Mapping[str, Any] | None) -> Finding:
    if champion is None:
        return Finding(True, "there is no champion to compare with")
    version = champion["version"]
    if champion.get("not_compared"):
        return Finding(True, f"not compared with champion version {version}: {champion['not_compared']}")
    mine, theirs = metrics.get(gate.compare_by), champion["metrics"].get(gate.compare_by)
    if mine is None or theirs is None:
        return Finding(False, f"{gate.compare_by} cannot be compared with champion version {version}")
    return _lost(gate, gate.compare_by, mine, theirs, champion["difference_interval"], gate.may_lose, version)


def _slice(gate: Gate, name: str, declared: SliceGate, found: Mapping[str, Any]) -> Iterator[Finding]:
    counted, what = (found["rows"], "rows") if found["positives"] is None else (found["positives"], "positives")
    if counted < declared.least_positives:
        yield Finding(True, f"slice {name} is not judged: {counted} {what} are too few")
        return
    for metric, floor in declared.floors.items():
        yield _floor(metric, found["metrics"].get(metric), floor, found["intervals"].get(metric), f"slice {name}: ")
    beside = found.get("champion")
    if declared.may_lose is None or beside is None:
        return
    mine, theirs = found["metrics"].get(gate.compare_by), beside["metrics"].get(gate.compare_by)
    if mine is None or theirs is None:
        yield Finding(False, f"slice {name}: {gate.compare_by} cannot be compared with the champion")
        return
    lost = _lost(
        gate, gate.compare_by, mine, theirs, beside["difference_interval"], declared.may_lose, beside["version"]
    )
    yield Finding(lost.passed, f"slice {name}: {lost.text}")


def _lost(gate: Gate, metric: str, mine: float, theirs: float, interval: Any, may_lose: float, version: int) -> Finding:
    """The difference on the same days against what may be lost; with `certain`, its whole interval."""
    said = (
        f"{metric} {mine:.3f} is {abs(mine - theirs):.3f} {'better' if mine >= theirs else 'worse'} than champion "
        f"version {version} ({theirs:.3f}) on the same days; {may_lose:g} may be lost"
    )
    if not gate.certain:
        return Finding(mine >= theirs - may_lose, said + _range(interval, "the difference is "))
    if interval is None:
        return Finding(False, f"{said}; it cannot be said how certain that is, and the gate wants to be certain")
    good = interval[0] >= -may_lose
    sure = "certain" if good else "not certain"
    return Finding(good, f"{said}: {sure}, since the difference is {interval[0]:+.3f} to {interval[1]:+.3f}")


def _shown(value: float | None) -> str:
    return "cannot be computed and" if value is None else _digits(value)


def _range(interval: Any, what: str = "") -> str:
    if interval is None:
        return ""
    sign = "+" if what else ""
    return f" ({what}{_digits(interval[0], sign)} to {_digits(interval[1], sign)})"


def _digits(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:{sign}.2g}"
