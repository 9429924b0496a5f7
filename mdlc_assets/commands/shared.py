"""What several commands need: the lifecycle by its name, the loop and registry of the home, a port that is free."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mdlc_assets.declaration import LifecycleDeclaration
    from mdlc_assets.demo.loop import Loop
    from mdlc_assets.lifecycle import ModelLifecycle

_Command = TypeVar("_Command", bound=Callable[..., Any])


def of_a_lifecycle(command: _Command) -> _Command:
    """Give a command the option --lifecycle, whose default is the one that can only be meant."""
    return click.option(
        "--lifecycle",
        callback=lambda _ctx, _option, name: name or _the_usual(),
        help="Which one [default: your own where there is one, the demo's where there is none].",
    )(command)


def _the_usual() -> str:
    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.declaration.files import lifecycle_files
    from mdlc_assets.demo import LIFECYCLE
    from mdlc_assets.lifecycle import load_lifecycle

    shipped = Path(__file__).parents[1] / "lifecycles"
    own = [path for path in lifecycle_files() if not path.resolve().is_relative_to(shipped)]
    if len(own) > 1:
        names = ", ".join(path.parent.name for path in own[:10])
        raise click.UsageError(f"--lifecycle: {len(own)} could be meant: {names}. Mend: name one.")
    try:
        return load_lifecycle(own[0]).declaration.name if own else LIFECYCLE
    except DeclarationError as error:
        raise click.ClickException(str(error)) from None


def registry_here() -> Any:
    """The registry below the home."""
    from mdlc_assets.definitions import embedded_resources
    from mdlc_assets.home import Home

    return embedded_resources(Home())["registry"]


def loop_here(name: str) -> Loop:
    """The jobs of a lifecycle on the state below the home."""
    from mdlc_assets.demo.loop import open_loop
    from mdlc_assets.home import Home

    return open_loop(find_lifecycle(name), Home())


def find_lifecycle(name: str) -> ModelLifecycle:
    """The lifecycle of this name. Raises click's error with those there are, or what is wrong with its file."""
    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.declaration.errors import use_one_of
    from mdlc_assets.declaration.files import lifecycle_files, said_twice
    from mdlc_assets.lifecycle import load_lifecycle

    known: dict[str, tuple[Path, ModelLifecycle]] = {}
    folders = os.environ.get("MDLC_LIFECYCLES", "")
    absent = [part for part in folders.split(os.pathsep) if part and not Path(part).is_dir()]
    if absent:
        raise click.ClickException(f"MDLC_LIFECYCLES {absent[0]}: there is no such folder. Mend: correct the path.")
    for path in lifecycle_files():
        try:
            found = load_lifecycle(path)
        except DeclarationError as error:
            if path.parent.name == name:
                raise click.ClickException(str(error)) from None
            click.echo(f"{path} is left out, since it is wrong: `mdlc validate {path}`", err=True)
            continue
        if name == found.declaration.name and name in known:
            raise click.ClickException(said_twice(name, [known[name][0], path]))
        known[found.declaration.name] = (path, found)
    if name not in known:
        raise click.BadParameter(
            f"there is no lifecycle {name!r}; there are {', '.join(sorted(known))}. Mend: "
            f"{use_one_of(name, sorted(known))}, or set MDLC_LIFECYCLES to the folder that holds its folder."
        )
    return known[name][1]


def said_along(into: Path) -> tuple[str, str]:
    """What goes before and into the commands that are proposed: where declarations lie, and who approves.

    Who approves is on record: where the system does not say, a person has to.
    """
    where = "" if into == Path("lifecycles") else f"MDLC_LIFECYCLES={into} "
    return where, "" if os.environ.get("USER") else " --approver me@example.com"


def refuse_used_data(declaration: LifecycleDeclaration, instead: str) -> None:
    """Raises click's error where the data are another lifecycle's; `instead` is the command, with `{uses}` in it."""
    if uses := declaration.uses:
        raise click.ClickException(
            f"{declaration.name} uses the data of {uses}, which are kept there. Mend: `mdlc "
            f"{instead.format(uses=uses)}`."
        )


def refuse_taken_port(host: str, port: int) -> None:
    """Raises click's error when something listens there already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "ports go from 1 to 65535"
            other = port + 1 if port < 65_535 else 0
            raise click.ClickException(
                f"--port {port}: nothing can listen on {host}:{port} ({reason}). Mend: choose another, such as "
                f"--port {other}, or stop what listens there."
            ) from None
