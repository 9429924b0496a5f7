"""`mdlc export`: workflows written out for engines other than Dagster."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from mdlc_assets.commands.answer import answer, for_scripts


@click.group()
def export() -> None:
    """Write workflows out for other engines."""


@export.command("step-functions")
@click.argument("lifecycle")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), default="step-functions", show_default=True)
@click.option("--form", type=click.Choice(["sync", "poll"]), default="sync", show_default=True, help="How jobs wait.")
@click.option(
    "--role", default=lambda: os.environ.get("MDLC_SAGEMAKER_ROLE", ""), help="[default: $MDLC_SAGEMAKER_ROLE]"
)
@click.option(
    "--bucket", default=lambda: os.environ.get("MDLC_SAGEMAKER_BUCKET", ""), help="[default: $MDLC_SAGEMAKER_BUCKET]"
)
@click.option(
    "--image", default=lambda: os.environ.get("MDLC_SAGEMAKER_IMAGE", ""), help="[default: $MDLC_SAGEMAKER_IMAGE]"
)
@click.option("--lake", default="", help="s3://bucket/prefix of the lake [default: the folder lake of --bucket].")
@click.option("--region", default=lambda: os.environ.get("AWS_REGION", ""), help="[default: $AWS_REGION]")
@click.option("--prefix", default="mdlc", show_default=True, help="Of names, as in deploy/cloudformation.")
@click.option("--approval-days", type=click.IntRange(1, 300), default=7, show_default=True)
@click.option("--poll-seconds", type=click.IntRange(1, 3600), default=30, show_default=True)
@for_scripts
def step_functions(lifecycle: str, to: Path, form: str, as_json: bool, **given: Any) -> None:
    """The workflows of LIFECYCLE as Amazon States Language, and what starts them, as files.

    Writes <machine>.asl.json for training, batch inference and the endpoint, <machine>.starts.json for schedule and
    rule, and template.json, a CloudFormation stack of all of them.
    """
    from mdlc_assets.declaration import read_declaration
    from mdlc_assets.declaration.files import lifecycle_files
    from mdlc_assets.export.package import files
    from mdlc_assets.export.places import PlaceError, Places

    declared = {found.name: found for found in map(read_declaration, lifecycle_files())}
    if lifecycle not in declared:
        raise click.BadParameter(f"there is no lifecycle {lifecycle!r}; use one of {', '.join(sorted(declared))}")
    for name in ("role", "bucket", "image", "region"):
        if not given[name]:
            raise click.UsageError(
                f"--{name}: nothing is given. Mend: write it, or set the variable that --help names."
            )
    given["bucket"] = given["bucket"].rstrip("/")
    given["lake"] = (given["lake"] or f"{given['bucket']}/lake").rstrip("/")
    try:
        written = files(declared[lifecycle], Places(**given), "sync" if form == "sync" else "poll")
    except PlaceError as error:
        raise click.ClickException(str(error)) from None
    to.mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        (to / name).write_text(json.dumps(content, indent=2) + "\n")
    paths = [str(to / name) for name in written]
    answer(as_json, {"lifecycle": lifecycle, "files": paths}, "\n".join(paths))
