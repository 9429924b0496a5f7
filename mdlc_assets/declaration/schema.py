"""The declaration as JSON schema, with which editors complete and check the YAML while it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mdlc_assets.declaration.lifecycle import LifecycleDeclaration

SHIPPED = Path(__file__).parent / "lifecycle.schema.json"


def declaration_schema() -> dict[str, Any]:
    """The schema of a component file: `type`, and the declaration under `attributes`."""
    attributes = LifecycleDeclaration.model_json_schema()
    definitions = attributes.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A lifecycle of mdlc_assets",
        "type": "object",
        "additionalProperties": False,
        "required": ["type", "attributes"],
        "properties": {
            "type": {"const": "mdlc_assets.ModelLifecycle"},
            "attributes": attributes,
            "requirements": {"type": "object", "description": "Dagster's own: packages that the component needs."},
        },
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as the file that is shipped."""
    return json.dumps(declaration_schema(), indent=1, ensure_ascii=False) + "\n"
