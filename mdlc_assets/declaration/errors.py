"""Errors of a declaration in words: the file, the field, the value that stands there and the mend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

# How a person calls what pydantic wants.
_WANTED = {
    "int": "a whole number, such as 7",
    "float": "a number, such as 0.5",
    "bool": "true or false",
    "date": "a date, such as 2024-12-31",
    "date_from_datetime": "a date, such as 2024-12-31",
    "string": "text",
    "list": "a list, such as [a, b]",
    "dict": "fields below it, each as `name: value`",
    "model": "fields below it, each as `name: value`",
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a declaration."""

    field: str
    value: str
    message: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message} (found {self.value}). Mend: {self.mend}."


class DeclarationError(ValueError):
    """A declaration that cannot be used; `problems` lists everything wrong at once."""

    def __init__(self, source: str | Path, problems: Sequence[Problem]) -> None:
        self.source = str(source)
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source}: {count} in the declaration\n{lines}")


def use_one_of(name: str, known: Sequence[str]) -> str:
    """The mend for a name that is none of those known: the one that was meant, as far as that can be told."""
    close = closest(name, known)
    return f"write {close!r}" if close else f"use one of {', '.join(known) or 'none'}"


def closest(name: str, known: Sequence[str]) -> str:
    """The known name that is most like this one; empty where none is near."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Each of pydantic's complaints as a `Problem`; `model` is what was being read."""
    items: list[Mapping[str, Any]] = [dict(item) for item in error.errors(include_url=False)]
    # A field that is written wrongly is missing too, which would be the same mistake told twice.
    meant = {(place[:-1], name) for place, name in (_meant(item, model) for item in items) if name}
    items = [i for i in items if i["type"] != "missing" or (i["loc"][:-1], i["loc"][-1]) not in meant]
    return [_explain_one(item, model) for item in items]


def _meant(item: Mapping[str, Any], model: type[BaseModel]) -> tuple[tuple[str | int, ...], str]:
    """The field that a mistyped one was meant to be; none for what is no such mistake."""
    place = item["loc"]
    if item["type"] != "extra_forbidden":
        return place, ""
    return place, closest(str(place[-1]), _fields_at(model, place[:-1]))


def _explain_one(item: Mapping[str, Any], model: type[BaseModel]) -> Problem:
    place = [str(part) for part in item["loc"]]
    field = ".".join(place) or "(the whole declaration)"
    context = item.get("ctx", {})
    kind = item["type"]
    value = _shorten(item.get("input"))
    message, mend = str(item["msg"]), "correct the value"
    if "mend" in context:
        message, mend = context["message"], context["mend"]
        if context["field"]:
            field, value = ".".join([*place, context["field"]]), context["value"]
    elif kind == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        message = "there is no such field"
        mend = use_one_of(place[-1], known)
    elif kind == "missing":
        message, value, mend = "the field is missing", "nothing", f"add `{place[-1]}: ...`"
    elif kind in {"literal_error", "enum"}:
        message, mend = "the value is not one of those allowed", f"use one of {context['expected']}"
        close = closest(str(item.get("input")), re.findall("'([^']*)'", context["expected"]))
        mend = f"write {close!r}; there are {context['expected']}" if close else mend
    elif kind in {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}:
        (name, bound), *_ = context.items()
        words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}[name]
        message, mend = "the value is out of range", f"write a number {words} {bound}"
    elif kind.endswith(("_type", "_parsing")):
        wanted = kind.removesuffix("_type").removesuffix("_parsing")
        message, mend = "the value has the wrong type", f"write {_WANTED.get(wanted, 'a ' + wanted.replace('_', ' '))}"
    return Problem(field, value, message, mend)


def _fields_at(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The field names pydantic would have taken at `place`, found by walking the model's JSON schema."""
    schema = model.model_json_schema()
    node: Any = schema
    for part in place:
        node = _follow(schema, node, part)
    node = _follow(schema, node, None)
    return sorted(node.get("properties", {})) if isinstance(node, dict) else []


def _follow(schema: Mapping[str, Any], node: Any, part: str | int | None) -> Any:
    while isinstance(node, dict):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        elif "properties" not in node and any(key in node for key in ("anyOf", "oneOf")):
            choices = node.get("anyOf") or node["oneOf"]
            node = next((c for c in choices if c.get("type") != "null"), {})
        else:
            break
    if part is None or not isinstance(node, dict):
        return node
    if isinstance(part, int):
        return node.get("items", {})
    return node.get("properties", {}).get(part, node.get("additionalProperties", {}))


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
