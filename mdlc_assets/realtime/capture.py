"""Each decision with its inputs as a line of JSON, by the day of its event, for the asset `online_decisions`.

    <folder>/date=2018-04-01/<process>.jsonl

Lines that were decided together are handed to the system in one write before they are answered, so a process that
is killed loses none that a caller knows of.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from mdlc_assets.realtime.decider import Decided

_MOST_OPEN = 8


class Capture:
    """Appends decisions below `folder`. `features` are the names of the features, in order."""

    def __init__(self, folder: Path, time_column: str, features: list[str]) -> None:
        self.folder, self.time_column, self.features = folder, time_column, features
        self._mark = f"{os.getpid()}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        self._open: OrderedDict[date, int] = OrderedDict()

    def write(self, decided: list[tuple[str, Decided]]) -> None:
        """Keep decisions, each with its request's id."""
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        lines: dict[date, list[bytes]] = {}
        for request_id, one in decided:
            content: dict[str, Any] = {
                "decided_at": at,
                "request_id": request_id,
                "decision_id": one.decision_id,
                "event": one.event,
                "features": one.features,
                "score": one.score,
                "decision": one.decision,
                "rule": one.rule,
                "degraded": one.degraded,
                "versions": one.versions,
            }
            day = one.event[self.time_column].date()
            lines.setdefault(day, []).append(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))
        for day, of_day in lines.items():
            os.write(self._file(day), b"".join(of_day))

    def _file(self, day: date) -> int:
        if day in self._open:
            self._open.move_to_end(day)
            return self._open[day]
        folder = self.folder / f"date={day.isoformat()}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while len(self._open) >= _MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        self._open[day] = os.open(folder / f"{self._mark}.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return self._open[day]

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])
