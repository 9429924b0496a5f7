"""`mdlc schema`: the declaration's JSON schema."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file, instead of the terminal.")
def schema(out: Path | None) -> None:
    """Print the JSON schema of a declaration, for editors that complete YAML.

    \b
    mdlc schema --out lifecycles/lifecycle.schema.json
    # and as the first line of lifecycles/churn/defs.yaml:
    # yaml-language-server: $schema=../lifecycle.schema.json
    """
    from mdlc_assets.declaration.schema import schema_text

    if out is None:
        click.echo(schema_text(), nl=False)
        return
    out.write_text(schema_text(), encoding="utf-8")
    click.echo(f"{out} is written.")
