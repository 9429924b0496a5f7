"""`mdlc dev`: the Dagster UI on the local state; takes in what changes, and ends with all its processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

_ENDS_WITHIN_S = 20
_RELOAD = """mutation { reloadWorkspace { __typename ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message cause { message } } } } }
  ... on PythonError { message } } }"""

_HOST = "127.0.0.1"


@click.command()
@click.option("--port", default=3000, show_default=True)
@click.option("--reload/--no-reload", default=True, show_default=True, help="Take in what changes.")
@click.option("--mlflow/--no-mlflow", default=True, show_default=True, help="MLflow's UI on the registry, too.")
def dev(port: int, reload: bool, mlflow: bool) -> None:
    """Open the Dagster UI, with sensors and schedules, on the local state; MLflow's beside it.

    Changed declarations and code are taken in at once, without a restart; what is wrong with them is said here and in
    the UI. Ctrl-C, or a SIGTERM, ends it with all its processes; runs that are under way end too.

    Neither has a login of its own, so they listen on loopback only. From another machine: ssh -L
    3000:127.0.0.1:3000, or an installation out of deploy/, which has one.

    \b
    mdlc dev
    mdlc dev --port 3001 --no-reload
    """
    from mdlc_assets.commands.shared import refuse_taken_port
    from mdlc_assets.home import Home

    refuse_taken_port(_HOST, port)
    home = Home()
    home.prepare()
    if not (home.dagster / "history").exists():
        from mdlc_assets.demo.loop import open_instance

        # Dagster's processes would all make the tables of a fresh home.
        open_instance(home).dispose()
    environment = {**os.environ, "DAGSTER_HOME": str(home.dagster), "MDLC_HOME": str(home.root)}
    pages = _serve_pages(home.reports, port + 1)
    environment |= {"MDLC_DAGSTER_URL": f"http://{_HOST}:{port}", "MDLC_REPORTS_URL": pages}
    # Dagster would rather be called as `dg dev`, and warns; that wants a project of its own.
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "dagster",
        "dev",
        "-w",
        str(_workspace(home.dagster)),
        "-h",
        _HOST,
        "-p",
        str(port),
    ]
    commands = [command]
    said = f"Dagster on http://{_HOST}:{port} (state in {home.root}); reports on {pages}"
    if mlflow:
        other = _free_port(port + 2)
        environment |= {"MDLC_MLFLOW_URL": f"http://{_HOST}:{other}"}
        _make_tables(home.mlflow_uri)
        commands.append(_mlflow_server(home.mlflow_uri, other))
        said += f"; MLflow on http://{_HOST}:{other}"
    click.echo(f"{said}; stop all with Ctrl-C")
    over = threading.Event()
    with _ended_by_signals(commands, environment) as process:
        if reload:
            threading.Thread(target=_reload_on_change, args=(f"http://{_HOST}:{port}", over), daemon=True).start()
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = 0
    over.set()
    sys.exit(1 if code else 0)


def _workspace(folder: Path) -> Path:
    """The workspace that stands here, or else one under the same name, so that addresses are the same everywhere."""
    here = Path("workspace.yaml")
    if here.exists():
        return here
    made = folder / "workspace.yaml"
    target = {"module_name": "mdlc_assets.definitions", "location_name": "mdlc_assets"}
    made.write_text(json.dumps({"load_from": [{"python_module": target}]}), encoding="utf-8")
    return made


def _serve_pages(folder: Path, port: int) -> str:
    """Serve the reports, which a browser does not open as files from a page that came over HTTP. Gives the address."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """A line for each page would hide what Dagster says."""

    folder.mkdir(parents=True, exist_ok=True)
    serve = partial(Quiet, directory=str(folder))
    try:
        server = ThreadingHTTPServer((_HOST, port), serve)
    except OSError:
        # Taken: any other does, since links are made with the address.
        server = ThreadingHTTPServer((_HOST, 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{_HOST}:{server.server_port}"


def _free_port(wanted: int) -> int:
    """The wanted port, or any other where it is taken: links are made with it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise click.ClickException("no port is free. Mend: --no-mlflow, or stop what listens on this machine.")


def _make_tables(address: str) -> None:
    """MLflow's server and a first run that both made its tables would be in each other's way."""
    from mdlc_assets.home import alone

    file = Path(address.removeprefix("sqlite:///"))
    with alone(file):
        if not file.exists():
            click.echo("MLflow's tables are made, once.")
            command = [sys.executable, "-W", "ignore", "-m", "mlflow", "db", "upgrade", address]
            subprocess.run(command, capture_output=True)


def _mlflow_server(address: str, port: int) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--backend-store-uri", address]
    return [*command, "--host", _HOST, "--port", str(port), "--workers", "1"]


@contextmanager
def _ended_by_signals(
    commands: Sequence[Sequence[str]], environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster, and what comes after it, each in a group of its own, which ends when we are told to, and wholly.

    Where INT was ignored when Python started, as in the background of a shell script, Dagster ignores TERM too: it
    gives both one handler. So these signals have a handler before Dagster starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            # What is beside Dagster says little that is worth a line among its own.
            out = {} if not processes else {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            processes.append(subprocess.Popen(command, env=environment, start_new_session=True, **out))  # type: ignore[call-overload]
        yield processes[0]
    finally:
        try:
            processes[0].send_signal(signal.SIGINT)
            processes[0].wait(timeout=_ENDS_WITHIN_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            click.echo("Dagster does not end by itself, and is killed.", err=True)
        finally:
            # Also what outlives its parent: a code server that is still loading, a run that does not hear.
            for process in processes:
                _kill_group(process.pid)
                process.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reload_on_change(address: str, over: threading.Event) -> None:
    """Have Dagster load its definitions again when a declaration or a module changes."""
    from watchfiles import PythonFilter, watch

    for changes in watch(*watched(), watch_filter=PythonFilter(extra_extensions=[".yaml", ".yml"]), stop_event=over):
        names = sorted({Path(name).name for _, name in changes})
        click.echo(f"{', '.join(names[:3])} changed: {_reload(address)}")


def watched() -> list[Path]:
    """The folders of the declarations and of this package's code, where it is a checkout."""
    from mdlc_assets.declaration.files import lifecycle_files

    package = Path(__file__).parents[1]
    named = [Path(part) for part in os.environ.get("MDLC_LIFECYCLES", "lifecycles").split(os.pathsep) if part]
    folders = {*(folder for folder in named if folder.is_dir()), *(path.parents[1] for path in lifecycle_files())}
    if (package.parent / "pyproject.toml").exists():
        folders.add(package)
    return sorted({folder.resolve() for folder in folders})


def _reload(address: str) -> str:
    """What came of it, in a line or a few."""
    import httpx

    try:
        answer = httpx.post(f"{address}/graphql", json={"query": _RELOAD}, timeout=120).json()
    except (httpx.HTTPError, ValueError) as error:
        return f"not taken in ({type(error).__name__}). Mend: press Reload in the UI (Deployment)."
    done = answer.get("data", {}).get("reloadWorkspace", {})
    found = [entry["locationOrLoadError"] for entry in done.get("locationEntries", ())]
    wrong = [one for one in found if one and one["__typename"] == "PythonError"]
    if wrong:
        first = wrong[0].get("cause") or wrong[0]
        return f"not taken in.\n{first['message'].strip()}"
    return "taken in." if found else f"not taken in: {done.get('message', answer)}"
