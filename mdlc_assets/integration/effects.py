"""The effects of decisions, and their delivery out of the outbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.resources.actions import Sender, UndeliverableError, sender_for
from mdlc_assets.resources.outbox import Acted, Effect, Outbox

# Longer than the longest sending: three attempts of thirty seconds and their pauses.
LEASE_SECONDS = 120.0
_TOGETHER = 8
_MOST_ATTEMPTS = 40
_LONGEST_PAUSE = 300.0


def acted(declared: Decisions, decision_id: str, decision: str, about: Mapping[str, Any]) -> Acted | None:
    """What a decision sets in motion; None for one that has words only. `about` is what its effects say."""
    targets = declared.targets(decision)
    if not targets:
        return None
    payload = {"decision_id": decision_id, "decision": decision, **about}
    effects = [Effect(f"{decision_id}-{i}", target.model_dump(), payload) for i, target in enumerate(targets)]
    return Acted(decision_id, effects)


def deliver_due(
    outbox: Outbox,
    sender: Callable[[Mapping[str, Any]], Sender] = sender_for,
    clock: Callable[[], float] = time.time,
) -> tuple[int, int]:
    """Send what is due once; gives how many effects arrived and how many did not."""

    def deliver(effect: Effect) -> bool:
        try:
            sender(effect.target).send(effect)
        except Exception as error:
            for_good = isinstance(error, UndeliverableError) or effect.attempts >= _MOST_ATTEMPTS
            pause = min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(effect.attempts, 20))
            said = str(error) if isinstance(error, UndeliverableError) else type(error).__name__
            outbox.failed(effect.key, said, None if for_good else clock() + pause)
            return False
        outbox.delivered(effect.key)
        return True

    claimed = outbox.claim(clock(), LEASE_SECONDS, _TOGETHER)
    if not claimed:
        return 0, 0
    with ThreadPoolExecutor(_TOGETHER) as pool:
        found = list(pool.map(deliver, claimed))
    return sum(found), len(found) - sum(found)
