"""Who is called for each stage, so that nobody has to ask."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import model_validator

from mdlc_assets.declaration.base import Declared, refuse

Stage = Literal["sourcing", "quality", "features", "model", "training", "deployment", "monitoring", "integration"]
_OWNER = re.compile(r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")


class Owners(Declared):
    """One owner for each of the eight stages: `team:name` or an e-mail address."""

    sourcing: str
    quality: str
    features: str
    model: str
    training: str
    deployment: str
    monitoring: str
    integration: str

    @model_validator(mode="after")
    def _reachable(self) -> Owners:
        for stage, owner in self:
            if not _OWNER.match(owner):
                raise refuse(
                    f"the owner of {stage}, {owner!r}, is neither a team nor an address",
                    "write `team:payments-data` or `name@company.com`",
                    field=stage,
                    value=owner,
                )
        return self
