"""Rules in CEL: which decision, and mistakes that are named before anything runs."""

from __future__ import annotations

import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.rules import Decisions, Rule
from mdlc_assets.integration.declared import integration_problems
from mdlc_assets.integration.rules import RuleError, RuleSet


def test_the_first_rule_that_holds_decides(payments_fraud: LifecycleDeclaration) -> None:
    events = pl.DataFrame({"score": [0.95, 0.5, 0.5, 0.1], "terminal_fraud_share_7d": [0.0, 0.5, 0.1, 0.9]})
    found = RuleSet(payments_fraud.decisions).decide_all(events)
    assert found["decision"].to_list() == ["block", "block", "review", "allow"]
    assert found["rule"].to_list() == ["certain_fraud", "risky_terminal", "doubtful", "otherwise"]
    assert found["action"][3] == "Let the payment pass."


def _declare(payments_fraud: LifecycleDeclaration, when: str) -> LifecycleDeclaration:
    rule = Rule(name="r", when=when, decide="stop", reason="because")
    decisions = Decisions(rules=[rule], otherwise="go", actions={"stop": "s", "go": "g"})
    return payments_fraud.model_copy(update={"decisions": decisions})


@pytest.mark.parametrize(
    ("when", "said", "mend"),
    [
        ("score >", "does not parse", "CEL"),
        ("scor > 0.5", "there is no 'scor'", "'score'"),
        ("score > 'high'", "overload", "5.0"),
        ("score + 1.0", "neither true nor false", "comparison"),
        ("__import__('os').system('true')", "no '__import__'", ""),
    ],
)
def test_mistakes_are_named(payments_fraud: LifecycleDeclaration, when: str, said: str, mend: str) -> None:
    problems = integration_problems(_declare(payments_fraud, when))
    assert problems
    assert problems[0].field == "decisions.rules.0.when"
    if "__import__" not in when:
        assert said in problems[0].message
    assert mend in problems[0].mend


def test_an_error_names_the_rule_and_not_the_event(payments_fraud: LifecycleDeclaration) -> None:
    rules = RuleSet(_declare(payments_fraud, "1 / amount_in_cents > 0").decisions)
    with pytest.raises(RuleError, match="rule 'r'") as caught:
        rules.decide({"amount_in_cents": 0})
    assert "0}" not in str(caught.value)
