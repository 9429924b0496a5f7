"""What an endpoint's versions answer, second by second: the difference of what their workers have counted."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from mdlc_assets.resources.endpoint_alarms import Point, merge
from mdlc_assets.resources.endpoint_workers import Group, Worker

_KEPT_SECONDS = 4 * 3600
_PATIENCE, _HASTE = 2.0, 0.3
_Counts = Mapping[str, Mapping[str, int]]


class Meter:
    """Points of the version that serves, and of the one on trial."""

    def __init__(self) -> None:
        self.live: deque[Point] = deque(maxlen=_KEPT_SECONDS)
        self.trial: deque[Point] = deque(maxlen=_KEPT_SECONDS)
        self.shadow: dict[str, Any] = {}
        self._last: dict[Worker, dict[str, Any]] = {}
        self._last_at = time.monotonic()

    async def measure(self, group: Group, trial: Group | None) -> None:
        """Ask all workers, and add a point for each version."""
        workers = [worker for worker in group.workers if worker.running]
        others = [worker for worker in (trial.workers if trial else []) if worker.running]
        # A version on trial that hangs must not hold up the count of its failures.
        asked = [worker.report(_PATIENCE) for worker in workers] + [worker.report(_HASTE) for worker in others]
        reports = await asyncio.gather(*asked)
        at = time.monotonic()
        before, self._last = self._last, {}
        span, self._last_at = at - self._last_at, at
        live, tried, answered = [], [], []
        for worker, report in zip([*workers, *others], reports, strict=True):
            earlier = before.get(worker)
            if report is None:
                if earlier is not None:
                    self._last[worker] = earlier
                continue
            self._last[worker] = report
            own = _since(report["own"], earlier["own"] if earlier else None)
            if worker in others:
                answered.append(own)
                continue
            live.append(own)
            same = earlier is not None and earlier["trial_version"] == report["trial_version"]
            tried.append(_since(report["trial"], earlier["trial"] if earlier and same else None))
            if report["shadow_version"]:
                self.shadow = {"version": report["shadow_version"], **report["shadow"]}
        serving = merge(live, at)
        serving.span = span
        self.live.append(serving)
        if trial is not None:
            # Answers and times as callers saw them, scores as the version itself counted them.
            point = merge(tried, at)
            point.span = span
            point.scores, point.usual_scores = merge(answered).scores, serving.scores
            self.trial.append(point)

    def rate(self, seconds: float) -> float:
        """Requests a second over the last `seconds`."""
        since = time.monotonic() - seconds
        return sum(point.invocations for point in self.live if point.at >= since) / seconds


def _since(now: _Counts, before: _Counts | None) -> Point:
    def grown(name: str) -> dict[int, int]:
        earlier = before[name] if before else {}
        return {int(key): count - earlier.get(key, 0) for key, count in now[name].items() if count != earlier.get(key)}

    answers = grown("answers")
    return Point(
        0.0,
        sum(answers.values()),
        sum(count for status, count in answers.items() if 400 <= status < 500),
        sum(count for status, count in answers.items() if status >= 500),
        grown("latency"),
        grown("scores"),
    )
