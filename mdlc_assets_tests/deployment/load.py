"""Callers that send single rows at a steady rate, and remember how each request was answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdlc_assets_tests.deployment.models import FEATURES

_CALLERS = 10
# Of the callers, so many open a connection of their own for each request.
_IMPATIENT = 2


@dataclass
class Answers:
    """What became of the requests: (seconds since the load began, status, version, seconds it took)."""

    answered: list[tuple[float, int, int, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        return Counter(status for _, status, _, _ in self.answered)

    def versions(self, since: float = 0.0, until: float = 1e9) -> Counter[int]:
        return Counter(version for at, _, version, _ in self.answered if since <= at < until)

    def rate(self) -> float:
        return len(self.answered) / self.answered[-1][0]

    def quantile_ms(self, level: float) -> float:
        return 1e3 * float(np.quantile([seconds for *_, seconds in self.answered], level))


async def load(url: str, rate: float, answers: Answers, done: asyncio.Event, bodies: list[bytes]) -> None:
    """Call until `done`, `rate` times a second in all."""
    address = url.removeprefix("http://").split(":")
    began = time.monotonic()

    async def caller(number: int) -> None:
        connection: Any = None
        turn = 0
        while not done.is_set():
            due = began + (turn + number / _CALLERS) * _CALLERS / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            body = bodies[(turn * _CALLERS + number) % len(bodies)]
            turn += 1
            at = time.monotonic()
            try:
                if connection is None:
                    connection = await asyncio.open_connection(address[0], int(address[1]))
                status, version, closes = await _ask(*connection, body)
                answers.answered.append((at - began, status, version, time.monotonic() - at))
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                answers.failed.append(f"{at - began:.2f} s: {type(error).__name__}: {error}")
                closes = True
            if (closes or number < _IMPATIENT) and connection is not None:
                connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*(caller(number) for number in range(_CALLERS)))


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, int, bool]:
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(20):
        top = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in top.split("\r\n")[1:] if ": " in line)
        content = json.loads(await reader.readexactly(int(fields["content-length"])))
    version = int(fields.get("x-model-version", 0))
    if version and content.get("model_version") != version:
        raise ValueError("header and body name different versions")
    return int(top.split()[1]), version, fields.get("connection") == "close"


def bodies(count: int = 500) -> list[bytes]:
    """Single rows, as the models of the tests were trained on."""
    rows = np.random.default_rng(7).normal(size=(count, len(FEATURES))).tolist()
    return [json.dumps({"columns": list(FEATURES), "data": [row]}).encode() for row in rows]


def under_load(url: str, rate: float, meanwhile: Callable[[], None]) -> Answers:
    """Do `meanwhile` (in a thread) while the endpoint is called, and say how it answered."""
    answers = Answers()

    async def both() -> None:
        done = asyncio.Event()
        calling = asyncio.create_task(load(url, rate, answers, done, bodies()))
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await asyncio.to_thread(meanwhile)
            finally:
                done.set()
                await calling

    asyncio.run(both())
    return answers
