"""What the tests of CloudFormation share: the linter."""

from __future__ import annotations

from cfnlint import lint_all


def lint_problems(template: str) -> list[str]:
    """Errors and warnings of cfn-lint over all its rules; its hints (I...) are about taste."""
    return [
        f"{match.rule.id} line {match.linenumber}: {match.message}"
        for match in lint_all(template)
        if not match.rule.id.startswith("I")
    ]
