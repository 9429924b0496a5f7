"""`mdlc doctor`: an installation checked from the command line."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from mdlc_assets.commands.answer import answer, for_scripts


@click.command()
@for_scripts
def doctor(as_json: bool) -> None:
    """Check this installation, and say what is wrong and how to mend it.

    Looks at the home folder, the declarations, what is exposed, Dagster, MLflow, lake and landing zone, at the
    SNS topic, tables, streams and metrics that the environment names, and on AWS at the permissions. Exit code 0
    when all is well, 1 when something is wrong.
    """
    from mdlc_assets.home import Home, HomeError
    from mdlc_assets.operations.doctor import Finding, examine

    wrong, found = 0, []
    try:
        findings = examine(Home(), os.environ)
    except HomeError as error:  # Nothing else can be looked at.
        text, _, mend = str(error).partition(" Mend: ")
        findings = iter([Finding("home", f"{text} It cannot be written.", mend.rstrip("."))])
    for finding in findings:
        wrong += not finding.good
        found.append(asdict(finding))
        if not as_json:
            word = click.style("good ", fg="green") if finding.good else click.style("wrong", fg="red", bold=True)
            click.echo(f"{word}  {finding.check:13} {finding.says}")
            if finding.mend:
                click.echo(f"{'':22}Mend: {finding.mend}.")
    answer(as_json, found, "", good=not wrong)
