"""The model server: an ASGI app over one model folder, in the shape of SageMaker's container contract.

    GET  /ping          200 once the model is loaded and not draining
    POST /invocations   rows in (see `payload`), scores out, with the model's version and a request id
    GET  /metrics       counts and times as Prometheus text, of this process; with `Accept: application/json`
                        as the supervisor reads them

Each answer names the version that gave it, in its body and in the header X-Model-Version. Bad input is
answered with 4xx and a message that names the field. What callers send is never logged.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mdlc_assets.deployment.bodies import answer_of, answer_type
from mdlc_assets.deployment.notes import Notes, captured
from mdlc_assets.deployment.payload import PayloadError, media_type, read_rows
from mdlc_assets.deployment.routing import Router, Turns
from mdlc_assets.deployment.scoring import load_scorer
from mdlc_assets.deployment.tally import Tally

# What SageMaker takes for one real-time request.
MAX_BODY = 6 * 1024 * 1024
BODY_SECONDS = 30.0
# Beyond this, reading and scoring would keep other callers waiting: it goes to a thread.
_LARGE_BODY = 64 * 1024
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}$")
_LOG = logging.getLogger("mdlc.server")


class RowScorer(Protocol):
    """A loaded model as the server needs it."""

    @property
    def features(self) -> tuple[str, ...]:
        """The features in the order of the columns."""
        ...

    @property
    def missing_allowed(self) -> bool:
        """Whether NaN stands for a missing value."""
        ...

    def score_rows(self, rows: np.ndarray) -> np.ndarray:
        """Scores in 0 to 1, shape (rows,), for float64 rows of shape (rows, features)."""
        ...


@dataclass
class ServerState:
    """What one server process knows about itself. `draining` is set when it is to stop.

    `answers` and `seconds` are of all requests it took, `own` of those its own model answered.
    """

    scorer: RowScorer
    version: int
    router: Router
    notes: Notes | None = None
    capture: Turns = field(default_factory=Turns)
    draining: bool = False
    answers: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    own: Tally = field(default_factory=Tally)


def create_app(
    model_folder: Path | str,
    version: int,
    *,
    token: str | None = None,
    max_body: int = MAX_BODY,
    body_seconds: float = BODY_SECONDS,
    notes_folder: Path | None = None,
    capture: float = 0.0,
) -> Starlette:
    """The server of the model in `model_folder`, which is loaded before this returns.

    `token`, when given, must come with each request but /ping as `Authorization: Bearer <token>`.
    `max_body` is in bytes; a body that takes longer than `body_seconds` to arrive is answered 408.
    The share `capture` of requests is written below `notes_folder` with its answers.
    """
    notes = Notes(notes_folder) if notes_folder else None
    scorer = load_scorer(Path(model_folder))
    state = ServerState(scorer, version, Router(version, notes), notes, Turns(capture if notes else 0.0))
    server = _Server(state, token.encode() if token else None, max_body, body_seconds)
    app = Starlette(
        routes=[
            Route("/ping", server.ping, methods=["GET"]),
            Route("/invocations", server.invocations, methods=["POST"]),
            Route("/metrics", server.metrics, methods=["GET"]),
        ]
    )
    app.state.server = state
    return app


class _Server:
    def __init__(self, state: ServerState, token: bytes | None, max_body: int, body_seconds: float) -> None:
        self.state, self.token, self.max_body, self.body_seconds = state, token, max_body, body_seconds

    async def ping(self, request: Request) -> Response:
        return self._respond(503 if self.state.draining else 200, b"")

    async def metrics(self, request: Request) -> Response:
        if not self._allowed(request):
            return self._refuse(PayloadError("the token is missing or wrong", status=401), "")
        if request.headers.get("accept") == "application/json":
            return self._respond(200, json.dumps(self._report()).encode())
        return self._respond(200, self._metrics_text(), media="text/plain; version=0.0.4")

    async def invocations(self, request: Request) -> Response:
        began = time.perf_counter()
        request_id = request.headers.get("x-request-id", "")
        if not _REQUEST_ID.match(request_id):
            request_id = uuid.uuid4().hex
        try:
            if not self._allowed(request):
                raise PayloadError("the token is missing or wrong", status=401, field="authorization")
            response = await self._score(request, request_id)
        except PayloadError as error:
            response = self._refuse(error, request_id)
        except ClientDisconnect:
            response = self._refuse(PayloadError("the caller went away"), request_id)
        except Exception as error:
            # The text of an unforeseen error may quote what was sent: its type must do.
            _LOG.error("request %s failed: %s", request_id, type(error).__name__)
            response = self._refuse(PayloadError("the model could not be asked", status=500), request_id)
        self.state.answers[response.status_code] += 1
        self.state.seconds += time.perf_counter() - began
        return response

    async def _score(self, request: Request, request_id: str) -> Response:
        content_type = request.headers.get("content-type", "")
        media_type(content_type)
        wanted = answer_type(request.headers.get("accept", ""))
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise PayloadError("send the body without compression", status=415, field="content-encoding")
        body = await self._body(request)
        router = self.state.router
        if router.to_trial():
            version = router.trial_version
            answered = await router.ask_trial(body, content_type, wanted, request_id)
            if answered is not None:
                status, answer = answered
                media = wanted if status == 200 else "application/json"
                return self._respond(status, answer, media=media, request_id=request_id, version=version)
        return await self._score_here(body, content_type, wanted, request_id)

    async def _score_here(self, body: bytes, content_type: str, wanted: str, request_id: str) -> Response:
        state, began = self.state, time.perf_counter()
        status = 500
        try:
            if len(body) > _LARGE_BODY:
                scores = await asyncio.to_thread(self._scores_of, body, content_type)
            else:
                scores = self._scores_of(body, content_type)
            if wanted == "application/json":
                content = {"scores": scores, "model_version": state.version, "request_id": request_id}
                answer = json.dumps(content).encode()
            else:
                answer = answer_of(wanted, scores)
            status = 200
        except PayloadError as error:
            status = error.status
            raise
        finally:
            state.own.answered(status, time.perf_counter() - began)
        state.own.scored(scores)
        if state.router.shadowed:
            state.router.copy(body, content_type, request_id, scores)
        if state.notes and state.capture.take():
            state.notes.write("capture", state.version, captured(body, content_type, answer, wanted, request_id))
        return self._respond(200, answer, media=wanted, request_id=request_id, version=state.version)

    def _scores_of(self, body: bytes, content_type: str) -> list[float]:
        scorer = self.state.scorer
        rows = read_rows(body, content_type, scorer.features, missing_allowed=scorer.missing_allowed)
        return scorer.score_rows(rows).tolist()

    async def _body(self, request: Request) -> bytes:
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self.max_body:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.body_seconds):
                chunks, size = [], 0
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self.max_body:
                        raise self._too_large()
                    chunks.append(chunk)
        except TimeoutError:
            raise PayloadError("the body took too long to arrive", status=408) from None
        return b"".join(chunks)

    def _too_large(self) -> PayloadError:
        return PayloadError(f"the body is larger than {self.max_body:,} bytes; send fewer rows", status=413)

    def _allowed(self, request: Request) -> bool:
        if self.token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token)

    def _refuse(self, error: PayloadError, request_id: str) -> Response:
        content = {"error": str(error), "field": error.field, "request_id": request_id}
        return self._respond(error.status, json.dumps(content).encode(), request_id=request_id)

    def _respond(
        self, status: int, body: bytes, *, media: str = "application/json", request_id: str = "", version: int = 0
    ) -> Response:
        headers = {"x-request-id": request_id} if request_id else {}
        if version:
            headers["x-model-version"] = str(version)
        if self.state.draining:
            # The caller opens its next connection to the version that takes over.
            headers["connection"] = "close"
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        return Response(body, status, headers, media)

    def _report(self) -> dict[str, Any]:
        state, router = self.state, self.state.router
        return {
            "version": state.version,
            "own": state.own.report(),
            "trial": router.trial_tally.report(),
            "trial_version": router.trial_version,
            "shadow": router.comparison.report(),
            "shadow_version": router.shadow_version,
        }

    def _metrics_text(self) -> bytes:
        state, pid = self.state, os.getpid()
        lines = ["# TYPE mdlc_requests_total counter"]
        lines += [
            f'mdlc_requests_total{{worker="{pid}",status="{status}"}} {count}'
            for status, count in sorted(state.answers.items())
        ]
        lines += [
            "# TYPE mdlc_rows_scored_total counter",
            f'mdlc_rows_scored_total{{worker="{pid}"}} {state.own.rows}',
            "# TYPE mdlc_request_seconds summary",
            f'mdlc_request_seconds_sum{{worker="{pid}"}} {state.seconds:.6f}',
            f'mdlc_request_seconds_count{{worker="{pid}"}} {state.answers.total()}',
            "# TYPE mdlc_model_version gauge",
            f'mdlc_model_version{{worker="{pid}"}} {state.version}',
        ]
        return ("\n".join(lines) + "\n").encode()
