"""`mdlc doctor`: an installation checked from the command line."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def doctor(as_json: bool) -> None:
    """Check this installation, and say what is wrong and how to mend it.

    Looks at the home folder, the declarations, what is exposed, Dagster, MLflow, lake and landing zone, at the
    SNS topic, tables, streams and metrics that the environment names, and on AWS at the permissions. Exit code 0
    when all is well, 1 when something is wrong.
    """
    from mdlc_assets.home import Home
    from mdlc_assets.operations.doctor import examine

    wrong, found = 0, []
    for finding in examine(Home(), os.environ):
        wrong += not finding.good
        found.append(asdict(finding))
        if not as_json:
            word = click.style("good ", fg="green") if finding.good else click.style("wrong", fg="red", bold=True)
            click.echo(f"{word}  {finding.check:13} {finding.says}")
            if finding.mend:
                click.echo(f"{'':22}Mend: {finding.mend}.")
    if as_json:
        click.echo(json.dumps(found, indent=1))
    sys.exit(1 if wrong else 0)
