"""`mdlc run`: workflows of a lifecycle from the command line, by the very jobs that the UI shows."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import click

from mdlc_assets.commands.answer import answer, for_scripts, work
from mdlc_assets.commands.options import OneOf

if TYPE_CHECKING:
    from mdlc_assets.declaration import LifecycleDeclaration
    from mdlc_assets.demo.loop import Loop

_DAY = click.DateTime(["%Y-%m-%d"])
# Of the days that have landed, which a workflow takes when none are named.
_AS_OF_LAST = ("train", "retrain")
_LABELLED = ("labels", "monitor")
_OF_NO_DAY = ("real_time_inference", "approve", "online_fill", "stream_lag")
_WORKFLOWS = (
    *("history", "labels", "rebuild", "train", "backtest", "batch_inference", "monitor", "report", "retrain"),
    *("real_time_inference", "approve", "online_fill", "online_day", "stream_lag"),
)


@click.command()
@click.argument("lifecycle")
@click.argument("workflows", nargs=-1, required=True, type=OneOf(_WORKFLOWS))
@click.option("--day", type=_DAY, help="One day; the same as --first and --last.")
@click.option(
    "--first", type=_DAY, help="First day [default: all landed days; the last for train and batch_inference]."
)
@click.option("--last", type=_DAY, help="Last day.")
@for_scripts
def run(
    lifecycle: str,
    workflows: tuple[str, ...],
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    as_json: bool,
) -> None:
    """Run WORKFLOWS of LIFECYCLE one after the other; the first that fails ends it.

    \b
    mdlc run churn labels history train
    mdlc run churn batch_inference --day 2024-12-31
    mdlc run churn history --first 2024-12-01 --last 2024-12-07

    Exit code 0: all ran. 1: one failed, or quality stopped a day. 2: wrong options.
    """
    from rich.console import Console

    from mdlc_assets.commands.shared import find_lifecycle
    from mdlc_assets.demo.loop import open_loop
    from mdlc_assets.home import Home

    loop = open_loop(find_lifecycle(lifecycle), Home())
    # What there is to work on: files, or the features of the lifecycle that is used.
    place = loop.lifecycle.place("features")
    made = loop.resources["lake"].table(*place) if loop.lifecycle.uses else None
    landed = (made or loop.resources["landing"].feed(lifecycle, "transactions")).days()
    console = Console(stderr=True)
    named = (day or first, day or last)
    done: list[dict[str, object]] = []
    for workflow in workflows:
        begin, end = _days_of(workflow, loop.lifecycle, landed, named)
        span = f"{begin} to {end}" if end and end != begin else str(begin or "")
        started = time.monotonic()
        with console.status(f"{workflow} {span}"), work(as_json):
            ran = loop.run(workflow, begin, end)
        took = round(time.monotonic() - started, 1)
        # A check that stops a day says why; the run's own error is only that a check did.
        stopped = dict(reversed(ran.stopped_by))
        said = {"workflow": workflow, "first": begin, "last": end or begin, "success": ran.success}
        verdict = _verdict(loop, workflow) if ran.success else ""
        said |= {"gate": verdict} if verdict else {}
        done.append(said | {"seconds": took, "error": ran.error, "stopped_by": stopped, "run": ran.run_id})
        if not ran.success:
            reasons = "\n".join(f"{check}: {why}" for check, why in stopped.items()) or ran.error
            word = click.style("stopped" if stopped else "failed", fg="red")
            answer(as_json, done, f"{word}  {workflow} {span}\n{reasons}", good=False)
        if not as_json:
            click.echo(f"{click.style('done', fg='green')}  {workflow} {span}  {took} s")
            if verdict:
                click.echo(f"      {verdict}")
    loop.instance.dispose()
    answer(as_json, done, "")


def _verdict(loop: Loop, workflow: str) -> str:
    """What the gate says of the version that was just trained, so that nobody asks to approve one that was refused."""
    from mdlc_assets.training.approval import GATE_TAG

    versions = loop.resources["registry"].versions(loop.lifecycle.name) if workflow in _AS_OF_LAST else []
    if not versions:
        return ""
    newest = max(versions, key=lambda version: version.version)
    return f"version {newest.version}, gate: {newest.tags.get(GATE_TAG, 'not judged')}"


def _days_of(
    workflow: str,
    declaration: LifecycleDeclaration,
    landed: list[date],
    named: tuple[datetime | None, datetime | None],
) -> tuple[date | None, date | None]:
    from mdlc_assets.commands.shared import refuse_used_data
    from mdlc_assets.declaration import uses

    if workflow in uses.WORKFLOWS:
        refuse_used_data(declaration, f"run {{uses}} {workflow}")
    if workflow == "stream_lag" and declaration.stream is None:
        raise click.ClickException(
            f"stream: {declaration.name} declares none, so there is no stream_lag. Mend: add `stream: {{}}` to its "
            "declaration, or leave this workflow out."
        )
    if workflow in _OF_NO_DAY:
        return None, None
    first, last = named
    # A day can be run once it is over.
    over = datetime.now(UTC).date() - timedelta(days=1)
    if first or last:
        begin = (first or last).date()  # type: ignore[union-attr]
        end = last.date() if last else begin
        start, stop = declaration.dataset.start, declaration.dataset.end
        if begin < start or (stop and end > stop) or begin > end:
            raise click.ClickException(
                f"{begin} to {end}: {declaration.name} has days from {start} to {stop or 'now'}. Mend: choose --first "
                "and --last among them, or change dataset.start or dataset.end of the declaration."
            )
        if end > over:
            raise click.ClickException(
                f"{end}: this day is not over (UTC). Mend: choose --last {over} or earlier, and run it tomorrow."
            )
        return begin, end
    within = set(declaration.days(landed[0], min(landed[-1], over)) if landed else [])
    landed = [day for day in landed if day in within]
    if not landed and declaration.uses:
        raise click.ClickException(
            f"{declaration.uses} has no features yet. Mend: `mdlc run {declaration.uses} labels history`."
        )
    if not landed:
        raise click.ClickException(
            f"No file of {declaration.name} has landed. Mend: `mdlc land {declaration.name} FILE`, or put files with "
            "the day in their names into its landing folder."
        )
    newest = landed[-1]
    if workflow in _LABELLED:
        newest = max(landed[0], newest - timedelta(days=declaration.labels.delay_days))
    if workflow in (*_AS_OF_LAST, "batch_inference", "report", "monitor"):
        return newest, newest
    return landed[0], newest
