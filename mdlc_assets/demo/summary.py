"""What a person reads at the end of the demo: the timeline, the figures, and where to look next."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mdlc_assets.demo.loop import Loop
from mdlc_assets.demo.story import Story
from mdlc_assets.home import Home

if TYPE_CHECKING:
    from mdlc_assets.demo.run import Told

_DAYS_BEFORE = 3
_TOLD_AGAIN = ("incident", "mended", "alarm", "wait", "ask", "model", "deploy", "failed")


def print_summary(console: Console, loop: Loop, story: Story, told: Told, home: Home, seconds: float) -> None:
    """Print timeline, metrics and pointers."""
    console.print()
    console.rule(f"Two weeks of {loop.lifecycle.name}, {story.live[0]} to {story.live[-1]}")
    timeline = Table("day", "what", "", box=None, pad_edge=False, show_header=False)
    for day, kind, text in told.events:
        if kind in _TOLD_AGAIN:
            timeline.add_row(str(day), kind, text)
    console.print(timeline)
    console.print()
    console.print(_realised(loop, story))
    console.print()
    name = loop.lifecycle.name
    report = home.reports / name / "latest.html"
    for text, where in (
        ("Report", report),
        ("All lifecycles", home.reports / "index.html"),
        ("Lake", home.lake / name),
        ("Alerts", home.root / "alerts"),
        ("Dagster UI, on this very state", "make dev  (http://127.0.0.1:3000; MLflow's on 3002)"),
    ):
        console.print(f"[bold]{text}:[/] {_short(where)}", highlight=False, soft_wrap=True)
    if told.failures:
        console.print(f"[red]{len(told.failures)} things went wrong:[/]")
        for failure in told.failures:
            console.print(f"  {failure}", markup=False)
    console.print(f"[dim]{seconds:.0f} s[/]", highlight=False)


def _realised(loop: Loop, story: Story) -> Table:
    """Realised metrics of each live day, and of some before, all labels being in."""
    reports = loop.resources["lake"].documents(loop.lifecycle.name, "closed_loop_report")
    metrics = loop.lifecycle.monitoring.closed_loop.metrics
    table = Table("day", "amounts", "model", *metrics, title="Realised, once the labels were in", box=None)
    for day in [day for day in reports.days() if day >= story.live[0] - timedelta(days=_DAYS_BEFORE)]:
        report = reports.read_document(day)
        found = report["metrics"]
        table.add_row(
            str(day),
            f"x {story.drift_on(day)}" if story.drift_on(day) != 1 else "",
            f"version {report['model_version']}",
            *(f"{found[metric]:.3f}" if found.get(metric) is not None else "-" for metric in metrics),
        )
    return table


def _short(where: object) -> str:
    text = str(where)
    here = f"{Path.cwd()}/"
    return text.replace(here, "")
