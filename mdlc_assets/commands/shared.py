"""What several commands need: the lifecycle by its name, a verdict about a file, a port that is free."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mdlc_assets.lifecycle import ModelLifecycle


def find_lifecycle(name: str) -> ModelLifecycle:
    """The lifecycle of this name. Raises click's error with those there are, or what is wrong with its file."""
    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.definitions import lifecycle_files
    from mdlc_assets.lifecycle import load_lifecycle

    known = {}
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
        known[found.declaration.name] = found
    if name not in known:
        raise click.BadParameter(
            f"there is no lifecycle {name!r}; use one of {', '.join(sorted(known))}. Mend: correct the name, or set "
            "MDLC_LIFECYCLES to the folder that holds its folder"
        )
    return known[name]


def refuse_taken_port(host: str, port: int) -> None:
    """Raises click's error when something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.ClickException(
                f"--port {port}: nothing can listen on {host}:{port} ({error.strerror}). Mend: choose another, such as "
                f"--port {port + 1}, or stop what listens there."
            ) from None


@dataclass(frozen=True)
class Judged:
    """What was found in a declaration's file; `problems` have field, value, message and mend."""

    path: Path
    text: str
    name: str = ""
    problems: tuple[dict[str, str], ...] = ()

    def as_json(self) -> str:
        """One line for scripts."""
        return json.dumps({"file": str(self.path), "name": self.name, "problems": self.problems})


def judge_declaration(path: Path) -> Judged:
    """Read a declaration and look at it as the platform would."""
    from dataclasses import asdict

    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.lifecycle import load_lifecycle

    try:
        declaration = load_lifecycle(path).declaration
    except DeclarationError as error:
        return Judged(path, str(error), problems=tuple(asdict(problem) for problem in error.problems))
    text = f"{path}: good; {declaration.name} has {len(declaration.features.names())} features"
    return Judged(path, text, declaration.name)
