"""How `mdlc --help` presents its commands: in the order of a model's life."""

from __future__ import annotations

import os
from typing import Any

import click

from mdlc_assets.commands.refusals import in_words

_SECTIONS = {
    "Start": ("new", "land", "validate", "schema", "demo", "dev", "doctor"),
    "Run": ("run", "features", "stream", "serve", "stop"),
    "Decide": ("approve", "reject", "rollback", "take-back", "rules"),
    "Look": ("history", "audit", "profile", "table"),
}
_REST = "More"


class Sections(click.Group):
    """A group whose commands stand in sections; without colours where NO_COLOR is set."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if os.environ.get("NO_COLOR"):
            extra["color"] = False
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Errors that a person can mend are sentences on stderr, not tracebacks."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            said = in_words(error)
            if said:
                raise click.ClickException(said) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        known = {name: self.commands[name] for name in self.list_commands(ctx) if not self.commands[name].hidden}
        placed = {name for names in _SECTIONS.values() for name in names}
        rest = tuple(name for name in known if name not in placed)
        for title, names in {**_SECTIONS, _REST: rest}.items():
            rows = [(name, known[name].get_short_help_str(70)) for name in names if name in known]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
