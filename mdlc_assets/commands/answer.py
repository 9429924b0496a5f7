"""How a command answers: in words for people, or with one JSON document on stdout for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, NoReturn, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def for_scripts(command: _Command) -> _Command:
    """Give a command the option --json, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON document on stdout.")(command)


def answer(as_json: bool, document: Any, words: str, *, good: bool = True) -> NoReturn:
    """Say what came of it, and end the command: with exit code 0, or 1 and the words on stderr too."""
    if as_json:
        click.echo(json.dumps(document, indent=1, default=str))
    if words and not (as_json and good):
        click.echo(words, err=not good)
    sys.exit(0 if good else 1)


@contextmanager
def work(as_json: bool) -> Iterator[None]:
    """While something is done: what libraries print goes to stderr, so that stdout holds the document alone."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def progress(items: Any, what: str, *, quiet: bool = False) -> Any:
    """The items, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    return track(list(items), what, console=console, transient=True)
