"""What the tests of CloudFormation share: the linter, and templates as documents."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.decode import cfn_yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "cloudformation"


# Where the services that the stacks name all exist.
_REGIONS = ["us-east-1", "eu-west-1", "eu-central-1", "ap-southeast-2"]


def lint_problems(template: str) -> list[str]:
    """Errors and warnings of cfn-lint over its rules."""
    found = lint(template, regions=_REGIONS, config=ManualArgs(regions=_REGIONS))
    return [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in found]


@functools.cache
def template(concern: str) -> dict[str, Any]:
    """A template as a document, its short forms (!Ref) written out."""
    return json.loads(json.dumps(cfn_yaml.load(str(FOLDER / f"{concern}.yaml")), default=str))
