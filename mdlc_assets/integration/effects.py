"""The effects of decisions, and their delivery out of the outbox."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.resources.actions import Sender, UndeliverableError, sender_for
from mdlc_assets.resources.outbox import Acted, Effect, Outbox

# Longer than the longest sending: three attempts of thirty seconds and their pauses.
LEASE_SECONDS = 120.0
_TOGETHER = 8
_WRITTEN = 1_000
_MOST_ATTEMPTS = 40
_LONGEST_PAUSE = 300.0


def decision_id(lifecycle: str, event: Any) -> str:
    """The same for the same event of a lifecycle, whoever decides it and how often."""
    return hashlib.sha256(f"{lifecycle}/{event}".encode()).hexdigest()[:32]


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


def act_on(
    lifecycle: LifecycleDeclaration, outbox: Outbox, rows: pl.DataFrame, run: str, now: datetime
) -> tuple[int, int]:
    """Write down what a batch's decisions set in motion: of young events, and of those that did not act before.

    `rows` are rows of the table `decisions`. Gives how many decisions were new, and how many events were too old.
    """
    declared, dataset = lifecycle.decisions, lifecycle.dataset
    acting = rows.filter(pl.col("decision").is_in([name for name in declared.actions if declared.targets(name)]))
    young = acting.filter(pl.col(dataset.time) >= now - declared.act_within)
    due = []
    for row in young.iter_rows(named=True):
        about = {
            "lifecycle": lifecycle.name,
            "event": row[dataset.id],
            "rule": row["rule"],
            "reason": row["reason"],
            "score": row["score"],
            "degraded": False,
            "versions": {"model": row["model_version"], "rules": row["rules_version"]},
            "request_id": run,
            "decided_at": now.isoformat(timespec="milliseconds"),
        }
        one = acted(declared, decision_id(lifecycle.name, row[dataset.id]), row["decision"], about)
        due += [one] if one is not None else []
    new = sum(outbox.put(due[i : i + _WRITTEN]) for i in range(0, len(due), _WRITTEN))
    return new, acting.height - young.height


def deliver_all(outbox: Outbox, seconds: float = 60.0) -> None:
    """Send all that is due, for so long. What does not arrive waits for the next who delivers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(deliver_due(outbox)):
        pass
