"""A real PostgreSQL on loopback for the tests of production's settings."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "p@ss:w/rd%"  # pragma: allowlist secret


def _binaries() -> Path:
    found = [Path(path) for path in [shutil.which("initdb") or ""] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.fail("PostgreSQL is not installed. Mend: apt-get install postgresql (as .ci/run does).")
    return found[-1].resolve().parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[int]:
    """A server on loopback that takes encrypted connections with a password only."""
    # It refuses to run as root, and pytest's folders are for their owner only.
    who = {"user": "postgres"} if os.geteuid() == 0 else {}
    home = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True, **who).stdout.strip())  # type: ignore[call-overload]
    binaries, data = _binaries(), home / "data"

    def run(*command: str, given: str = "") -> None:
        subprocess.run(command, check=True, capture_output=True, text=True, input=given, cwd=home, **who)  # type: ignore[call-overload]

    run("sh", "-c", f"umask 077; cat > {home}/word", given=PASSWORD)
    run(str(binaries / "initdb"), "-D", str(data), "-U", "dagster", "--pwfile", f"{home}/word", "--auth=scram-sha-256")
    subject = ["-subj", "/CN=127.0.0.1", "-days", "2", "-nodes"]
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        *subject,
        "-keyout",
        f"{data}/server.key",
        "-out",
        f"{data}/server.crt",
    )
    run("sh", "-c", f"printf 'hostssl all all 127.0.0.1/32 scram-sha-256\\n' > {data}/pg_hba.conf")
    port = free_port()
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c ssl=on -c fsync=off"
    run(str(binaries / "pg_ctl"), "-D", str(data), "-l", f"{home}/log", "-w", "-o", options, "start")
    yield port
    run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def databases(postgres: int) -> int:
    """The port of a server with the databases of both."""
    import psycopg2

    with contextlib.closing(connection(postgres, "postgres", psycopg2)) as opened:
        opened.autocommit = True
        for name in ("dagster", "mlflow"):
            opened.cursor().execute(f"CREATE DATABASE {name}")
    return postgres


def connection(port: int, database: str, driver, sslmode: str = "require"):  # type: ignore[no-untyped-def]
    return driver.connect(
        host="127.0.0.1", port=port, user="dagster", password=PASSWORD, dbname=database, sslmode=sslmode
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
