"""What is wrong with a declared model that only its algorithm can see."""

from __future__ import annotations

import difflib

from mdlc_assets.declaration import LifecycleDeclaration, Problem


def training_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Hyperparameters that the algorithm does not take, features that are not declared, directions it cannot keep."""
    from mdlc_assets.training.algorithms import known_hyperparameters, takes_directions

    model = lifecycle.model
    named = {f"model.hyperparameters.{name}": (name, repr(value)) for name, value in model.hyperparameters.items()}
    if model.search:
        space = model.search.space.items()
        named |= {f"model.search.space.{name}": (name, allowed.spelled()) for name, allowed in space}
    known = known_hyperparameters(model.algorithm) if named else []
    found = [
        _unknown(field, value, f"{model.algorithm} does not take it", name, known)
        for field, (name, value) in named.items()
        if name not in known
    ]
    declared = lifecycle.features.names()
    for i, name in enumerate(model.features):
        if name not in declared:
            found.append(_unknown(f"model.features.{i}", repr(name), "no feature is called so", name, declared))
        elif name in model.features[:i]:
            found.append(Problem(f"model.features.{i}", repr(name), "it is named twice", "name it once"))
    learnt = model.features or declared
    for name, direction in model.monotone.items():
        field = f"model.monotone.{name}"
        if name not in learnt:
            found.append(_unknown(field, repr(direction), "the model learns from no such feature", name, learnt))
        elif not takes_directions(model.algorithm):
            why = f"{model.algorithm} cannot be held to a direction"
            found.append(Problem(field, repr(direction), why, "leave `monotone` out, or take a model of trees"))
    return found


def _unknown(field: str, value: str, why: str, name: str, known: list[str]) -> Problem:
    close = difflib.get_close_matches(name, known, n=1)
    return Problem(field, value, why, f"write {close[0]!r}" if close else f"use one of {', '.join(known)}")
