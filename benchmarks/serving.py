"""Single rows over HTTP: our endpoint beside `mlflow models serve`, the same booster, one worker each.

    python -m benchmarks.serving [requests]

Both answer in turn, three rounds each; printed are the medians of the rounds. Latency: one connection, one
request after another. Throughput: eight connections at once. The caller is raw sockets, to cost little.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import xgboost

from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.training.algorithms import FittedModel

ROUNDS = 3
CONNECTIONS = 8
FEATURES = [f"feature_{i:02}" for i in range(15)]


def train() -> xgboost.Booster:
    """A booster of the size of the shipped lifecycle's: 200 trees of depth 5 on fifteen features."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(20_000, len(FEATURES)))
    labels = rows[:, 0] * rows[:, 1] + generator.normal(size=len(rows)) > 1
    settings = {"objective": "binary:logistic", "max_depth": 5, "eta": 0.05}
    return xgboost.train(settings, xgboost.DMatrix(rows, labels, feature_names=FEATURES), 200)


@contextlib.contextmanager
def ours(booster: xgboost.Booster, folder: Path) -> Iterator[int]:
    """The port of our endpoint."""
    booster.feature_names = None  # FittedModel keeps the names itself
    model = folder / "model"
    model.mkdir()
    for name, content in FittedModel("xgboost", FEATURES, booster).files().items():
        (model / name).write_bytes(content)
    endpoints = Endpoints(root=str(folder / "endpoints"))
    try:
        yield int(endpoints.deploy("benchmark", model, 1).url.rpartition(":")[2])
    finally:
        endpoints.stop("benchmark")


@contextlib.contextmanager
def mlflows(booster: xgboost.Booster, folder: Path) -> Iterator[int]:
    """The port of `mlflow models serve`."""
    import mlflow.xgboost

    mlflow.xgboost.save_model(booster, str(folder / "mlflow_model"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    programs = Path(sys.executable).parent
    command = [str(programs / "mlflow"), "models", "serve", "-m", str(folder / "mlflow_model"), "-h", "127.0.0.1"]
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-p", str(port), "--env-manager", "local", "--workers", "1"],
            stdout=log,
            stderr=log,
            start_new_session=True,
            # It starts `uvicorn` by name.
            env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        )
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "mlflow.log").read_text()[-500:]
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200:
                    break
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def requests_of(key: str) -> bytes:
    """One HTTP request for one row."""
    row = {name: round(0.1 * i, 2) for i, name in enumerate(FEATURES)}
    body = json.dumps({key: [row]}).encode()
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send a request; gives the body of its answer."""
    connection.sendall(request)
    answer = connection.recv(65536)
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-len"))
    while len(body) < length:
        body += connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 200"), answer[:300]
    return body


def call(port: int, request: bytes, times: int) -> list[float]:
    """Seconds of each of `times` requests on one connection."""
    seconds = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(times):
            began = time.perf_counter()
            exchange(connection, request)
            seconds.append(time.perf_counter() - began)
    return seconds


def measure(port: int, request: bytes, times: int) -> tuple[float, float, float]:
    """(requests/s at eight connections, p50 and p99 in ms at one)."""
    call(port, request, 50)
    alone = call(port, request, times)
    threads = [threading.Thread(target=call, args=(port, request, times // 4)) for _ in range(CONNECTIONS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = CONNECTIONS * (times // 4) / (time.perf_counter() - began)
    return rate, 1e3 * float(np.quantile(alone, 0.5)), 1e3 * float(np.quantile(alone, 0.99))


def main(times: int) -> None:
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        theirs = stack.enter_context(mlflows(train(), folder))
        own = stack.enter_context(ours(train(), folder))
        rounds: dict[str, list[tuple[float, float, float]]] = {"mlflow models serve": [], "mdlc endpoint": []}
        for _ in range(ROUNDS):
            rounds["mlflow models serve"].append(measure(theirs, requests_of("dataframe_records"), times // 4))
            rounds["mdlc endpoint"].append(measure(own, requests_of("instances"), times))
    print("| server, one worker | requests/s | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, found in rounds.items():
        rate, p50, p99 = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"| {name} | {rate:.0f} | {p50:.2f} | {p99:.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
