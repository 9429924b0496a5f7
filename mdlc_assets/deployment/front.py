"""The front of an image's own server: what SageMaker puts before a container, done here by a worker process.

The worker takes the place of our own server in an endpoint, so rollouts, alarms and autoscaling work as ever; what
answers is the container. `container` says how it runs:

    words, environment      the command, and what its environment needs
    idle_seconds            serverless: it is started by a call and ended after so long without one
    most_at_once            serverless: calls beyond these are answered 429
    models                  multi-model: the folder of archives; the header X-Amzn-SageMaker-Target-Model chooses
"""

from __future__ import annotations

import asyncio
import atexit
import hmac
import json
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mdlc_assets.deployment.container_process import ContainerError, ContainerProcess
from mdlc_assets.deployment.loaded_models import LoadedModels, TargetError
from mdlc_assets.deployment.routing import Router
from mdlc_assets.deployment.server import MAX_BODY, ServerState

TARGET_HEADER = "x-amzn-sagemaker-target-model"
_START_SECONDS = float(os.environ.get("MDLC_LOCAL_START_SECONDS", "480"))
_ANSWER_SECONDS, _TICK_SECONDS = 60.0, 0.1
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}$")


class _Unseen:
    """Stands where our own server has its model: nobody here knows what the container takes."""

    features: tuple[str, ...] = ()
    missing_allowed = False

    def score_rows(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError("the container scores")


def create_front(
    model_folder: Path | str, version: int, container: dict[str, Any], *, token: str | None = None
) -> Starlette:
    """The front of a container, which has answered its /ping when this returns. Raises `ContainerError`."""
    several = bool(container.get("models"))
    process = ContainerProcess(container["words"], container["environment"], None if several else Path(model_folder))
    atexit.register(process.remove)
    process.start()
    process.wait_until_healthy(_START_SECONDS)
    state = ServerState(_Unseen(), version, Router(version))
    front = _Front(state, process, container, token.encode() if token else None)
    app = Starlette(
        routes=[
            Route("/ping", front.ping, methods=["GET"]),
            Route("/invocations", front.invocations, methods=["POST"]),
            Route("/metrics", front.metrics, methods=["GET"]),
        ],
    )
    app.state.server = state
    return app


class _Front:
    def __init__(
        self, state: ServerState, process: ContainerProcess, container: dict[str, Any], token: bytes | None
    ) -> None:
        self.state, self.process, self.token = state, process, token
        self.idle_seconds = float(container.get("idle_seconds", 0))
        self.most_at_once = int(container.get("most_at_once", 0))
        self.client = httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS)
        folder = container.get("models")
        self.models = LoadedModels(self.client, process, Path(folder)) if folder else None
        self.under_way, self.used_at = 0, time.monotonic()
        self.starting = asyncio.Lock()
        self.watching: asyncio.Task[None] | None = None

    async def ping(self, request: Request) -> Response:
        self._watch()
        return Response(status_code=503 if self.state.draining else 200)

    async def metrics(self, request: Request) -> Response:
        if not self._allowed(request):
            return self._refused(401, "the token is missing or wrong", "")
        router = self.state.router
        report = {
            "version": self.state.version,
            "own": self.state.own.report(),
            "trial": router.trial_tally.report(),
            "trial_version": router.trial_version,
            "shadow": router.comparison.report(),
            "shadow_version": router.shadow_version,
            "container": self.process.pid,
            "models": list(self.models.loaded) if self.models else [],
        }
        return Response(json.dumps(report), media_type="application/json")

    async def invocations(self, request: Request) -> Response:
        self._watch()
        request_id = request.headers.get("x-request-id", "")
        if not _REQUEST_ID.match(request_id):
            request_id = uuid.uuid4().hex
        if not self._allowed(request):
            return self._refused(401, "the token is missing or wrong", request_id)
        if self.most_at_once and self.under_way >= self.most_at_once:
            return self._refused(429, f"{self.most_at_once} calls are under way already", request_id)
        self.under_way += 1
        try:
            body = await _body(request)
            if body is None:
                return self._refused(413, f"the body is larger than {MAX_BODY:,} bytes; send fewer rows", request_id)
            return await self._answered(request, body, request_id)
        except ClientDisconnect:
            return self._refused(400, "the caller went away", request_id)
        finally:
            self.under_way -= 1
            self.used_at = time.monotonic()

    async def _answered(self, request: Request, body: bytes, request_id: str) -> Response:
        content_type = request.headers.get("content-type", "application/octet-stream")
        accept, router = request.headers.get("accept", "*/*"), self.state.router
        if router.to_trial():
            version = router.trial_version
            tried = await router.ask_trial(body, content_type, accept, request_id)
            if tried is not None:
                return self._response(tried[0], tried[1], accept, request_id, str(version))
        began, status = time.perf_counter(), 500
        try:
            await self._awake()
            path = "/invocations"
            if self.models:
                path = await self.models.path_of(request.headers.get(TARGET_HEADER, ""))
            headers = {"content-type": content_type, "accept": accept}
            answer = await self.client.post(f"{self.process.address}{path}", content=body, headers=headers)
            status = answer.status_code
        except TargetError as error:
            status = error.status
            return self._refused(status, str(error), request_id)
        except (httpx.HTTPError, ContainerError) as error:
            return self._refused(500, f"the container gave no answer ({type(error).__name__})", request_id)
        finally:
            self.state.own.answered(status, time.perf_counter() - began)
        media = answer.headers.get("content-type", "application/octet-stream")
        said = answer.headers.get("x-model-version") or str(self.state.version or "")
        return self._response(status, answer.content, media, request_id, said)

    async def _awake(self) -> None:
        """Start the container where it sleeps; calls that come meanwhile wait for it together."""
        if self.process.pid is not None:
            return
        async with self.starting:
            if self.process.pid is None:
                # In this thread, the main one: the process ends with the thread that started it.
                self.process.start()
                if self.models:
                    self.models.forget()
                await asyncio.to_thread(self.process.wait_until_healthy, _START_SECONDS)

    def _watch(self) -> None:
        if self.watching is None:
            self.watching = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """End a serverless container that nobody calls; end this worker when its container has ended by itself."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if self.process.code is not None and not self.idle_seconds:
                # The supervisor starts another in its place.
                self.process.remove()
                os._exit(1)
            quiet = time.monotonic() - self.used_at > self.idle_seconds
            if self.idle_seconds and quiet and not self.under_way and self.process.pid is not None:
                async with self.starting:
                    await asyncio.to_thread(self.process.stop)

    def _allowed(self, request: Request) -> bool:
        if self.token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token)

    def _refused(self, status: int, text: str, request_id: str) -> Response:
        content = json.dumps({"error": text, "request_id": request_id}).encode()
        return self._response(status, content, "application/json", request_id, "")

    def _response(self, status: int, body: bytes, media: str, request_id: str, version: str) -> Response:
        headers = {"x-request-id": request_id} if request_id else {}
        if version:
            headers["x-model-version"] = version
        if self.state.draining:
            headers["connection"] = "close"
        return Response(body, status, headers, media)


async def _body(request: Request) -> bytes | None:
    """The body; None when it is larger than SageMaker takes."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)
