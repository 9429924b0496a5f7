"""AWS as the tests have it: moto's server, and the environment in which boto3 finds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx

from mdlc_assets_tests.deploy.database import free_port


def moto_environment(address: str, region: str = "us-east-1") -> dict[str, str]:
    """What leads boto3 to the server at `address`."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": region,
    }


@contextmanager
def moto_process() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server in a process of its own, which can be stopped as a whole, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(process, address)
        yield process, address
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.terminate()
        process.wait(30)


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + 120
    while True:
        assert server.poll() is None
        assert time.monotonic() < end
        with suppress(httpx.HTTPError):
            httpx.get(f"{address}/moto-api/data.json", trust_env=False)
            return
        time.sleep(0.1)
