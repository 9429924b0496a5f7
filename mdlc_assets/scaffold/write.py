"""A declaration as text that people like to read: short lines, and few of them."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

_WIDTH = 118
_MOST_COLUMNS_BY_LINE = 6
# What is written over several lines whatever its length.
_OPEN = {"dataset", "columns", "sources", "features", "model", "decisions"}
_OPEN_WHEN_MUCH = {"dataset", "features", "model"}
_MOST_LINES = 39
# The same where it does not fit on one.
_OPEN_WHEN_LONG = {"quality", "monitoring"}


def as_text(attributes: Mapping[str, Any], schema: str, comment: str) -> str:
    """A component file. `schema` is where editors find the JSON schema, `comment` stands at the top."""
    head = [f"# yaml-language-server: $schema={schema}", f"# {comment}"]
    head += ["type: mdlc_assets.ModelLifecycle", "attributes:"]
    for opened in (_OPEN, _OPEN_WHEN_MUCH):
        lines = [line for name, value in attributes.items() for line in _entry("  ", name, value, opened)]
        if len(head) + len(lines) <= _MOST_LINES:
            break
    return "\n".join([*head, *lines]) + "\n"


def _entry(indent: str, name: str, value: Any, opened: Collection[str]) -> Iterator[str]:
    if value in ({}, []):
        return
    if isinstance(value, Mapping) and _is_open(indent, name, value, opened):
        yield f"{indent}{name}:"
        for inner, part in value.items():
            yield from _entry(indent + "  ", inner, part, opened)
    elif isinstance(value, list) and _is_nested(value) and len(indent + _pair(name, value)) > _WIDTH:
        yield f"{indent}{name}:"
        for item in value:
            yield from _packed(f"{indent}  - ", item)
    else:
        yield from _packed(f"{indent}{name}: ", value)


def _is_open(indent: str, name: str, value: Mapping[str, Any], opened: Collection[str]) -> bool:
    if name == "columns":
        return name in opened and _is_nested(value) and len(value) <= _MOST_COLUMNS_BY_LINE
    if name in _OPEN_WHEN_LONG:
        return opened is _OPEN and len(indent + _pair(name, value)) > _WIDTH
    return name in opened


def _is_nested(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else value
    return any(isinstance(part, Mapping) for part in parts)


def _packed(head: str, value: Any) -> Iterator[str]:
    """A value over as many lines as it takes, each as full as it can be. A break reads as the blank it replaces."""
    pad = " " * (len(head) - len(head.lstrip()) + 4)
    yield from textwrap.wrap(
        head + _flow(value), _WIDTH, subsequent_indent=pad, break_long_words=False, break_on_hyphens=False
    )


def _pair(name: str, value: Any) -> str:
    """`name: value` as it stands between braces, where a comma needs quotes."""
    return _flow({name: value}).removeprefix("{").removesuffix("}")


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=100_000, allow_unicode=True)
    return text.strip().removesuffix("...").strip()
