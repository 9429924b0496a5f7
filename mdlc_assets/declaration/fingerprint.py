"""What a declaration says, in few digits that an upgrade does not change.

State, the online store and the rules' version on each decision are held against them. An option that is added later
would change them for everyone who has never written it, and a store would have to be filled again for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_ADDED_LATER: Mapping[str, Any] = {
    "uses": "",
    "dataset.sources.*.constants": {},
    "labels.kind": "event",
    "model.evaluation.baseline": None,
    "model.evaluation.share": 0.01,
    "deployment.real_time.multi_model": None,
    "deployment.package_group": None,
    "deployment.service.model": "process",
    "deployment.service.fallback.model_ms": 500.0,
    "decisions.act_within": "2d",
    "stream": None,
    "monitoring.online": {"fewest_events": 200, "retrain": False},
}
"""Options that are younger than the first declarations, with what held before there was a choice.

A new option goes here unless its default changes what comes out; test_upgrade.py fails where state is thrown away.
"""


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Twelve hex digits of a declaration's parts as plain values."""
    return fingerprint_of_texts(texts_of(parts))


def texts_of(parts: Mapping[str, Any]) -> Mapping[str, str]:
    """Each part of a declaration as the text that its fingerprint is made from."""
    content = json.loads(json.dumps(parts))
    for path, before in _ADDED_LATER.items():
        *parents, option = path.split(".")
        for part in _below(content, parents):
            if option in part and part[option] == before:
                del part[option]
    return {name: json.dumps(part, sort_keys=True) for name, part in content.items()}


def fingerprint_of_texts(texts: Mapping[str, str]) -> str:
    """The fingerprint of parts whose texts are known: several stages follow from the same parts."""
    content = ", ".join(f"{json.dumps(name)}: {text}" for name, text in sorted(texts.items()))
    return hashlib.sha256(f"{{{content}}}".encode()).hexdigest()[:12]


def _below(content: Any, parents: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The mappings that a path leads to; `*` is each name there is."""
    if not isinstance(content, dict):
        return
    if not parents:
        yield content
        return
    first, *others = parents
    for name in list(content) if first == "*" else [first]:
        yield from _below(content.get(name), others)
