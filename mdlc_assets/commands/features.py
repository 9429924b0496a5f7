"""`mdlc features rebuild`: feature state and features made again from validated rows."""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

import click

from mdlc_assets.commands.answer import answer, for_scripts, work
from mdlc_assets.commands.shared import loop_here, refuse_used_data


@click.group()
def features() -> None:
    """Feature tables and the state they follow from."""


@features.command()
@click.argument("lifecycle")
@click.option("--first", type=click.DateTime(["%Y-%m-%d"]), help="First day [default: the first with validated rows].")
@click.option("--last", type=click.DateTime(["%Y-%m-%d"]), help="Last day [default: the last with validated rows].")
@for_scripts
def rebuild(lifecycle: str, first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Make feature state and features of LIFECYCLE again from validated rows, in one Dagster run.

    For a changed declaration, a corrected day, or lost state. What was right comes out with the same bytes.
    """
    loop = loop_here(lifecycle)
    refuse_used_data(loop.lifecycle, "features rebuild {uses}")
    there = loop.resources["lake"].table(lifecycle, "validated").days()
    if not there:
        _refuse(f"{lifecycle} has no validated day. Mend: `mdlc run {lifecycle} history` first.")
    begin, end = max(first.date(), there[0]) if first else there[0], last.date() if last else there[-1]
    gaps = [day for day in loop.lifecycle.days(begin, end) if day not in set(there)]
    if gaps or begin > end:
        lacking = f"{gaps[0]} has no validated rows" if gaps else f"{begin} is after {end}"
        _refuse(f"{lacking}. Mend: choose days between {there[0]} and {there[-1]} that are there.")
    with work(as_json):
        ran = loop.run("rebuild", begin, end)
    document = {"lifecycle": lifecycle, "first": begin, "last": end, "done": ran.success, "error": ran.error}
    words = ran.error or f"Features of {lifecycle} from {begin} to {end} are made again."
    answer(as_json, {**document, "run": ran.run_id}, words, good=ran.success)


def _refuse(words: str) -> NoReturn:
    raise click.ClickException(words)
