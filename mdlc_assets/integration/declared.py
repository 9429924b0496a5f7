"""What is wrong with declared rules that only their language can see."""

from __future__ import annotations

import difflib
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration, Problem

_EXAMPLES: dict[str, Any] = {"integer": 1, "float": 1.0, "boolean": True, "string": "a", "timestamp": None}


def integration_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Rules that do not parse, name what an event does not have, or do not give true or false."""
    import cel

    example: dict[str, Any] = {name: _EXAMPLES[column.type] for name, column in lifecycle.dataset.columns.items()}
    example |= dict.fromkeys(lifecycle.features.names(), 1.0) | {"score": 0.5}
    found = []
    for i, rule in enumerate(lifecycle.decisions.rules):
        field, value = f"decisions.rules.{i}.when", repr(rule.when)
        try:
            program = cel.compile(rule.when)
        except ValueError as error:
            reason = str(error).split("ERROR:")[-1].strip().splitlines()[0]
            found.append(Problem(field, value, f"it does not parse: {reason}", "write a CEL expression"))
            continue
        strange = [name for name in program.variables() if name not in example]
        for name in strange:
            close = difflib.get_close_matches(name, example, n=1)
            mend = f"write {close[0]!r}" if close else f"use score, a column or a feature: {', '.join(example)}"
            found.append(Problem(field, value, f"there is no {name!r}", mend))
        if strange:
            continue
        try:
            holds = program.execute(example)
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).split(".")[0]
            found.append(Problem(field, value, reason, "features are floats: compare them with 5.0, not 5"))
            continue
        if not isinstance(holds, bool):
            found.append(Problem(field, value, "it is neither true nor false", "write a comparison"))
    return found
