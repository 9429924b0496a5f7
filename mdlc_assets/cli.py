"""`mdlc`: the platform from the command line, thin over the functions that Dagster's jobs call too."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mdlc_assets.commands.audit import audit
from mdlc_assets.commands.decide import approve, reject, rollback, take_back
from mdlc_assets.commands.demo import demo, table
from mdlc_assets.commands.dev import dev
from mdlc_assets.commands.features import features
from mdlc_assets.commands.help import Sections
from mdlc_assets.commands.land import land
from mdlc_assets.commands.look import history, profile
from mdlc_assets.commands.new import new
from mdlc_assets.commands.reference import reference
from mdlc_assets.commands.rules import rules
from mdlc_assets.commands.run import run
from mdlc_assets.commands.schema import schema
from mdlc_assets.commands.serve import serve, stop
from mdlc_assets.commands.stream import stream
from mdlc_assets.commands.validate import validate
from mdlc_assets.export.command import export
from mdlc_assets.operations.backup_command import backup, restore
from mdlc_assets.operations.command import doctor

# Heavy imports stay inside the commands: `mdlc --help` should answer at once.


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mdlc-assets")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for all local state [default: $MDLC_HOME or ./.mdlc].",
)
def main(home: Path | None) -> None:
    """The model development life cycle as one Dagster asset graph.

    \b
    mdlc demo                             two weeks in the life of a model, in minutes
    mdlc new churn --data visits.csv      a model on your own data
    mdlc dev                              the Dagster UI on the very same state

    Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 called wrongly. With --json a command
    answers with one JSON document on stdout; progress and logs go to stderr.
    """
    if home:
        os.environ["MDLC_HOME"] = str(home.absolute())


for _command in (
    *(new, land, validate, schema, demo, dev, doctor),
    *(run, features, stream, serve, stop),
    *(approve, reject, rollback, take_back, rules),
    *(history, audit, profile, table),
    *(backup, restore, export, reference),
):
    main.add_command(_command)
