"""Copies of the shipped declaration under other names in one code location: loading, a tick of every sensor, the graph.

python -m benchmarks.many_models [ui]

With `ui` Dagster's webserver is started on the 500 and asked for its graph; that takes minutes more.
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
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mdlc_assets.declaration.files import lifecycle_files
from mdlc_assets.home import Home

SIZES = (50, 500)
# As the graph's page asks (LocationWorkspaceAssetsQuery in Dagster 1.13), with the fields that it draws and selects by.
_GRAPH = """query ($name: String!) { workspaceLocationEntryOrError(name: $name) { __typename
  ... on WorkspaceLocationEntry { id versionKey locationOrLoadError { __typename ... on RepositoryLocation { id name
  repositories { id name assetGroups { id groupName } assetNodes { id groupName isMaterializable isObservable
  isPartitioned isExecutable hasAssetChecks computeKind kinds opNames jobNames graphName description changedReasons
  assetKey { path } dependencyKeys { path } tags { key value }
  owners { __typename ... on UserAssetOwner { email } ... on TeamAssetOwner { team } } } } } } } } }"""
_STATUS = """{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { name loadStatus } } } }"""


def write_copies(folder: Path, count: int) -> None:
    """The fraud model's declaration `count` times; nothing else belongs to the copies."""
    shipped = next(path for path in lifecycle_files() if path.parent.name == "payments_fraud")
    declared = yaml.safe_load(shipped.read_text())
    for number in range(count):
        name = f"fraud_{number:03d}"
        declared["attributes"]["name"] = name
        (folder / name).mkdir(parents=True)
        (folder / name / "defs.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))


def measure_one() -> None:
    """In a process of its own: load what MDLC_LIFECYCLES names, tick every sensor as a code server does."""
    began = time.perf_counter()
    import dagster as dg

    import mdlc_assets.definitions as platform

    repository = platform.defs().get_repository_def()
    loaded = time.perf_counter() - began
    from dagster._grpc.impl import get_external_sensor_execution

    Home().prepare()
    with dg.DagsterInstance.get() as instance:
        reference = instance.get_ref()
        ticks = []
        for _ in range(6):
            began = time.perf_counter()
            for sensor in repository.sensor_defs:
                given = (reference, sensor.name, None, None, None, None, None)
                answer: Any = get_external_sensor_execution(repository, None, *given)
                if answer.run_requests or not answer.skip_message:
                    raise RuntimeError(f"{sensor.name}: found work where nothing has landed: {answer}")
            ticks.append(time.perf_counter() - began)
    found = {"loaded": loaded, "sensors": len(repository.sensor_defs), "first": ticks[0]}
    print(json.dumps({**found, "tick": statistics.median(ticks[1:])}))


def environment_for(root: Path, count: int) -> dict[str, str]:
    """Declarations and a home of their own below `root`."""
    folder, home = root / f"lifecycles_{count}", Home(root / f"home_{count}")
    if not folder.exists():
        write_copies(folder, count)
    home.prepare()
    return {
        **os.environ,
        "MDLC_LIFECYCLES": str(folder),
        "MDLC_HOME": str(home.root),
        "DAGSTER_HOME": str(home.dagster),
    }


def load_and_tick(root: Path) -> None:
    """Prints lines for each size. The first start looks deeper into declarations, and remembers that."""
    for count in SIZES:
        environment = environment_for(root, count)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.many_models", "one"]
        began = time.perf_counter()
        load = "import mdlc_assets.definitions as platform; platform.defs().get_repository_def()"
        subprocess.run([*command[:3], "-c", load], env=environment, check=True)
        print(f"| {count} copies: the very first start | {time.perf_counter() - began:.1f} s |", flush=True)
        told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(told.splitlines()[-1])
        print(f"| {count} copies: import, definitions, repository | {found['loaded']:.1f} s |")
        print(f"| {count} copies: a tick of all {found['sensors']:,} sensors | {found['tick']:.2f} s |")
        print(f"| {count} copies: the first tick, which imports MLflow and makes its tables | {found['first']:.1f} s |")


@contextlib.contextmanager
def webserver(environment: dict[str, str]) -> Iterator[str]:
    """Dagster's webserver and its code server, once the code location is loaded; gives the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "dagster_webserver", "-m", "mdlc_assets.definitions"]
    command += ["-h", "127.0.0.1", "-p", str(port), "--code-server-log-level", "error"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _loaded(f"http://127.0.0.1:{port}/graphql"):
            if process.poll() is not None:
                raise RuntimeError(f"the webserver ended with code {process.returncode}")
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/graphql"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _loaded(address: str) -> bool:
    try:
        entries = json.loads(ask(address, _STATUS))["data"]["locationStatusesOrError"]["entries"]
    except (urllib.error.URLError, ConnectionError):
        return False
    return all(entry["loadStatus"] == "LOADED" for entry in entries)


def ask(address: str, query: str, **variables: str) -> bytes:
    """The bytes that the webserver answers a GraphQL query with."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return bytes(answer.read())


def graph(root: Path) -> None:
    """Prints how long the graph's query takes on the 500: the first time, and the median of the five after it."""
    count = SIZES[-1]
    began = time.perf_counter()
    with webserver(environment_for(root, count)) as address:
        started = time.perf_counter() - began
        name = json.loads(ask(address, _STATUS))["data"]["locationStatusesOrError"]["entries"][0]["name"]
        times, answer = [], b""
        for _ in range(6):
            began = time.perf_counter()
            answer = ask(address, _GRAPH, name=name)
            times.append(time.perf_counter() - began)
    location = json.loads(answer)["data"]["workspaceLocationEntryOrError"]["locationOrLoadError"]
    assets = sum(len(repository["assetNodes"]) for repository in location["repositories"])
    print(f"| {count} copies: webserver and code server until loaded | {started:.0f} s |")
    taken = f"{statistics.median(times[1:]):.1f} s, the first time {times[0]:.1f} s"
    print(f"| {count} copies: the graph's query, {assets:,} assets, {len(answer) / 1e6:.1f} MB | {taken} |")


def main(*, ui: bool = False) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("| measure | time |\n|---|---|")
        (graph if ui else load_and_tick)(Path(folder))


if __name__ == "__main__":
    if sys.argv[1:] == ["one"]:
        measure_one()
    else:
        main(ui=sys.argv[1:] == ["ui"])
