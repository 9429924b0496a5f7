"""Over real sockets: clients that never finish, and bodies without end, hold nobody up and cost no memory."""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.realtime.service import create_service
from mdlc_assets_tests.realtime.parts import an_event, approve, new_registry, new_state, register

SLOW = 100
_MEGABYTES = 100


@pytest.fixture(scope="module")
def port(payments_fraud: LifecycleDeclaration, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A service that waits a second for a body."""
    registry = new_registry(tmp_path_factory.mktemp("clients"))
    approve(registry, payments_fraud, register(registry, payments_fraud, 1))
    app = create_service(new_state(payments_fraud, registry), body_seconds=1.0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(30)


def _begin(port: int, framing: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(f"POST /decisions HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())
    return connection


def _status(connection: socket.socket) -> int:
    return int(connection.makefile("rb").readline().split()[1])


def test_slow_clients_are_ended_and_hold_nobody_up(port: int) -> None:
    slow = [_begin(port, "Content-Length: 5000") for _ in range(SLOW)]
    for connection in slow:
        connection.sendall(b'{"transaction_id"')
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for number in range(1, 51):
            assert client.post("/decisions", json=an_event(number)).status_code == 200
    assert {_status(connection) for connection in slow} == {408}
    for connection in slow:
        connection.close()


@pytest.mark.parametrize("chunked", [True, False])
def test_a_hundred_megabytes_are_refused_and_not_kept(port: int, chunked: bool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = b"[" + b" " * 999_999
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(part) * _MEGABYTES}"
    connection = _begin(port, framing)
    sent, answered = 0, False
    while sent < _MEGABYTES and not answered:
        answered = bool(select.select([connection], [], [], 0)[0])
        if not answered:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            sent += 1
    # Whoever goes on sending after the answer may find the line cut before having read it.
    with contextlib.suppress(ConnectionResetError, IndexError):
        assert _status(connection) == 413
    assert sent < _MEGABYTES, "it took everything"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "KiB"
    connection.close()


def test_who_hangs_up_in_the_midst_leaves_nothing(port: int) -> None:
    whole = json.dumps(an_event(7)).encode()
    for size in range(0, len(whole), 5):
        connection = _begin(port, f"Content-Length: {len(whole)}")
        connection.sendall(whole[:size])
        connection.close()
    began = time.monotonic()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        assert client.post("/decisions", content=whole).status_code == 200
        assert 'status="5' not in client.get("/metrics").text
    assert time.monotonic() - began < 30
