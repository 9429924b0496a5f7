"""The endpoint's server: a model behind /ping and /invocations, as SageMaker's containers answer them.

The supervisor (resources/endpoint_supervisor.py) starts it as `python -m mdlc_assets.deployment.server
<folder> <socket>`: a folder with the model's files and `serving.json`, and a listening socket it inherits.
Requests are JSON, `{"instances": [{feature: number, ...}, ...]}`, or CSV with
a header.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import signal
import socket
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mdlc_assets.training.algorithms import FeatureError, FittedModel, load_model

MAX_BODY_BYTES = 6 * 2**20
"""SageMaker's own limit for a request's body."""
TOKEN_VARIABLE = "MDLC_ENDPOINT_TOKEN"  # noqa: S105


class RequestError(ValueError):
    """A request that cannot be answered; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass
class Drain:
    """Once `on`, each answer asks its caller to close the connection and so to come back to the next version."""

    on: bool = False

    def headers(self) -> dict[str, str]:
        return {"connection": "close"} if self.on else {}


def create_app(model: FittedModel, version: int, token: str = "", drain: Drain | None = None) -> Starlette:
    """The application for one version of a model; with a token, callers must bring it as a bearer."""
    draining = drain or Drain()

    async def ping(request: Request) -> Response:
        return JSONResponse({"version": version}, headers=draining.headers())

    async def invocations(request: Request) -> Response:
        request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
        headers = {"x-request-id": request_id, "x-model-version": str(version), **draining.headers()}
        try:
            _authorise(request, token)
            values = _rows(await _body(request), request.headers.get("content-type", ""), model.features)
            scores = model.score_array(values)
        except (RequestError, FeatureError) as error:
            status = error.status if isinstance(error, RequestError) else 400
            return JSONResponse({"error": str(error)}, status, headers)
        return JSONResponse({"predictions": scores.tolist(), "version": version}, headers=headers)

    return Starlette(
        routes=[Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])],
    )


def _authorise(request: Request, token: str) -> None:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and not secrets.compare_digest(given.encode(), token.encode()):
        raise RequestError(401, "the bearer token is missing or wrong")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(413, f"the body is larger than {MAX_BODY_BYTES} bytes; send fewer rows at once")
    return bytes(body)


def _rows(body: bytes, content_type: str, features: list[str]) -> np.ndarray:
    kind = content_type.split(";")[0].strip().lower()
    if kind == "application/json":
        rows = _json_rows(body)
    elif kind == "text/csv":
        rows = _csv_rows(body)
    else:
        raise RequestError(415, f"content type {kind or 'none'} is not known; use application/json or text/csv")
    if not rows:
        raise RequestError(400, "there are no rows")
    wanted = set(features)
    values = np.empty((len(rows), len(features)))
    for i, row in enumerate(rows):
        if row.keys() != wanted:
            missing, extra = sorted(wanted - row.keys()), sorted(row.keys() - wanted)
            raise RequestError(400, f"row {i}: features missing: {missing}; not known: {[str(e) for e in extra]}")
        for j, name in enumerate(features):
            value = row[name]
            if isinstance(value, bool):
                value = float(value)
            if not isinstance(value, int | float):
                raise RequestError(400, f"row {i}: {name} is not a number")
            values[i, j] = value
    return values


def _json_rows(body: bytes) -> list[dict[str, Any]]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is not JSON") from None
    rows = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(400, 'write {"instances": [{"feature": number, ...}, ...]}')
    return rows


def _csv_rows(body: bytes) -> list[dict[str, Any]]:
    try:
        rows = list(csv.DictReader(io.StringIO(body.decode("utf-8"))))
        return [{name: float(value) for name, value in row.items()} for row in rows]
    except (UnicodeDecodeError, ValueError, TypeError, csv.Error):
        raise RequestError(400, "the body is not CSV with a header and numbers") from None


def main(folder: Path, socket_number: int) -> None:
    """Serve the model in a folder on a listening socket that this process inherited."""
    import uvicorn

    serving = json.loads((folder / "serving.json").read_text())
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    model = load_model(files)
    # One answer before the first request: what cannot score must not serve.
    model.score_array(np.zeros((1, len(model.features))))
    listening = socket.socket(fileno=socket_number)
    drain = Drain()
    signal.signal(signal.SIGUSR1, lambda *_: setattr(drain, "on", True))
    config = uvicorn.Config(
        create_app(model, serving["version"], os.environ.get(TOKEN_VARIABLE, ""), drain),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=30,
    )
    server = uvicorn.Server(config)
    (folder / f"loaded-{os.getpid()}").touch()
    server.run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
