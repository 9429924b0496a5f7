"""`mdlc dev`: the Dagster UI on the local state; takes in what changes, and ends with all its processes."""

from __future__ import annotations

import json
import os
import signal
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
def dev(port: int, reload: bool) -> None:
    """Open the Dagster UI, with sensors and schedules, on the local state.

    Changed declarations and code are taken in at once, without a restart; what is wrong with them is said here and in
    the UI. Ctrl-C, or a SIGTERM, ends it with all its processes; runs that are under way end too.

    Dagster's UI has no login of its own, so it listens on loopback only. From another machine: ssh -L
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
    click.echo(f"Dagster on http://{_HOST}:{port} (state in {home.root}); reports on {pages}; stop both with Ctrl-C")
    over = threading.Event()
    with _ended_by_signals(command, environment) as process:
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


@contextmanager
def _ended_by_signals(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster in a group of its own, which ends when we are told to, and wholly.

    Where INT was ignored when Python started, as in the background of a shell script, Dagster ignores TERM too: it
    gives both one handler. So these signals have a handler before Dagster starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    process = subprocess.Popen(command, env=environment, start_new_session=True)

    try:
        yield process
    finally:
        try:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=_ENDS_WITHIN_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            click.echo("Dagster does not end by itself, and is killed.", err=True)
        finally:
            # Also what outlives its parent: a code server that is still loading, a run that does not hear.
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
    from mdlc_assets.definitions import lifecycle_files

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
