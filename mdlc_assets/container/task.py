"""What to fit, from hyperparameters that are all strings.

Settings of ours begin with `mdlc_`: `mdlc_algorithm`, `mdlc_label`, `mdlc_seed`, `mdlc_standardise`,
`mdlc_checkpoint_rounds`. All others are the algorithm's own. Where the environment names one of SageMaker's
built-in algorithms (MDLC_BUILT_IN, set by the local form), what stands in for it here is fitted.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mdlc_assets.container.layout import InputError
from mdlc_assets.training.built_in import BUILT_IN
from mdlc_assets.training.built_in_hyperparameters import hyperparameter_problems
from mdlc_assets.training.equivalents import equivalent
from mdlc_assets.training.estimators import RecipeError, known_hyperparameters, setting_text

BUILT_IN_VARIABLE = "MDLC_BUILT_IN"
_OURS = ("algorithm", "label", "seed", "standardise", "checkpoint_rounds")


@dataclass(frozen=True)
class Task:
    """A recipe, and which column is the label. Directions come as the algorithm's own hyperparameter."""

    algorithm: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    standardise: bool = False
    seed: int = 0
    label: str = "label"
    checkpoint_rounds: int = 20
    monotone: Mapping[str, str] = field(default_factory=dict)

    def as_strings(self) -> dict[str, str]:
        """The hyperparameters of a training job that does this."""
        ours = {f"mdlc_{name}": getattr(self, name) for name in _OURS}
        return {name: setting_text(value) for name, value in {**ours, **self.hyperparameters}.items()}


def read_task(given: Mapping[str, str]) -> Task:
    """The task that hyperparameters describe. Raises `InputError` naming what is wrong."""
    built_in = os.environ.get(BUILT_IN_VARIABLE)
    ours = {name.removeprefix("mdlc_"): text for name, text in given.items() if name.startswith("mdlc_")}
    unknown = sorted(set(ours) - set(_OURS))
    if unknown:
        raise InputError(f"hyperparameters.mdlc_{unknown[0]}: there is no such setting. Mend: use {', '.join(_OURS)}.")
    texts = {name: text for name, text in given.items() if not name.startswith("mdlc_")}
    others = {name: _value(text) for name, text in texts.items()}
    algorithm = built_in or ours.get("algorithm", "")
    if not algorithm:
        raise InputError("hyperparameters.mdlc_algorithm: nothing stands there. Mend: name an algorithm.")
    try:
        if algorithm in BUILT_IN:
            for problem in hyperparameter_problems(algorithm, texts):
                raise InputError(str(problem).removeprefix("model."))
            equivalent(algorithm, others)
        else:
            _refuse_unknown(algorithm, others)
    except RecipeError as error:
        raise InputError(str(error)) from None
    return Task(
        algorithm,
        others,
        _typed(ours, "standardise", bool, False),
        _typed(ours, "seed", int, 0),
        ours.get("label", "label"),
        _typed(ours, "checkpoint_rounds", int, 20),
    )


def _refuse_unknown(algorithm: str, given: Mapping[str, Any]) -> None:
    known = known_hyperparameters(algorithm)
    for name, value in given.items():
        if known is not None and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            mend = f"write {close[0]!r}" if close else f"use one of {', '.join(known)}"
            raise InputError(f"hyperparameters.{name}: {algorithm} does not take it (found {value!r}). Mend: {mend}.")


def _typed(ours: Mapping[str, str], name: str, kind: type, default: Any) -> Any:
    value = _value(ours[name]) if name in ours else default
    if type(value) is not kind:
        raise InputError(f"hyperparameters.mdlc_{name}: {ours[name]!r} is no {kind.__name__}. Mend: write JSON.")
    return value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
