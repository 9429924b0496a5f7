"""`mdlc new NAME --uses OTHER`: a second model on the data of a lifecycle that is there."""

from __future__ import annotations

from pathlib import Path

import click

from mdlc_assets.commands.answer import answer


def start_on_used_data(name: str, uses: str, into: Path, owner: str, *, as_json: bool) -> None:
    """Write <into>/<name>/defs.yaml. Raises click's error for a lifecycle that is not there or uses another itself."""
    from mdlc_assets.commands.shared import find_lifecycle, said_along
    from mdlc_assets.declaration import DeclarationError
    from mdlc_assets.declaration.files import attributes_of, file_of
    from mdlc_assets.lifecycle import load_lifecycle
    from mdlc_assets.scaffold.draft import write_schema
    from mdlc_assets.scaffold.used import draft_using
    from mdlc_assets.scaffold.write import as_text

    find_lifecycle(uses)
    source = file_of(uses)
    assert source
    file = into / name / "defs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_schema(into)
    drafted = draft_using(name, attributes_of(source), owner)
    comment = f"Check a change with: mdlc validate {file}"
    file.write_text(as_text(drafted, "../lifecycle.schema.json", comment), encoding="utf-8")
    try:
        load_lifecycle(file)
    except DeclarationError as error:
        file.unlink()
        raise click.ClickException(str(error)) from None
    where, who = said_along(into)
    following = [
        f"choose under model.features of {file} what it learns from, and another algorithm",
        f"{where}mdlc run {name} train",
        f'{where}mdlc approve 1 --lifecycle {name}{who} --reason "..."',
        f"{where}mdlc run {name} batch_inference",
    ]
    if not as_json:
        click.secho(f"{file} is written; {uses} sources, checks and computes what it learns from.", fg="green")
    document = {"declaration": str(file), "uses": uses, "next": following}
    answer(as_json, document, "\n".join(["Next:", *(f"  {line}" for line in following)]))
