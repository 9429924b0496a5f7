"""What is written down of decisions before they are answered: effects due, capture, counts. And their delivery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from datetime import UTC, datetime

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.integration.effects import acted, deliver_due
from mdlc_assets.realtime.capture import Capture
from mdlc_assets.realtime.decider import Decided
from mdlc_assets.realtime.meters import Meters
from mdlc_assets.realtime.serving import Serving
from mdlc_assets.resources.outbox import Acted, Outbox

_LOG = logging.getLogger("mdlc.decisions")
_IDLE_SECONDS = 0.5
_MOST_LEFT = 100_000


class Recorder:
    """Takes the decisions that were made together. What the outbox could not take is kept and offered again."""

    def __init__(
        self,
        lifecycle: LifecycleDeclaration,
        meters: Meters,
        capture: Capture | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        self.name, self.id_column = lifecycle.name, lifecycle.dataset.id
        self.meters, self.capture, self.outbox = meters, capture, outbox
        self.left: list[Acted] = []

    def __call__(self, serving: Serving, decided: list[tuple[str, Decided]]) -> Awaitable[None] | None:
        """Everything is written when this returns, or when what it returns is done."""
        for _, one in decided:
            self.meters.decided(one.decision, one.rule, one.degraded)
        if self.capture is not None:
            try:
                self.capture.write(decided)
            except OSError as error:
                # A full disk is no reason to let events wait.
                _LOG.error("%d decisions are not captured: %s", len(decided), type(error).__name__)
        due = self._due(serving, decided) if self.outbox is not None else []
        if not due or self.outbox is None:
            return None
        if self.outbox.at_hand:
            self._put(due)
            return None
        return asyncio.to_thread(self._put, due)

    def _due(self, serving: Serving, decided: list[tuple[str, Decided]]) -> list[Acted]:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        found = []
        for request_id, one in decided:
            about = {
                "lifecycle": self.name,
                "event": one.event[self.id_column],
                "rule": one.rule,
                "reason": one.reason,
                "score": one.score,
                "degraded": bool(one.degraded),
                "versions": dict(one.versions),
                "request_id": request_id,
                "decided_at": at,
            }
            effects = acted(serving.rules.declared, one.decision_id, one.decision, about)
            if effects is not None:
                found.append(effects)
        return found

    def _put(self, due: list[Acted]) -> None:
        assert self.outbox is not None
        try:
            self.outbox.put(due)
        except Exception as error:
            _LOG.error("the outbox does not take %d decisions: %s", len(due), type(error).__name__)
            self.left += due[: _MOST_LEFT - len(self.left)]

    async def deliver(self) -> None:
        """Deliver what is due, again and again, until cancelled."""
        while self.outbox is not None:
            try:
                if self.left:
                    again, self.left = self.left, []
                    await asyncio.to_thread(self._put, again)
                arrived, failed = await asyncio.to_thread(deliver_due, self.outbox)
                self.meters.effects.labels("arrived").inc(arrived)
                self.meters.effects.labels("failed").inc(failed)
            except Exception as error:
                _LOG.error("effects cannot be delivered: %s", type(error).__name__)
                arrived = 0
            if not arrived:
                await asyncio.sleep(_IDLE_SECONDS)
