"""Where a serving process sends requests: to itself, a share to a version on trial, copies to a shadow.

The processes that serve stay in front during a rollout. A request that the version on trial fails to answer
is answered by the one that serves, so a caller never pays for a trial; the failure is counted all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any

from mdlc_assets.deployment.notes import Notes, compared
from mdlc_assets.deployment.tally import Comparison, Tally
from mdlc_assets.resources.loopback import Loopback

_WAITING_COPIES = 1000
_SHADOW_SECONDS = 5.0
_NO_ANSWER = (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class Turns:
    """Says yes to a share of the times it is asked, evenly spread and exact in the long run."""

    def __init__(self, share: float = 0.0) -> None:
        self.share, self.owed = share, 0.0

    def take(self) -> bool:
        self.owed += self.share
        if self.owed < 1 - 1e-9:
            return False
        self.owed -= 1
        return True


class Router:
    """One serving process's routes, as the supervisor sets them."""

    def __init__(self, version: int, notes: Notes | None = None) -> None:
        self.version, self.notes = version, notes
        self.trial_version, self.shadow_version = 0, 0
        self.trial_tally, self.comparison = Tally(), Comparison()
        self._turns, self._trial_seconds = Turns(), 1.0
        self._trial: list[Loopback] = []
        self._shadow: list[Loopback] = []
        self._copies: asyncio.Queue[tuple[bytes, str, str, list[float]]] = asyncio.Queue(_WAITING_COPIES)
        self._copying: asyncio.Task[None] | None = None
        self._next = 0

    def set(self, route: dict[str, Any]) -> None:
        """Take a route: `share`, `trial` and `shadow` (ports), `trial_version`, `shadow_version`, `trial_seconds`.

        An empty one lets this process answer everything itself.
        """
        if route.get("trial_version", 0) != self.trial_version:
            self.trial_tally = Tally()
        if route.get("shadow_version", 0) != self.shadow_version:
            self.comparison = Comparison()
        self.trial_version, self.shadow_version = route.get("trial_version", 0), route.get("shadow_version", 0)
        self._turns = Turns(route.get("share", 0.0))
        self._trial_seconds = route.get("trial_seconds", 1.0)
        for target in [*self._trial, *self._shadow]:
            target.close()
        self._trial = [Loopback(port) for port in route.get("trial", [])]
        self._shadow = [Loopback(port) for port in route.get("shadow", [])]
        if self._shadow and self._copying is None:
            self._copying = asyncio.create_task(self._copy())

    def to_trial(self) -> bool:
        """Whether the next request is the version's on trial."""
        return bool(self._trial) and self._turns.take()

    async def ask_trial(self, body: bytes, content_type: str, wanted: str, request_id: str) -> tuple[int, bytes] | None:
        """The answer of the version on trial, or None when it has failed or takes too long."""
        began = time.perf_counter()
        status, answer = 0, b""
        tally, target = self.trial_tally, self._turn_of(self._trial)
        headers = {"Content-Type": content_type, "Accept": wanted, "X-Request-Id": request_id}
        with contextlib.suppress(*_NO_ANSWER):
            status, answer = await target.ask("POST", "/invocations", body, headers, self._trial_seconds)
        failed = status == 0 or status >= 500
        tally.answered((status or 500) if failed else status, time.perf_counter() - began)
        return None if failed else (status, answer)

    @property
    def shadowed(self) -> bool:
        """Whether copies are wanted."""
        return bool(self._shadow)

    def copy(self, body: bytes, content_type: str, request_id: str, scores: list[float]) -> None:
        """Let the shadow answer too, later; when it cannot keep up the copy is dropped and counted."""
        try:
            self._copies.put_nowait((body, content_type, request_id, scores))
        except asyncio.QueueFull:
            self.comparison.dropped += 1

    async def _copy(self) -> None:
        while True:
            body, content_type, request_id, scores = await self._copies.get()
            if not self._shadow:
                continue
            versions, comparison = (self.version, self.shadow_version), self.comparison
            headers = {"Content-Type": content_type, "X-Request-Id": request_id}
            try:
                target = self._turn_of(self._shadow)
                status, answer = await target.ask("POST", "/invocations", body, headers, _SHADOW_SECONDS)
                shadow = json.loads(answer)["scores"] if status == 200 else []
                comparison.add(scores, shadow)
            except (*_NO_ANSWER, KeyError, TypeError):
                comparison.failed += 1
                continue
            if self.notes:
                self.notes.write("shadow", versions[1], compared(request_id, versions, scores, shadow))

    def _turn_of(self, targets: Sequence[Loopback]) -> Loopback:
        self._next += 1
        return targets[self._next % len(targets)]
