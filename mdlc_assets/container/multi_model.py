"""Several models behind one server, to SageMaker's multi-model contract.

    GET    /ping                      200
    POST   /models                    {"model_name": ..., "url": folder}: load; 409 when it is loaded, 507 without room
    GET    /models                    what is loaded
    GET    /models/{name}             404 when it is not loaded
    DELETE /models/{name}             unload
    POST   /models/{name}/invoke      rows in, scores out, as /invocations of one model

How many there is room for says MDLC_MOST_MODELS (50). Which version a model is says its file `mdlc_version`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mdlc_assets.deployment.server import MAX_BODY, create_app
from mdlc_assets.training.algorithms import ModelFileError

VERSION_FILE = "mdlc_version"


@dataclass(frozen=True)
class _Loaded:
    url: str
    app: ASGIApp


class _Models:
    def __init__(self, most: int, max_body: int) -> None:
        self.most, self.max_body = most, max_body
        self.loaded: dict[str, _Loaded] = {}

    async def ping(self, request: Request) -> Response:
        return Response()

    async def load(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            name, url = str(asked["model_name"]), str(asked["url"])
        except (ValueError, KeyError, TypeError):
            return _said(400, "send model_name and url")
        if name in self.loaded:
            return _said(409, f"{name} is loaded already")
        if len(self.loaded) >= self.most:
            return _said(507, f"there is room for {self.most} models")
        try:
            app = create_app(url, _version(Path(url)), max_body=self.max_body)
        except (ModelFileError, OSError) as error:
            return _said(400, str(error))
        self.loaded[name] = _Loaded(url, app)
        return _said(200, "loaded")

    async def listed(self, request: Request) -> Response:
        return JSONResponse({"models": [_about(name, one) for name, one in self.loaded.items()]})

    async def described(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse(_about(name, self.loaded[name])) if name in self.loaded else _said(404, "not loaded")

    async def unload(self, request: Request) -> Response:
        known = self.loaded.pop(request.path_params["name"], None)
        return _said(404, "not loaded") if known is None else _said(200, "unloaded")


def create_multi_model_app(most: int, max_body: int = MAX_BODY) -> ASGIApp:
    """The server, with nothing loaded yet."""
    models = _Models(most, max_body)
    others = Starlette(
        routes=[
            Route("/ping", models.ping, methods=["GET"]),
            Route("/models", models.load, methods=["POST"]),
            Route("/models", models.listed, methods=["GET"]),
            Route("/models/{name}", models.described, methods=["GET"]),
            Route("/models/{name}", models.unload, methods=["DELETE"]),
        ]
    )

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        parts = scope.get("path", "").split("/")
        if scope["type"] == "http" and len(parts) == 4 and (parts[1], parts[3]) == ("models", "invoke"):
            known = models.loaded.get(parts[2])
            inner = {**scope, "path": "/invocations", "raw_path": b"/invocations"}
            await (known.app(inner, receive, send) if known else _said(404, "not loaded")(scope, receive, send))
        else:
            await others(scope, receive, send)

    return served


def _version(folder: Path) -> int:
    file = folder / VERSION_FILE
    return int(file.read_text()) if file.exists() else 0


def _about(name: str, one: _Loaded) -> dict[str, str]:
    return {"modelName": name, "modelUrl": one.url}


def _said(status: int, text: str) -> Response:
    return JSONResponse({"message": text}, status)
