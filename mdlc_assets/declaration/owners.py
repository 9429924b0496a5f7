"""Who is called for each stage, so that nobody has to ask."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mdlc_assets.declaration.base import Declared, refuse

Stage = Literal["sourcing", "quality", "features", "model", "training", "deployment", "monitoring", "integration"]
_OWNER = re.compile(r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")


class Owners(Declared):
    """One owner for each of the eight stages, `team:name` or an e-mail address; or one alone for all of them."""

    sourcing: str
    quality: str
    features: str
    model: str
    training: str
    deployment: str
    monitoring: str
    integration: str

    @model_validator(mode="before")
    @classmethod
    def _one_for_all(cls, said: Any) -> Any:
        return dict.fromkeys(get_args(Stage), said) if isinstance(said, str) else said

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        each = handler.resolve_ref_schema(handler(core))
        alone = {"type": "string", "description": "One owner for all stages."}
        return {"title": "Owners", "anyOf": [dict(each), alone]}

    @model_validator(mode="after")
    def _reachable(self) -> Owners:
        for stage, owner in self:
            if not _OWNER.match(owner):
                raise refuse(
                    f"the owner of {stage}, {owner!r}, is neither a team nor an address",
                    "write `team:my-team` or `name@company.com`",
                    field=stage,
                    value=owner,
                )
        return self
