"""What is wrong with a declared model that only its algorithm can see."""

from __future__ import annotations

import difflib

from mdlc_assets.declaration import LifecycleDeclaration, Problem


def training_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Hyperparameters that the algorithm does not take."""
    from mdlc_assets.training.algorithms import known_hyperparameters

    given = lifecycle.model.hyperparameters
    if not given:
        return []
    known = known_hyperparameters(lifecycle.model.algorithm)
    found = []
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            found.append(
                Problem(
                    f"model.hyperparameters.{name}",
                    repr(value),
                    f"{lifecycle.model.algorithm} does not take it",
                    f"write {close[0]!r}" if close else f"use one of {', '.join(known)}",
                )
            )
    return found
