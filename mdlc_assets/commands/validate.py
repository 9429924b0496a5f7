"""`mdlc validate`: declarations judged before Dagster loads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mdlc_assets.commands.answer import answer, for_scripts


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@for_scripts
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check declarations: FILES, or all there are.

    \b
    mdlc validate lifecycles/churn/defs.yaml
    """
    from mdlc_assets.declaration.files import lifecycle_files

    judged = _each_name_once([judge_declaration(path) for path in files or lifecycle_files()])
    for found in judged:
        if found.problems or not as_json:
            click.echo(found.text, err=bool(found.problems))
    answer(as_json, [found.as_dict() for found in judged], "", good=not any(found.problems for found in judged))


@dataclass(frozen=True)
class Judged:
    """What was found in a declaration's file; `problems` have field, value, message and mend."""

    path: Path
    text: str
    name: str = ""
    problems: tuple[dict[str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {"file": str(self.path), "name": self.name, "problems": list(self.problems)}


def _each_name_once(judged: list[Judged]) -> list[Judged]:
    """The same, with a problem for each whose name one before it has."""
    from mdlc_assets.declaration.files import said_twice

    first: dict[str, Path] = {}
    found = []
    for one in judged:
        other = first.setdefault(one.name, one.path) if one.name else one.path
        if other.resolve() != one.path.resolve():
            text = said_twice(one.name, [other, one.path])
            mend = "give one of them another name, or remove it"
            problem = {"field": "name", "value": one.name, "message": f"{other} has this name too", "mend": mend}
            one = Judged(one.path, text, one.name, (problem,))
        found.append(one)
    return found


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
