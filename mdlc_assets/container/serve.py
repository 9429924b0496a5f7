"""The entry point `serve`: the model server on port 8080, to SageMaker's contract.

    GET  /ping                  200 with an empty body once the model is loaded
    POST /invocations           rows in, scores out
    GET  /execution-parameters  how a batch transform should send its records

With SAGEMAKER_MULTI_MODEL=true many models are loaded and unloaded as they are asked for: see multi_model.py.

The port is 8080, or SAGEMAKER_BIND_TO_PORT. In a batch (SAGEMAKER_BATCH) bodies may be as large as
SAGEMAKER_MAX_PAYLOAD_IN_MB says. With MDLC_CSV_HEADER=absent text/csv comes without a line of names. SIGTERM lets
the requests under way end; SIGKILL would follow 30 s later.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from mdlc_assets.container.layout import Layout

_GRACE_SECONDS = 25
_DEFAULT_BATCH_MB = 6
# SageMaker's own limits for MaxPayloadInMB, and for the product with MaxConcurrentTransforms.
_LARGEST_BATCH_MB = 100
_LOG = logging.getLogger("mdlc.serve")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class SettingError(ValueError):
    """A setting in the environment that cannot be used."""


@dataclass(frozen=True)
class ServeSettings:
    """What the environment asks of the server."""

    port: int
    host: str
    batch: bool
    max_body: int | None
    batch_strategy: str
    concurrent: int
    version: int

    @classmethod
    def of(cls, environment: MutableMapping[str, str] | os._Environ[str]) -> ServeSettings:
        """Read SageMaker's variables and ours. Raises `SettingError` naming the variable."""
        batch = environment.get("SAGEMAKER_BATCH", "").lower() == "true"
        megabytes = _number(environment, "SAGEMAKER_MAX_PAYLOAD_IN_MB", _DEFAULT_BATCH_MB)
        strategy = environment.get("SAGEMAKER_BATCH_STRATEGY", "MULTI_RECORD")
        # Documented in capitals, sent as the API spells it.
        spelled = {"multirecord": "MULTI_RECORD", "singlerecord": "SINGLE_RECORD"}
        if strategy.replace("_", "").lower() not in spelled:
            raise SettingError(f"SAGEMAKER_BATCH_STRATEGY is {strategy!r}. Mend: write MULTI_RECORD or SINGLE_RECORD.")
        return cls(
            port=_number(environment, "SAGEMAKER_BIND_TO_PORT", 8080),
            # A container must be reachable from outside of itself.
            host=environment.get("MDLC_SERVE_HOST", "0.0.0.0"),  # noqa: S104
            batch=batch,
            # 0 means no limit there; a server needs one.
            max_body=(megabytes or _LARGEST_BATCH_MB) * 1024 * 1024 if batch else None,
            batch_strategy=spelled[strategy.replace("_", "").lower()],
            concurrent=_number(environment, "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", 1),
            version=_number(environment, "MDLC_MODEL_VERSION", 0),
        )

    def execution_parameters(self) -> dict[str, Any]:
        """The answer to GET /execution-parameters."""
        megabytes = (self.max_body or _DEFAULT_BATCH_MB * 1024 * 1024) // (1024 * 1024)
        return {
            "MaxConcurrentTransforms": self.concurrent,
            "BatchStrategy": self.batch_strategy,
            "MaxPayloadInMB": megabytes,
        }


def with_execution_parameters(app: App, settings: ServeSettings) -> App:
    """The server with one path more."""
    answer = json.dumps(settings.execution_parameters()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/execution-parameters" and scope["method"] == "GET":
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})
        else:
            await app(scope, receive, send)

    return served


def with_bare_csv(app: App) -> App:
    """The server, to which text/csv means lines without names: so SageMaker cuts a file into requests."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            bare = (b"content-type", b"text/csv; header=absent")
            headers = [
                bare if (name, value.strip()) == (b"content-type", b"text/csv") else (name, value)
                for name, value in scope["headers"]
            ]
            scope = {**scope, "headers": headers}
        await app(scope, receive, send)

    return served


def main() -> None:
    """Load the model, serve until SIGTERM. Exits with 1 when the model cannot be loaded."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(name)s %(message)s")
    import uvicorn

    from mdlc_assets.deployment.server import MAX_BODY, create_app
    from mdlc_assets.training.algorithms import ModelFileError

    layout = Layout.of_this_machine()
    try:
        settings = ServeSettings.of(os.environ)
        app: App
        if os.environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true":
            from mdlc_assets.container.multi_model import create_multi_model_app

            app = create_multi_model_app(_number(os.environ, "MDLC_MOST_MODELS", 50))
        else:
            app = create_app(layout.model, settings.version, max_body=settings.max_body or MAX_BODY)
    except (SettingError, ModelFileError, OSError) as error:
        _LOG.error("the server does not start: %s", error)
        sys.exit(1)
    served: App = with_bare_csv(app) if os.environ.get("MDLC_CSV_HEADER") == "absent" else app
    config = uvicorn.Config(
        with_execution_parameters(served, settings),
        host=settings.host,
        port=settings.port,
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _LOG.info("serving %s on port %d", layout.model, settings.port)
    uvicorn.Server(config).run()


def _number(environment: MutableMapping[str, str] | os._Environ[str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise SettingError(f"{name} is {text!r}. Mend: write a whole number.")
    return int(text)


if __name__ == "__main__":
    main()
