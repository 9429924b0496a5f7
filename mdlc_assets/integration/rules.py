"""Business rules in CEL: the first whose condition holds turns a score into a decision.

CEL (cel.dev) has no loops, no calls out and no side effects, so a rule cannot run code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from mdlc_assets.declaration.rules import Decisions

_OTHERWISE = "otherwise"


class RuleError(ValueError):
    """A rule that cannot be evaluated on an event; names the rule, never the event's values."""


class RuleSet:
    """The declared rules, compiled once."""

    def __init__(self, declared: Decisions) -> None:
        import cel

        self.declared = declared
        self._programs = [(rule, cel.compile(rule.when)) for rule in declared.rules]
        self.variables = sorted({name for _, program in self._programs for name in program.variables()})

    def without(self, missing: Iterable[str], otherwise: str | None = None) -> RuleSet:
        """The rules that can do without some variables, in their order; `otherwise` when none of them holds."""
        gone = set(missing)
        left = RuleSet.__new__(RuleSet)
        left.declared = self.declared.model_copy(update={"otherwise": otherwise or self.declared.otherwise})
        left._programs = [(rule, made) for rule, made in self._programs if gone.isdisjoint(made.variables())]
        left.variables = sorted({name for _, program in left._programs for name in program.variables()})
        return left

    def decide(self, event: Mapping[str, Any]) -> tuple[str, str, str]:
        """Decision, rule and reason for an event's score, columns and features. Raises `RuleError`."""
        for rule, program in self._programs:
            try:
                holds = program.execute(dict(event))
            except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
                reason = str(error).split(".")[0]
                raise RuleError(f"rule {rule.name!r} ({rule.when}): {reason}") from None
            if not isinstance(holds, bool):
                raise RuleError(f"rule {rule.name!r} ({rule.when}) gives {type(holds).__name__}, not true or false")
            if holds:
                return rule.decide, rule.name, rule.reason
        return self.declared.otherwise, _OTHERWISE, "No rule applied."

    def decide_all(self, events: pl.DataFrame) -> pl.DataFrame:
        """Columns decision, rule, reason and action for the rows of `events`, in their order."""
        rows: Iterable[dict[str, Any]] = events.select(self.variables).iter_rows(named=True)
        found = pl.DataFrame(
            [self.decide(row) for row in rows] if self.variables else [self.decide({})] * events.height,
            schema={"decision": pl.String, "rule": pl.String, "reason": pl.String},
            orient="row",
        )
        return found.with_columns(pl.col("decision").replace_strict(self.declared.words()).alias("action"))


def side_by_side(first: pl.DataFrame, *others: pl.DataFrame, on: str) -> pl.DataFrame:
    """All columns of the frames, as rules may name them; of those with the same name the first frame's."""
    for other in others:
        new = [column for column in other.columns if column == on or column not in first.columns]
        first = first.join(other.select(new), on=on, how="left", maintain_order="left")
    return first
