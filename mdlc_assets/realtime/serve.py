"""`mdlc serve`: the parts of the decision service put together, and run in this process until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.realtime.capture import Capture
from mdlc_assets.realtime.capture_upload import upload_to
from mdlc_assets.realtime.decider import Decider, FeatureSource
from mdlc_assets.realtime.endpoint_model import endpoint_model
from mdlc_assets.realtime.event_reader import EventReader
from mdlc_assets.realtime.meters import Meters
from mdlc_assets.realtime.recorder import Recorder
from mdlc_assets.realtime.request_log import RequestLog, log_in_json
from mdlc_assets.realtime.service import ServiceState, create_service
from mdlc_assets.realtime.serving import Changeover, served_model
from mdlc_assets.resources.endpoint_state import check_host
from mdlc_assets.resources.outbox import Outbox
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.sagemaker.client import SageMaker

TOKEN_VARIABLE = "MDLC_TOKEN"  # noqa: S105 - the name of the variable, not a token
# A thread that loads a model must not keep a request waiting for the usual 5 ms.
_SWITCH_SECONDS = 0.0005
_KEEP_ALIVE_SECONDS = 120


def service_state(
    lifecycle: LifecycleDeclaration,
    registry: Registry,
    source: FeatureSource,
    capture_folder: Path,
    outbox: Outbox,
    *,
    at_hand: bool,
    read: Callable[[], LifecycleDeclaration] | None = None,
    store_there: Callable[[], bool] = lambda: True,
    sagemaker: SageMaker | None = None,
    captured: str | None = None,
) -> ServiceState:
    """The service's parts; the registry is asked once before this returns. `sagemaker` is where `model: endpoint`
    is asked; `captured` is MDLC_CAPTURED."""
    declared, meters = lifecycle.deployment.service, Meters()
    load = endpoint_model(sagemaker) if declared.model == "endpoint" and sagemaker is not None else served_model
    changeover = Changeover(registry, lifecycle, read, load)
    changeover.look()
    capture = Capture(capture_folder, lifecycle.dataset.time, lifecycle.features.names()) if declared.capture else None
    recorder = Recorder(lifecycle, meters, capture, outbox)
    decider = Decider(lifecycle, source, lambda: changeover.serving, recorder, at_hand=at_hand)
    log = RequestLog(sys.stderr.buffer)
    reader = EventReader(lifecycle)
    upload = upload_to(captured, capture, meters)
    return ServiceState(lifecycle, reader, decider, changeover, meters, log, store_there, recorder, upload)


def service_app(state: ServiceState, token: str | None) -> Starlette:
    """The app with its background tasks."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        endless = [state.changeover.watch(), state.log.flush_now_and_then()]
        if state.recorder is not None:
            endless.append(state.recorder.deliver())
        if state.upload is not None:
            state.upload.start()
        tasks = [asyncio.create_task(one) for one in endless]
        yield
        for task in tasks:
            task.cancel()
        state.log.flush()
        if state.upload is not None:
            await asyncio.to_thread(state.upload.stop)
        state.decider.close()

    return create_service(state, token=token, lifespan=lifespan)


def token_for(host: str) -> str | None:
    """The token of MDLC_TOKEN. Raises `ExposedError` for an address beyond this machine without one."""
    token = os.environ.get(TOKEN_VARIABLE) or None
    check_host(host, token, TOKEN_VARIABLE)
    return token


def run_service(state: ServiceState, host: str, port: int, told: Callable[[str], Any] = print) -> None:
    """Serve until SIGTERM. Raises `ExposedError`."""
    token = token_for(host)
    log_in_json()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # What was imported stays: the collector need not walk through it in the midst of a request.
    gc.collect()
    gc.freeze()
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    told(f"Decisions of {state.lifecycle.name} on http://{host}:{listening.getsockname()[1]}/docs")
    config = uvicorn.Config(
        service_app(state, token),
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )
    uvicorn.Server(config).run(sockets=[listening])
