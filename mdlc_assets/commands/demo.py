"""`mdlc demo` and `mdlc table`: the shipped lifecycles lived through, and measured against published figures."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mdlc_assets.commands.answer import answer, for_scripts, work
from mdlc_assets.commands.shared import find_lifecycle
from mdlc_assets.demo import LIFECYCLE


@click.command()
@click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of daily files to run on, instead of the simulated sample.",
)
@click.option("--lifecycle", default=LIFECYCLE, show_default=True)
def demo(source: Path | None, lifecycle: str) -> None:
    """Live through two weeks of a model: history, training, an incident, a drift, a changeover.

    Starts afresh: what an earlier demo left in the home folder is replaced. The smaller lifecycles have a shorter
    demo, which leaves the others as they are: --lifecycle bakery_demand, --lifecycle pump_anomalies.
    """
    from mdlc_assets.demo.run import run_demo
    from mdlc_assets.demo.small import WORLDS, run_small_demo
    from mdlc_assets.demo.story import StoryError
    from mdlc_assets.home import Home

    if lifecycle in WORLDS:
        sys.exit(0 if run_small_demo(find_lifecycle(lifecycle), Home()) else 1)
    try:
        good = run_demo(find_lifecycle(lifecycle), Home(), source)
    except StoryError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if good else 1)


@click.command()
@click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default="../shared/payments",
    show_default=True,
    help="The Fraud Detection Handbook's daily files.",
)
@for_scripts
def table(source: Path, as_json: bool) -> None:
    """Print the handbook's baseline table out of the platform's own training and evaluation."""
    from mdlc_assets.demo.table import computed_table, print_table

    with work(as_json):
        found = computed_table(find_lifecycle(LIFECYCLE), source)
    if not as_json:
        print_table(found)
    answer(as_json, found, "")
