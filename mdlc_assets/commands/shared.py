"""What several commands need: the lifecycle by its name."""

from __future__ import annotations

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
