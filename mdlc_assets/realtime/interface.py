"""The service's interface as OpenAPI, made from the declaration, and as a page that needs nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Column

_TYPES: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer", "format": "int64"},
    "float": {"type": "number"},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
    "timestamp": {"type": "string", "format": "date-time"},
}
_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}


def interface_of(lifecycle: LifecycleDeclaration) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    columns, own = lifecycle.dataset.validated_columns, lifecycle.dataset.columns
    needed = [name for name, column in own.items() if not (column.nullable or column.optional)]
    decisions = list(lifecycle.decisions.actions)
    event = {
        "type": "object",
        "description": lifecycle.dataset.description,
        "properties": {name: _schema(column) for name, column in columns.items()},
        "required": needed,
        "additionalProperties": False,
    }
    reason = {"feature": _TEXT, "value": _NUMBER, "contribution": {**_NUMBER, "description": "In log odds."}}
    versions = {name: {"type": ["string", "integer", "null"]} for name in ("model", "rules", "declaration", "features")}
    decision = {
        "type": "object",
        "properties": {
            "decision_id": {**_TEXT, "description": "The same whenever this event is decided."},
            "score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "decision": {**_TEXT, "enum": decisions},
            "rule": {**_TEXT, "description": "The first rule that held."},
            "reason": _TEXT,
            "reasons": {"type": "array", "items": {"type": "object", "properties": reason}},
            "degraded": {"type": "boolean", "description": "Decided without what was away."},
            "cause": {**_TEXT, "enum": ["store", "model", "rules"]},
            "versions": {"type": "object", "properties": versions},
        },
    }
    error = {"type": "object", "properties": dict.fromkeys(("request_id", "error", "field", "mend"), _TEXT)}
    one, many = {"$ref": "#/components/schemas/Event"}, {"$ref": "#/components/schemas/Decision"}
    refused = {"description": "What is wrong, and its mend.", "content": _json({"$ref": "#/components/schemas/Error"})}
    batch = {
        "type": "object",
        "properties": {"request_id": _TEXT, "decisions": {"type": "array", "items": many}},
    }
    answered = {"description": "Decided.", "content": _json({"oneOf": [many, batch]})}
    responses = {"200": answered, **dict.fromkeys(("400", "401", "408", "413", "415", "422"), refused)}
    decide = {
        "summary": "Decide an event, or a list of events",
        "requestBody": {
            "required": True,
            "content": _json({"oneOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 1000}]}),
        },
        "responses": responses,
        "security": [{"token": []}],
    }
    pages = {
        "/health": "The process lives",
        "/ready": "Model and store are there",
        "/metrics": "Prometheus text",
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": lifecycle.name, "description": lifecycle.description, "version": lifecycle.fingerprint()},
        "paths": {
            "/decisions": {"post": decide},
            **{
                path: {"get": {"summary": said, "responses": {"200": {"description": said}}}}
                for path, said in pages.items()
            },
        },
        "components": {
            "schemas": {"Event": event, "Decision": decision, "Error": error},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def page_of(interface: dict[str, Any]) -> str:
    """The interface as one HTML page."""
    return _PAGE.render(api=interface)


def _schema(column: Column) -> dict[str, Any]:
    found = dict(_TYPES[column.type])
    if column.nullable or column.optional:
        found["type"] = [found["type"], "null"]
    said = {"description": column.description, "minimum": column.min, "maximum": column.max, "enum": column.allowed}
    return found | {name: value for name, value in said.items() if value not in (None, "")}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ api.info.title }}: decisions</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { text-align: left; padding: .25em .8em; border-bottom: 1px solid #ddd }
code { background: #f3f3f3; padding: .1em .3em }
</style>
<h1>{{ api.info.title }}</h1><p>{{ api.info.description }}</p>
<p>The same for programs: <a href="openapi.json">openapi.json</a></p>
{% for path, methods in api.paths.items() %}{% for method, said in methods.items() %}
<h2><code>{{ method | upper }} {{ path }}</code></h2><p>{{ said.summary }}.</p>
{% endfor %}{% endfor %}
{% for name, schema in api.components.schemas.items() %}
<h2>{{ name }}</h2>
<table><tr><th>field</th><th>type</th><th>must be there</th><th>about</th></tr>
{% for field, one in schema.properties.items() %}
<tr><td><code>{{ field }}</code></td>
<td>{{ one.type if one.type is string else one.type | join(" or ") }}{{ ", " + one.format if one.format }}</td>
<td>{{ "yes" if field in schema.required }}</td>
<td>{{ one.description }}{{ " At least " ~ one.minimum ~ "." if one.minimum is defined -}}
{{ " At most " ~ one.maximum ~ "." if one.maximum is defined -}}
{{ " One of: " ~ one.enum | join(", ") ~ "." if one.enum }}</td></tr>
{% endfor %}</table>
{% endfor %}</html>
""")
