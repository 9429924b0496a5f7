"""A real webhook server that can fail, be slow or hang up, and remembers what it took in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Far:
    """The far end. `plan` holds what to do with the next requests: a status, "slow" or "hang up"; then 200."""

    def __init__(self) -> None:
        self.plan: list[Any] = []
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    @property
    def keys(self) -> list[str]:
        """The idempotency keys of all requests, in order."""
        return [headers["idempotency-key"] for headers, _ in self.seen]


@contextmanager
def far_end() -> Iterator[Far]:
    """A server on loopback, on a free port."""
    far = Far()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            far.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
            what = far.plan.pop(0) if far.plan else 200
            if what == "hang up":
                self.connection.close()
                return
            if what == "slow":
                time.sleep(1.0)
                what = 200
            self.send_response(what)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *said: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    far.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield far
    finally:
        server.shutdown()
        server.server_close()
