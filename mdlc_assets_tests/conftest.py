"""What the tests of every room share."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import boto3
import httpx
import polars as pl
import pytest

import mdlc_assets
from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.home import Home
from mdlc_assets_tests.moto_server import moto_environment

SHIPPED = Path(mdlc_assets.__file__).parent / "lifecycles"
PAYMENTS = Path(__file__).parents[2] / "shared" / "payments"
"""The real files of the Fraud Detection Handbook, which are not part of the repository."""


@pytest.fixture(scope="session")
def payments_fraud() -> LifecycleDeclaration:
    """The shipped declaration."""
    return read_declaration(SHIPPED / "payments_fraud" / "defs.yaml")


@pytest.fixture(scope="session")
def _moto_of_all() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def _moto_address(_moto_of_all: str) -> str:
    """Moto's server with an empty account: which files a worker ran before must change nothing."""
    httpx.post(f"{_moto_of_all}/moto-api/reset", trust_env=False).raise_for_status()
    return _moto_of_all


@pytest.fixture
def dynamodb(_moto_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of moto's server, with the credentials that boto3 wants."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return _moto_address


@pytest.fixture
def s3_root(_moto_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket on moto's server, reached over HTTP by the real boto3 client."""
    for name, value in moto_environment(_moto_address).items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket("mdlc-test")
    bucket.create()
    yield "s3://mdlc-test/some/prefix"
    bucket.objects.all().delete()
    bucket.delete()


def handbook_day(day: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A day of real payments under our names, and its labels."""
    frame = pl.read_parquet(PAYMENTS / f"{day}.parquet")
    time = pl.col("TX_DATETIME").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    events = frame.select(
        pl.col("TRANSACTION_ID").alias("transaction_id"),
        time.alias("event_time"),
        pl.col("CUSTOMER_ID").alias("customer_id"),
        pl.col("TERMINAL_ID").alias("terminal_id"),
        pl.col("TX_AMOUNT").alias("amount"),
    )
    labels = frame.select(
        pl.col("TRANSACTION_ID").alias("transaction_id"),
        pl.col("TX_FRAUD").cast(pl.Int8).alias("is_fraud"),
        (time + timedelta(days=7)).alias("known_at"),
    )
    return events, labels


@dataclass(frozen=True)
class DemoRun:
    """What a demo printed, its exit code, and the state it left."""

    output: str
    code: int
    home: Home


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """`mdlc demo`, run once for all the tests that look at what it leaves, in whichever worker they are."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    home, said = Home(root / "demo"), root / "demo.json"
    with (root / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            ran = subprocess.run(
                [str(Path(sys.executable).parent / "mdlc"), "demo"],
                env={**os.environ, "MDLC_HOME": str(home.root), "COLUMNS": "400"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
                check=False,
            )
            said.write_text(json.dumps([ran.stdout, ran.returncode]))
    output, code = json.loads(said.read_text())
    return DemoRun(output, code, home)
