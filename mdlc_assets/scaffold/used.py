"""The declaration of a lifecycle that uses another's data: the other's model and rules, to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def draft_using(name: str, used: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Attributes of the lifecycle `name`; `used` is what the other one's file says, as it was written there."""
    return {
        "name": name,
        "description": f"A model of its own on the data and the features of {used['name']}.",
        "owners": owner,
        "uses": used["name"],
        "model": used["model"],
        "decisions": used["decisions"],
    }
