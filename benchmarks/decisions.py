"""The whole decision over HTTP beside `mlflow models serve` and a bare Starlette app that only predicts.

    python -m benchmarks.decisions [requests] [reasons]

All three score the same booster of 200 trees, one worker process each, in turn, three rounds; printed are the medians.
Ours is given an event: it collects the features of two entities with some sixty events each from the embedded store,
scores, decides by the shipped rules, writes capture and log. The other two are handed the vector ready-made.
Throughput: eight connections at once. Latency: requests begin at fixed times, at half of the server's own throughput
in that round, and are timed from when they should have begun. The last column is p99 at half of MLflow's throughput,
the same load for all three. With `reasons` ours gives reasons for every decision, and not only for the doubtful ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import xgboost

from benchmarks import serving
from mdlc_assets.declaration import read_declaration
from mdlc_assets.features.online import OnlineFeatures
from mdlc_assets.home import Home
from mdlc_assets.resources.online_store import OnlineStore
from mdlc_assets.resources.registry import Candidate, Registry, files_digest
from mdlc_assets.training.algorithms import FittedModel

ROUNDS = 3
CONNECTIONS = 8
ENTITIES = 200
EVENTS_EACH = 60
NOW = datetime(2018, 7, 15, 12, tzinfo=UTC)
DECLARATION = Path(__file__).parents[1] / "mdlc_assets" / "lifecycles" / "payments_fraud" / "defs.yaml"


def train() -> xgboost.Booster:
    """A booster of the same size that finds few events doubtful, as in life: reasons are computed for those alone."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(20_000, len(serving.FEATURES)))
    labels = rows[:, 0] * rows[:, 1] + generator.normal(size=len(rows)) > 4
    settings = {"objective": "binary:logistic", "max_depth": 5, "eta": 0.05}
    return xgboost.train(settings, xgboost.DMatrix(rows, labels, feature_names=serving.FEATURES), 200)


def explained(folder: Path) -> Path:
    """The shipped declaration under another name, with reasons for every decision."""
    text = DECLARATION.read_text().replace("  name: payments_fraud\n", "  name: payments_explained\n", 1)
    found = folder / "lifecycles" / "payments_explained" / "defs.yaml"
    found.parent.mkdir(parents=True)
    found.write_text(text.replace("  deployment:\n", "  deployment:\n    service: {reasons: always}\n", 1))
    return found


def fill(home: Home, declaration: Path) -> str:
    """A store of entities with `EVENTS_EACH` events in the month before, and an approved model; gives its name."""
    lifecycle = read_declaration(declaration)
    count, generator = ENTITIES * EVENTS_EACH, np.random.default_rng(1)
    first = np.datetime64((NOW - timedelta(days=38)).replace(tzinfo=None), "us")
    instants = first + np.sort(generator.integers(0, 38 * 86_400, count)).astype("timedelta64[s]")
    events = pl.DataFrame(
        {
            "transaction_id": np.arange(count),
            "event_time": instants,
            "customer_id": generator.permutation(count) % ENTITIES,
            "terminal_id": generator.permutation(count) % ENTITIES,
            "amount": np.round(generator.exponential(50, count), 2),
        }
    ).with_columns(
        pl.col("event_time").dt.replace_time_zone("UTC"),
        pl.lit(None, pl.Int64).alias("account_age_days"),
    )
    online = OnlineFeatures(lifecycle, OnlineStore(path=str(home.root / "online" / "store.db")).store)
    online.learn(events)
    labels = events.select("transaction_id", pl.lit(0, pl.Int8).alias("is_fraud"))
    online.learn_labels(labels)
    booster = train()
    booster.feature_names = None
    model = FittedModel("xgboost", lifecycle.features.names(), booster)
    files = {f"model/{name}": content for name, content in model.files().items()}
    registry = Registry(tracking_uri=home.mlflow_uri, artifact_root=str(home.mlflow_artifacts))
    tags = {"mdlc.files": files_digest(files)}
    version = registry.register(
        lifecycle.name, Candidate("2018-07-01", model.digest(), files, model.features, {}, tags)
    )
    registry.record(lifecycle.name, "approve", version, "benchmark", "to measure it")
    registry.point(lifecycle.name, "champion", version)
    return lifecycle.name


@contextlib.contextmanager
def process(command: list[str], folder: Path, name: str) -> Iterator[int]:
    """The port of a server that says where it listens on its first line."""
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "MDLC_TOKEN": ""})
    assert started.stdout is not None
    try:
        said = started.stdout.readline().decode()
        assert "http://127.0.0.1:" in said, (folder / f"{name}.log").read_text()[-2000:]
        yield int(said.rpartition("127.0.0.1:")[2].partition("/")[0])
    finally:
        started.kill()
        started.wait(30)


def bare(folder: Path) -> None:
    """Serve a Starlette app that only predicts, in this process."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    booster = xgboost.Booster(model_file=str(folder / "bare.ubj"))
    booster.set_param({"nthread": 1})

    async def predict(request: Request) -> JSONResponse:
        rows = np.array((await request.json())["rows"])
        return JSONResponse({"scores": booster.inplace_predict(rows, validate_features=False).tolist()})

    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
    config = uvicorn.Config(
        Starlette(routes=[Route("/decisions", predict, methods=["POST"])]), access_log=False, log_level="warning"
    )
    uvicorn.Server(config).run(sockets=[listening])


def post(path: str, body: bytes) -> bytes:
    """One HTTP request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def events() -> list[bytes]:
    """Requests for our service: events of known entities, one after the other."""
    found = []
    for i in range(2_000):
        at = (NOW + timedelta(seconds=i)).isoformat()
        event = {"transaction_id": 10**6 + i, "event_time": at, "customer_id": i * 7 % ENTITIES}
        found.append(
            post("/decisions", json.dumps({**event, "terminal_id": i * 3 % ENTITIES, "amount": 2.5 + i % 40}).encode())
        )
    return found


def connect(port: int) -> socket.socket:
    """A connection that sends at once."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def capacity(port: int, requests: Sequence[bytes], times: int) -> float:
    """Requests/s at eight connections."""

    def call(first: int) -> None:
        with connect(port) as connection:
            for i in range(times // CONNECTIONS):
                serving.exchange(connection, requests[(first + i * CONNECTIONS) % len(requests)])

    threads = [threading.Thread(target=call, args=(first,)) for first in range(CONNECTIONS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times // CONNECTIONS * CONNECTIONS / (time.perf_counter() - began)


def latency(port: int, requests: Sequence[bytes], rate: float, times: int) -> tuple[float, float]:
    """p50 and p99 in ms of requests that begin at fixed times, `rate` a second, on eight connections in turn."""
    seconds: list[float] = []
    start = time.perf_counter() + 0.05

    def call(first: int) -> None:
        with connect(port) as connection:
            for i in range(first, times, CONNECTIONS):
                due = start + i / rate
                if (wait := due - time.perf_counter()) > 0:
                    time.sleep(wait)
                serving.exchange(connection, requests[i % len(requests)])
                seconds.append(time.perf_counter() - due)

    threads = [threading.Thread(target=call, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1e3 * float(np.quantile(seconds, 0.5)), 1e3 * float(np.quantile(seconds, 0.99))


def main(times: int, *, reasons: bool) -> None:
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder, home = Path(text), Home(Path(text) / "home")
        name = fill(home, explained(folder) if reasons else DECLARATION)
        os.environ["MDLC_LIFECYCLES"] = str(folder / "lifecycles") if reasons else ""
        booster = train()
        booster.save_model(folder / "bare.ubj")
        mdlc = [str(Path(sys.executable).parent / "mdlc"), "--home", str(home.root), "serve", name]
        single = json.dumps({"rows": [[round(0.1 * i, 2) for i in range(len(serving.FEATURES))]]}).encode()
        servers = {
            "mlflow models serve": (
                stack.enter_context(serving.mlflows(train(), folder)),
                [serving.requests_of("dataframe_records")],
                max(80, times // 8),
            ),
            "bare Starlette": (
                stack.enter_context(
                    process([sys.executable, "-m", "benchmarks.decisions", "bare", text], folder, "bare")
                ),
                [post("/decisions", single)],
                times,
            ),
            "mdlc serve": (stack.enter_context(process(mdlc, folder, "ours")), events(), times),
        }
        rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
        alike: dict[str, list[float]] = {name: [] for name in servers}
        for port, requests, _ in servers.values():
            capacity(port, requests, 80)
        for _ in range(ROUNDS):
            for name, (port, requests, count) in servers.items():
                rate = capacity(port, requests, count)
                rounds[name].append((rate, *latency(port, requests, rate / 2, count)))
                slowest = rounds["mlflow models serve"][-1][0]
                alike[name].append(latency(port, requests, slowest / 2, max(80, times // 4))[1])
        port = servers["mdlc serve"][0]
        counted = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert "mdlc_degraded_total{" not in counted, "some decisions did without store or model"
        with connect(port) as connection:
            given = json.loads(serving.exchange(connection, servers["mdlc serve"][1][0]))["reasons"]
        assert bool(given) == reasons
        shares = [line for line in counted.splitlines() if line.startswith("mdlc_decisions_total")]
    print("| server, one worker | requests/s | p50 ms | p99 ms | p99 ms at MLflow's load |\n|---|---|---|---|---|")
    for name, found in rounds.items():
        rate, p50, p99 = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"| {name} | {rate:.0f} | {p50:.2f} | {p99:.2f} | {statistics.median(alike[name]):.2f} |")
    print("\n".join(shares))
    for other in ("mlflow models serve", "bare Starlette"):
        ratios = [own[0] / theirs[0] for own, theirs in zip(rounds["mdlc serve"], rounds[other], strict=True)]
        print(f"throughput against {other}: {statistics.median(ratios):.2f}x")


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare(Path(sys.argv[2]))
    else:
        numbers = [int(word) for word in sys.argv[1:] if word != "reasons"]
        main(*numbers or [2000], reasons="reasons" in sys.argv)
