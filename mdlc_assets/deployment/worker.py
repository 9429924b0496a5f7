"""One worker process of an endpoint: loads a model, proves itself in private, then serves in public.

Started by the supervisor with two listening sockets it inherits. It speaks to the supervisor in lines of
JSON on its standard output and takes such lines on its standard input:

    worker      {"state": "healthy"}     /ping and /invocations answer on the private socket
    supervisor  {"do": "accept"}
    worker      {"state": "accepting"}   it takes connections from the public socket too
    supervisor  {"do": "route", ...}     a share of requests is another version's on trial (see `routing`)
    worker      {"state": "draining"}    it takes no more

When the supervisor is gone nobody watches a version on trial: the worker then answers everything itself.

The public socket is one listening queue that all workers, old and new, share. A worker that stops only
closes its own hold on it, so no connection waiting there is lost. On SIGTERM it takes no new connection,
answers each open one a last time with `Connection: close`, and leaves when all have gone; on SIGINT it
finishes the requests under way and leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from mdlc_assets.deployment.server import MAX_BODY, ServerState, create_app
from mdlc_assets.resources.endpoint_state import TOKEN_VARIABLE

# Idle callers close first: nobody sends a request into a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 120
# A connection that was accepted a moment ago may not have been counted yet.
_LEAST_DRAIN_SECONDS = 0.25
_FLUSH_SECONDS = 0.5


class _Worker(uvicorn.Server):
    """uvicorn's server with a second, later listening socket, and a drain that loses no request."""

    def __init__(self, config: uvicorn.Config, public: socket.socket, drain_seconds: float) -> None:
        super().__init__(config)
        self.public, self.drain_seconds = public, drain_seconds

    @property
    def state(self) -> ServerState:
        return self.config.app.state.server  # type: ignore[union-attr]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # SIGINT: nobody takes over, so connections that lie idle are not waited for.
        if sig == signal.SIGINT:
            self.drain_seconds = _LEAST_DRAIN_SECONDS
        super().handle_exit(signal.SIGTERM, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.tasks = [asyncio.create_task(self._obey()), asyncio.create_task(self._flush_notes())]

    async def _obey(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        tell("healthy", features=list(self.state.scorer.features))
        accepting = False
        while line := await reader.readline():
            said = json.loads(line)
            if said["do"] == "route":
                self.state.router.set(said)
            elif not accepting:
                private = self.servers
                await super().startup([self.public])
                self.servers = [*private, *self.servers]
                accepting = True
                tell("accepting")
        self.state.router.set({})
        if not accepting:
            # The supervisor refused this worker, or is gone before it ever served.
            self.should_exit = True

    async def _flush_notes(self) -> None:
        while self.state.notes:
            await asyncio.sleep(_FLUSH_SECONDS)
            self.state.notes.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.state.draining = True
        for server in self.servers[1:]:
            server.close()
        tell("draining")
        began = time.monotonic()
        while (spent := time.monotonic() - began) < self.drain_seconds and not self.force_exit:
            if spent >= _LEAST_DRAIN_SECONDS and not self.server_state.connections:
                break
            await asyncio.sleep(0.05)
        if self.state.notes:
            self.state.notes.flush()
        await super().shutdown(sockets)


def tell(state: str, **more: Any) -> None:
    """One line to the supervisor; nobody listens any more when it was killed."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps({"state": state, **more}).encode() + b"\n")


def main() -> None:
    """Read the command line, load the model, serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="One worker of an endpoint; the supervisor starts it.")
    parser.add_argument("--model-folder", required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--public-fd", type=int, required=True)
    parser.add_argument("--private-fd", type=int, required=True)
    parser.add_argument("--drain-seconds", type=float, default=10.0)
    parser.add_argument("--max-body", type=int, default=MAX_BODY)
    parser.add_argument("--notes-folder", type=Path)
    parser.add_argument("--capture", type=float, default=0.0)
    parser.add_argument("--container", type=json.loads, help="Run an image's own server: see front.py.")
    options = parser.parse_args()
    token = os.environ.get(TOKEN_VARIABLE) or None
    try:
        app: Starlette
        if options.container:
            from mdlc_assets.deployment.front import create_front

            app = create_front(options.model_folder, options.version, options.container, token=token)
        else:
            app = create_app(
                options.model_folder,
                options.version,
                token=token,
                max_body=options.max_body,
                notes_folder=options.notes_folder,
                capture=options.capture,
            )
    except Exception as error:
        # XGBoost's errors go on with a C++ stack: the first lines say what is wrong.
        reason = " ".join(str(error).split("Stack trace")[0].split())[:400]
        tell("refused", reason=f"the model cannot be loaded: {type(error).__name__}: {reason}")
        sys.exit(1)
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(options.drain_seconds) + 1,
    )
    public = socket.socket(fileno=options.public_fd)
    private = socket.socket(fileno=options.private_fd)
    _Worker(config, public, options.drain_seconds).run(sockets=[private])


if __name__ == "__main__":
    main()
