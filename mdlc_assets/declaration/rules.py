"""Business rules: the first whose condition holds turns a score into a decision."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from mdlc_assets.declaration.actions import Action, Target
from mdlc_assets.declaration.base import Declared, Duration, refuse


class Rule(Declared):
    """`when` is a CEL expression over `score`, the event's columns and its features."""

    name: str
    when: str
    decide: str
    reason: str


class Decisions(Declared):
    """Rules in order; `otherwise` when none holds; `actions` says what each decision sets in motion."""

    rules: list[Rule] = Field(min_length=1)
    otherwise: str
    actions: dict[str, str | Action] = Field(
        description="Decision: the action it leads to, in words; with `do:` what is set in motion besides."
    )

    act_within: Duration = Field(
        default=timedelta(days=2),
        description="A batch sets in motion only what is decided about events this young; older days are history.",
    )

    @model_validator(mode="after")
    def _each_decision_acts(self) -> Decisions:
        decided = {rule.decide for rule in self.rules} | {self.otherwise}
        for decision in sorted(decided - set(self.actions)):
            raise refuse(f"decision {decision!r} has no action", f"add `{decision}: ...` under actions")
        return self

    def words(self) -> dict[str, str]:
        """Each decision's action in words."""
        return {name: said if isinstance(said, str) else said.words for name, said in self.actions.items()}

    def targets(self, decision: str) -> list[Target]:
        """Where the effects of a decision go."""
        said = self.actions[decision]
        return [] if isinstance(said, str) else said.do

    def acts(self) -> bool:
        """Whether any decision sets something in motion."""
        return any(not isinstance(said, str) for said in self.actions.values())
