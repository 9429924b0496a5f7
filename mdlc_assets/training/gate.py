"""The gate: may a candidate serve? A verdict with its reasons in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mdlc_assets.declaration.model import Gate


@dataclass(frozen=True)
class Verdict:
    """`reasons` says of each condition how it came out."""

    passed: bool
    reasons: list[str]


def judge(
    gate: Gate,
    metrics: Mapping[str, float | None],
    champion: Mapping[str, float | None] | None,
    champion_version: int | None = None,
) -> Verdict:
    """Judge a candidate's metrics against the floors, and against the champion's on the same days."""
    passed, reasons = True, []
    for name, floor in gate.floors.items():
        value = metrics.get(name)
        good = value is not None and value >= floor
        shown = "cannot be computed" if value is None else f"{value:.3f}"
        reasons.append(f"{name} {shown} {'reaches' if good else 'is below'} the floor {floor:g}")
        passed &= good
    if champion is None:
        reasons.append("there is no champion to compare with")
        return Verdict(passed, reasons)
    mine, theirs = metrics.get(gate.compare_by), champion.get(gate.compare_by)
    if mine is None or theirs is None:
        reasons.append(f"{gate.compare_by} cannot be compared with champion version {champion_version}")
        return Verdict(False, reasons)
    good = mine >= theirs - gate.may_lose
    word = "better" if mine >= theirs else "worse"
    reasons.append(
        f"{gate.compare_by} {mine:.3f} is {abs(mine - theirs):.3f} {word} than champion version "
        f"{champion_version} ({theirs:.3f}) on the same days; {gate.may_lose:g} may be lost"
    )
    return Verdict(passed and good, reasons)
