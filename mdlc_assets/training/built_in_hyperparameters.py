"""The hyperparameters of SageMaker's built-in algorithms, checked before anything is paid for.

What each may be stands in `built_in_hyperparameters.yaml`, beside this file.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from mdlc_assets.declaration import Problem

_FILE = Path(__file__).with_suffix(".yaml")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Setting:
    """One hyperparameter: what it may be, in words and as a test of its text."""

    name: str
    required: bool
    words: str
    allows: Callable[[str], bool]


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    return yaml.load(_FILE.read_text(), Loader=_LOADER)  # noqa: S506 - both loaders are safe ones


@functools.cache
def settings_of(name: str) -> dict[str, Setting]:
    """The hyperparameters of a built-in algorithm by name."""
    found = {}
    for key, rule in _tables()[name].items():
        parts = [part.strip() for part in rule.split(" / ")]
        tests = [_test(part) for part in parts]

        def allows(text: str, tests: list[Callable[[str], bool]] = tests) -> bool:
            return any(test(text) for test in tests)

        found[key.rstrip("!")] = Setting(key.rstrip("!"), key.endswith("!"), " or ".join(map(_words, parts)), allows)
    return found


def hyperparameter_problems(name: str, given: Mapping[str, str]) -> list[Problem]:
    """What the service would refuse after it has started machines, or ignore; `given` as strings."""
    known, found = settings_of(name), []
    for key, text in given.items():
        field = f"model.hyperparameters.{key}"
        if key not in known:
            close = difflib.get_close_matches(key, list(known), n=1)
            mend = f"write {close[0]!r}" if close else f"use one of {', '.join(known)}"
            found.append(Problem(field, repr(text), f"{name} does not take it", mend))
        elif not known[key].allows(text):
            found.append(Problem(field, repr(text), f"{name} does not take this value", f"write {known[key].words}"))
    for key, setting in known.items():
        if setting.required and key not in given:
            field = f"model.hyperparameters.{key}"
            found.append(Problem(field, "nothing", f"{name} needs it", f"write {setting.words}"))
    return found


def _test(rule: str) -> Callable[[str], bool]:
    kind, _, span = rule.partition(" ")
    if kind == "text":
        return lambda text: bool(text)
    if kind not in ("int", "float"):
        words = frozenset(rule.split())
        return lambda text: text in words
    least, above, most = _span(span)

    def inside(text: str) -> bool:
        try:
            value = int(text) if kind == "int" else float(text)
        except ValueError:
            return False
        # The comparisons are false for NaN.
        return (value > least if above else value >= least) and value <= most

    return inside


def _span(text: str) -> tuple[float, bool, float]:
    least, _, most = text.partition("..")
    return (
        float(least.lstrip(">")) if least else float("-inf"),
        least.startswith(">"),
        float(most) if most else float("inf"),
    )


def _words(rule: str) -> str:
    kind, _, span = rule.partition(" ")
    if kind == "text":
        return "text"
    if kind not in ("int", "float"):
        return " or ".join(rule.split())
    least, _, most = span.partition("..")
    words = "a whole number" if kind == "int" else "a number"
    if least:
        words += f" above {least[1:]}" if least.startswith(">") else f" of at least {least}"
    return words + (f" and at most {most}" if most else "")
