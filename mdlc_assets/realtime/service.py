"""The decision service: an ASGI app over a `Decider`.

    POST /decisions      an event, or a list of events, in; decisions out
    GET  /health         200 while the process lives
    GET  /ready          200 once an approved model and the store are there, else 503; either way says what is so
    GET  /metrics        Prometheus text
    GET  /openapi.json   the interface, made from the declaration; /docs shows it as a page

What is wrong with a request is answered 4xx with the field and its mend. What is away is done without, as
declared, and the answer says `degraded`. What callers send is never logged.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.realtime.capture_upload import CaptureUpload
from mdlc_assets.realtime.decider import Decided, Decider
from mdlc_assets.realtime.event_reader import EventError, EventReader
from mdlc_assets.realtime.interface import interface_of, page_of
from mdlc_assets.realtime.meters import Meters
from mdlc_assets.realtime.recorder import Recorder
from mdlc_assets.realtime.request_log import RequestLog
from mdlc_assets.realtime.serving import Changeover

MAX_BODY = 6 * 1024 * 1024
MAX_EVENTS = 1_000
BODY_SECONDS = 10.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_LOG = logging.getLogger("mdlc.decisions")
_JSON = (b"content-type", b"application/json")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass
class ServiceState:
    """What one process of the service is made of."""

    lifecycle: LifecycleDeclaration
    reader: EventReader
    decider: Decider
    changeover: Changeover
    meters: Meters
    log: RequestLog
    store_there: Callable[[], bool] = lambda: True
    recorder: Recorder | None = None
    upload: CaptureUpload | None = None


def create_service(
    state: ServiceState,
    *,
    token: str | None = None,
    max_body: int = MAX_BODY,
    body_seconds: float = BODY_SECONDS,
    lifespan: Any = None,
) -> Starlette:
    """The app. `token`, when given, must come with each decision and /metrics as `Authorization: Bearer <token>`."""
    decisions = _Decisions(state, token.encode() if token else None, max_body, body_seconds)
    pages = _Pages(state, decisions)
    app = Starlette(
        routes=[
            Route("/decisions", decisions, methods=["POST"]),
            Route("/health", pages.health),
            Route("/ready", pages.ready),
            Route("/metrics", pages.metrics),
            Route("/openapi.json", pages.openapi),
            Route("/docs", pages.docs),
        ],
        lifespan=lifespan,
    )
    app.state.service = state
    return app


class _Decisions:
    """POST /decisions, straight on ASGI: what stands between costs more than the rules do."""

    def __init__(self, state: ServiceState, token: bytes | None, max_body: int, body_seconds: float) -> None:
        self.state, self.max_body, self.body_seconds = state, max_body, body_seconds
        self.token = b"bearer " + token if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        decided: list[Decided] = []
        try:
            if not self.allows(headers):
                raise EventError("the token is missing or wrong", "authorization", "send the service's token", 401)
            content = _read_json(await self._body(headers, receive))
            many = type(content) is list
            events = self._read(content) if many else [self.state.reader.read(content)]
            decided = await self.state.decider.decide(events, request_id)
            status, answer = 200, _answer(decided, request_id, many)
        except EventError as error:
            status, answer = error.status, _refusal(error, request_id)
        except _GoneError:
            return
        except Exception as error:
            # The text of an unforeseen error may quote what was sent: its type must do.
            _LOG.error("request %s failed: %s", request_id, type(error).__name__)
            unforeseen = EventError("the event could not be decided", None, "tell the service's owner", 500)
            status, answer = 500, _refusal(unforeseen, request_id)
        spent = time.perf_counter() - began
        head = [_JSON, (b"content-length", b"%d" % len(answer)), (b"x-request-id", request_id.encode())]
        if status == 401:
            head.append((b"www-authenticate", b"Bearer"))
        elif status in (408, 413):
            # What is left of the body nobody reads.
            head.append((b"connection", b"close"))
        self.state.meters.answered(status, spent)
        self.state.log.answered(request_id, status, spent, decided)
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    def allows(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a request carries the token."""
        if self.token is None:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + given.strip(), self.token)

    def _read(self, content: list[Any]) -> list[dict[str, Any]]:
        if not 0 < len(content) <= MAX_EVENTS:
            raise EventError(f"a batch holds 1 to {MAX_EVENTS} events", None, "send fewer at once", 400)
        events = []
        for number, one in enumerate(content):
            try:
                events.append(self.state.reader.read(one))
            except EventError as error:
                raise EventError(f"event {number}: {error}", error.field, error.mend, error.status) from None
        return events

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self.max_body:
            raise self._too_large()
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise EventError("the body is compressed", "content-encoding", "send it as it is", 415)
        try:
            async with asyncio.timeout(self.body_seconds):
                chunks: list[bytes] = []
                size = 0
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _GoneError
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > self.max_body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join([*chunks, chunk]) if chunks else chunk
                    chunks.append(chunk)
        except TimeoutError:
            raise EventError("the body took too long to arrive", None, "send it in one go", 408) from None

    def _too_large(self) -> EventError:
        return EventError(f"the body is larger than {self.max_body:,} bytes", None, "send fewer events at once", 413)


class _GoneError(Exception):
    """The caller hung up."""


def _read_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise EventError(
            f"the body is not JSON (line {error.lineno}, column {error.colno})", None, "send an event", 400
        ) from None


def _answer(decided: list[Decided], request_id: str, many: bool) -> bytes:
    found = [_said(one) for one in decided]
    return orjson.dumps(
        {"request_id": request_id, "decisions": found} if many else {"request_id": request_id, **found[0]}
    )


def _said(one: Decided) -> dict[str, Any]:
    said = {
        "decision_id": one.decision_id,
        "score": one.score,
        "decision": one.decision,
        "rule": one.rule,
        "reason": one.reason,
        "reasons": one.reasons,
        "degraded": bool(one.degraded),
        "versions": one.versions,
    }
    if one.degraded:
        said["cause"] = one.degraded
    return said


def _refusal(error: EventError, request_id: str) -> bytes:
    return orjson.dumps({"request_id": request_id, "error": str(error), "field": error.field, "mend": error.mend})


class _Pages:
    """What is asked now and then."""

    def __init__(self, state: ServiceState, decisions: _Decisions) -> None:
        self.state, self.decisions = state, decisions
        self._interface = interface_of(state.lifecycle)

    async def health(self, request: Request) -> Response:
        return _json({"alive": True})

    async def ready(self, request: Request) -> Response:
        there, said = await self._readiness()
        return _json(said, 200 if there else 503)

    async def metrics(self, request: Request) -> Response:
        if not self.decisions.allows(dict(request.scope["headers"])):
            return _json({"error": "the token is missing or wrong", "field": "authorization"}, 401)
        there, _ = await self._readiness()
        meters, decider = self.state.meters, self.state.decider
        meters.ready.set(there)
        model = self.state.changeover.serving.model
        meters.version.set(model.version if model else 0)
        meters.away.labels("store").set(decider.store.open)
        meters.away.labels("model").set(decider.model.open)
        return Response(meters.text(), media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        return _json(self._interface)

    async def docs(self, request: Request) -> Response:
        return HTMLResponse(page_of(self._interface))

    async def _readiness(self) -> tuple[bool, dict[str, Any]]:
        state = self.state
        try:
            async with asyncio.timeout(2):
                store = await asyncio.to_thread(state.store_there)
        except Exception:
            store = False
        model = state.changeover.serving.model is not None and not state.decider.model.open
        said = {
            "ready": model and store,
            "model": model,
            "store": store,
            "versions": state.changeover.serving.versions,
            "error": state.changeover.error,
        }
        return model and store, said


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
