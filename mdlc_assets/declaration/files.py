"""Where declarations lie: in the package, in the folders of MDLC_LIFECYCLES, beside one another."""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from mdlc_assets.declaration.errors import DeclarationError
from mdlc_assets.declaration.yaml_file import read_yaml

_beside: ContextVar[Path | None] = ContextVar("_beside", default=None)


class SameNameError(ValueError):
    """Two declarations of one name."""


def lifecycle_files() -> list[Path]:
    """The declarations that belong to this code location, sorted.

    One's own takes the place of a shipped one in a folder of the same name: a copy of an example, made one's own.
    """
    folders = [Path(part) for part in os.environ.get("MDLC_LIFECYCLES", "lifecycles").split(os.pathsep) if part]
    found = {path.resolve(): path for folder in reversed(folders) for path in folder.glob("*/defs.yaml")}
    shipped = {path.resolve(): path for path in (Path(__file__).parents[1] / "lifecycles").glob("*/defs.yaml")}
    own = [path for place, path in found.items() if place not in shipped]
    names = {path.parent.name for path in own}
    return sorted([*own, *(path for path in shipped.values() if path.parent.name not in names)])


def attributes_of(path: Path) -> Any:
    """What a declaration's file says, read but not judged: the `attributes` of a component file, or all of another.

    Raises `DeclarationError`.
    """
    content = read_yaml(path)
    return content.get("attributes", content)


def said_twice(name: str, paths: Sequence[Path]) -> str:
    """What is wrong where declarations have the same name; of two, nobody could say which is meant."""
    files = " and ".join(str(path) for path in paths)
    return f"{files}: name: both declare a lifecycle {name!r}. Mend: give one of them another name, or remove it."


def refuse_one_name(names: Sequence[str], paths: Sequence[Path]) -> None:
    """Raises `SameNameError` for the first name that two files declare."""
    for name in names:
        same = [path for path, other in zip(paths, names, strict=True) if other == name]
        if len(same) > 1:
            raise SameNameError(said_twice(name, same[:2]))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """While a declaration is read: those in the folders beside its own are found as well."""
    token = _beside.set(path.resolve().parents[1] if len(path.resolve().parents) > 1 else None)
    try:
        yield
    finally:
        _beside.reset(token)


def file_of(name: str) -> Path | None:
    """The file that declares the lifecycle `name`: beside the one that is being read, or of this code location.

    A folder of that name is looked at first, so that of hundreds of files one is opened.
    """
    files = sorted(_there(), key=lambda path: path.parent.name != name)
    return next((path for path in files if _name_in(path) == name), None)


def folders_there() -> list[str]:
    """The folders of the declarations that `file_of` looks at, which are mostly called as these."""
    return [path.parent.name for path in _there()]


def _there() -> list[Path]:
    beside = _beside.get()
    near = sorted(beside.glob("*/defs.yaml")) if beside else []
    return list(dict.fromkeys([*near, *lifecycle_files(), *_of_a_dagster_project()]))


def _of_a_dagster_project() -> list[Path]:
    """The components of the `dg` project that the process was started in: Dagster hands over their content alone."""
    settings = Path("pyproject.toml")
    try:
        said = tomllib.loads(settings.read_text(encoding="utf-8"))["tool"]["dg"]["project"]
    except (OSError, KeyError, ValueError):
        return []
    module = str(said.get("defs_module") or f"{said.get('root_module', '')}.defs")
    folders = [Path(root, *module.split(".")) for root in ("src", ".")]
    return sorted(path for folder in folders for path in folder.rglob("defs.yaml"))


def _name_in(path: Path) -> str:
    try:
        return _name_said(path, path.stat().st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(maxsize=1_024)
def _name_said(path: Path, _changed: int) -> str:
    """Read once: each of many that use it asks for it."""
    try:
        said = attributes_of(path)
    except DeclarationError:
        return ""
    return str(said.get("name", "")) if isinstance(said, dict) else ""
