"""Each decision with its inputs as a line of JSON, by the day of its event, for the asset `online_decisions`.

    <folder>/date=2018-04-01/<process>-<number>.jsonl

Lines that were decided together are handed to the system in one write before they are answered, so a process that
is killed loses none that a caller knows of. A file is locked while it is open and never opened again: one without
a lock is whole, whoever wrote it, and may be carried away (`capture_upload.py`).
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from mdlc_assets.realtime.decider import Decided

_MOST_OPEN = 32


@dataclass
class _Open:
    """A file that is written to."""

    number: int
    since: float
    size: int = 0


class Capture:
    """Appends decisions below `folder`. `features` are the names of the features, in order."""

    def __init__(self, folder: Path, time_column: str, features: list[str]) -> None:
        self.folder, self.time_column, self.features = folder, time_column, features
        # Containers share process numbers and hosts share times: only the random part tells two workers apart.
        self._mark = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{uuid.uuid4().hex}"
        self._numbers = itertools.count()
        self._open: OrderedDict[date, _Open] = OrderedDict()
        self._writing = threading.Lock()

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
        with self._writing:
            for day, of_day in lines.items():
                file = self._file(day)
                file.size += os.write(file.number, b"".join(of_day))

    def _file(self, day: date) -> _Open:
        if day in self._open:
            self._open.move_to_end(day)
            return self._open[day]
        folder = self.folder / f"date={day.isoformat()}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while len(self._open) >= _MOST_OPEN:
            os.close(self._open.popitem(last=False)[1].number)
        name = f"{self._mark}-{next(self._numbers)}.jsonl"
        # It gets its name when it is locked: nobody finds it before.
        unnamed = folder / f".{name}.new"
        number = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(folder / name)
        except OSError:
            os.close(number)
            raise
        self._open[day] = _Open(number, time.monotonic())
        return self._open[day]

    def close(self, seconds: float = 0.0, size: int = 0) -> None:
        """Close the files that are open for `seconds` or hold `size` bytes; without either, all."""
        with self._writing:
            now = time.monotonic()
            for day, file in list(self._open.items()):
                if now - file.since >= seconds or file.size >= size > 0:
                    del self._open[day]
                    os.close(file.number)
