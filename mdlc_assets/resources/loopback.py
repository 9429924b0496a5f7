"""HTTP between the processes of one endpoint: over kept connections, since it stands in a request's way.

Only for our own servers, which answer with a Content-Length. A general client costs a millisecond a request.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from mdlc_assets.resources.endpoint_state import TOKEN_VARIABLE

_IDLE = 32
_LONGEST_HEAD = 64 * 1024


class Loopback:
    """Requests to one port of this machine. Raises OSError, TimeoutError or ValueError when there is no answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._closed = False

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = 10.0,
    ) -> tuple[int, bytes]:
        """(status, body) of one request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if token := os.environ.get(TOKEN_VARIABLE):
            lines.append(f"Authorization: Bearer {token}")
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        async with asyncio.timeout(seconds):
            while self._idle:
                # One that the other side has closed since it was last used says so only when it is used.
                kept = self._idle.pop()
                try:
                    return await self._exchange(*kept, request)
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue
            try:
                connection = await asyncio.open_connection("127.0.0.1", self.port, limit=_LONGEST_HEAD)
                return await self._exchange(*connection, request)
            except asyncio.IncompleteReadError:
                raise ConnectionResetError("the connection was closed before the answer") from None

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, bytes]:
        reusable = False
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            words = first.split(maxsplit=2)
            fields = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines) if v}
            if len(words) < 2 or not words[1].isdigit() or not fields.get("content-length", "").isdigit():
                raise ValueError("the worker gave no HTTP answer")
            body = await reader.readexactly(int(fields["content-length"]))
            reusable = fields.get("connection", "").lower() != "close" and len(self._idle) < _IDLE and not self._closed
            return int(words[1]), body
        finally:
            # Also when the time is over in the midst of it.
            if reusable:
                self._idle.append((reader, writer))
            else:
                writer.close()

    def close(self) -> None:
        """Close the connections that lie idle, and those in use after their answer: a server waits for them."""
        self._closed = True
        for _, writer in self._idle:
            writer.close()
        self._idle = []
