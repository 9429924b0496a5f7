"""A line of JSON for each request: what was decided by which versions and how long it took. No values of events."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson

from mdlc_assets.realtime.decider import Decided

_FLUSH_SECONDS = 0.5


class RequestLog:
    """Writes to `target`, such as `sys.stderr.buffer`; without one nothing is written."""

    def __init__(self, target: BinaryIO | None) -> None:
        self.target = target

    def answered(self, request_id: str, status: int, seconds: float, decided: list[Decided]) -> None:
        """A request was answered."""
        if self.target is None:
            return
        line: dict[str, Any] = {
            "at": datetime.now(UTC),
            "request_id": request_id,
            "status": status,
            "ms": round(seconds * 1e3, 3),
        }
        if len(decided) == 1:
            one = decided[0]
            line |= {"decision_id": one.decision_id, "decision": one.decision, "rule": one.rule}
            line |= {"degraded": one.degraded, "versions": one.versions}
        elif decided:
            line |= {"decisions": len(decided), "degraded": sorted({one.degraded for one in decided} - {""})}
            line |= {"versions": decided[0].versions}
        self.target.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Hand what was written to the system."""
        if self.target is not None:
            self.target.flush()

    async def flush_now_and_then(self) -> None:
        """Flush each half second, until cancelled."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self.flush()


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = {"at": at, "level": record.levelname, "by": record.name, "said": record.getMessage()}
        if record.exc_info and record.exc_info[0]:
            # Its text may quote what was sent: its type must do.
            line["error"] = record.exc_info[0].__name__
        return orjson.dumps(line).decode()


def log_in_json() -> None:
    """Let all loggers of this process write lines of JSON to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
