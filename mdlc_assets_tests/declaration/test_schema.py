"""The JSON schema that editors use says what the platform says."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from mdlc_assets.declaration.schema import SHIPPED as SHIPPED_SCHEMA
from mdlc_assets.declaration.schema import declaration_schema, schema_text
from mdlc_assets_tests.conftest import SHIPPED


class _AsEditorsRead(yaml.SafeLoader):
    """Days stay the text that they are in JSON."""


_AsEditorsRead.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_DECLARATIONS = sorted(SHIPPED.glob("*/*.yaml"))


def _validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(declaration_schema())
    return jsonschema.Draft202012Validator(declaration_schema())


def test_the_shipped_file_is_the_schema() -> None:
    assert SHIPPED_SCHEMA.read_text(encoding="utf-8") == schema_text(), (
        f"Mend: mdlc schema --out {SHIPPED_SCHEMA.relative_to(SHIPPED.parents[1])}"
    )


@pytest.mark.parametrize("path", _DECLARATIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_shipped_declarations_are_accepted(path: Any) -> None:
    content = yaml.load(path.read_text(), Loader=_AsEditorsRead)
    assert list(_validator().iter_errors(content)) == []


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("time: event_time", "tme: event_time", "dataset"),
        ("type: timestamp", "type: instant", "type"),
        ("max_quarantined: 0.02", "max_quarantined: 2", "max_quarantined"),
        ("approval: policy", "approval: nobody", "approval"),
        ("change: grows_by_day", "change: grows", "change"),
    ],
)
def test_a_wrong_one_is_refused_at_its_place(right: str, wrong: str, place: str) -> None:
    text = (SHIPPED / "payments_fraud" / "defs.yaml").read_text()
    assert right in text
    content = yaml.load(text.replace(right, wrong), Loader=_AsEditorsRead)
    errors = list(_validator().iter_errors(content))
    assert errors
    assert any(place in map(str, error.absolute_path) for error in errors), [e.message for e in errors]


def test_one_owner_may_stand_for_all() -> None:
    content = yaml.load((SHIPPED / "payments_fraud" / "defs.yaml").read_text(), Loader=_AsEditorsRead)
    content["attributes"]["owners"] = "team:everything"
    assert list(_validator().iter_errors(content)) == []
    content["attributes"]["owners"] = {"sourcing": "team:everything"}
    assert list(_validator().iter_errors(content))
