"""How many workers a load asks for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from mdlc_assets.resources.endpoint_state import Serving, read_json


def scaled(serving: Serving, folder: Path) -> Serving:
    """What is served, with the bounds that were set since (scaling.json)."""
    found = read_json(folder / "scaling.json") or {}
    if not {"least", "most", "calls_per_minute"} <= set(found):
        return serving
    return replace(
        serving,
        workers=found["least"],
        most_workers=found["most"],
        calls_per_minute=found["calls_per_minute"],
        scale_in_seconds=found["scale_in_seconds"],
    )


def workers_for(serving: Serving, rate: float) -> int:
    """The workers that `rate` requests a second ask for, within the bounds."""
    needed = math.ceil(60 * rate / serving.calls_per_minute)
    return min(max(needed, serving.workers), serving.most_workers)
