"""What the tests of every room share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

import mdlc_assets
from mdlc_assets.declaration import LifecycleDeclaration, read_declaration

SHIPPED = Path(mdlc_assets.__file__).parent / "lifecycles"


@pytest.fixture(scope="session")
def payments_fraud() -> LifecycleDeclaration:
    """The shipped declaration."""
    return read_declaration(SHIPPED / "payments_fraud" / "defs.yaml")


@pytest.fixture(scope="session")
def _moto_address() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_root(_moto_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket on moto's server, reached over HTTP by the real boto3 client."""
    for name, value in {
        "AWS_ENDPOINT_URL": _moto_address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket("mdlc-test")
    bucket.create()
    yield "s3://mdlc-test/some/prefix"
    bucket.objects.all().delete()
    bucket.delete()
