"""Tells the story: delivers each day's files, lets the sensors act, and says what happened."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from rich.console import Console

from mdlc_assets.demo.feed import Feed, FolderFeed, SimulatedFeed
from mdlc_assets.demo.loop import Loop, Ran, open_loop
from mdlc_assets.demo.story import LIVE_DAYS, Story, plan
from mdlc_assets.demo.summary import print_summary
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle

_HISTORY_DAYS = 66
_STATE = ("alerts", "catalogue", "dagster", "lake", "landing", "mlflow", "online", "reports")


@dataclass
class Told:
    """What happened, in order, as (day, kind, text); the kinds are those of `_MARKS`."""

    events: list[tuple[date, str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    inputs_in_alarm: bool = False

    def add(self, day: date, kind: str, text: str) -> None:
        self.events.append((day, kind, text))


def run_demo(lifecycle: ModelLifecycle, home: Home, source: Path | None) -> bool:
    """Run the whole demo below `home`, replacing what an earlier one left. True when all went as told."""
    console = Console()
    began = time.monotonic()
    _clear(lifecycle, home)
    declaration = lifecycle.declaration
    feed: Feed = (
        FolderFeed(home.landing, declaration, source)
        if source
        else SimulatedFeed(home.landing, declaration, _HISTORY_DAYS + LIVE_DAYS)
    )
    story = plan(feed.days)
    loop = open_loop(lifecycle, home)
    told = Told()
    try:
        with console.status("") as status:
            _bring_in_history(loop, feed, story, told, lambda text: status.update(text), console)
            for day in story.live:
                status.update(f"{day}: files arrive, sensors act")
                _live_through(loop, feed, story, day, told)
                for _, kind, text in [event for event in told.events if event[0] == day]:
                    console.print(f"[bold]{day}[/] {_MARKS[kind]} {text}", highlight=False)
            status.update("a week later: the last labels arrive")
            _labels_of_the_last_week(loop, feed, story, told)
    finally:
        loop.resources["endpoints"].stop(declaration.name)
    print_summary(console, loop, story, told, home, time.monotonic() - began)
    return not told.failures


_MARKS = {
    "day": "[green]•[/]",
    "incident": "[red]■ stopped:[/]",
    "mended": "[green]■ mended:[/]",
    "alarm": "[yellow]▲ alarm:[/]",
    "wait": "[yellow]… waiting:[/]",
    "ask": "[yellow]▲ retrain:[/]",
    "model": "[blue]◆ model:[/]",
    "deploy": "[blue]⇄ deployed:[/]",
    "failed": "[red]✖ failed:[/]",
}


def _clear(lifecycle: ModelLifecycle, home: Home) -> None:
    from mdlc_assets.definitions import embedded_resources

    embedded_resources(home)["endpoints"].stop(lifecycle.declaration.name)
    for name in _STATE:
        shutil.rmtree(home.root / name, ignore_errors=True)


def _bring_in_history(loop: Loop, feed: Feed, story: Story, told: Told, say, console: Console) -> None:  # type: ignore[no-untyped-def]
    first, today = story.history[0], story.history[-1]
    say(f"preparing {len(story.history)} days of files")
    delay = loop.lifecycle.labels.delay
    labelled = [day for day in story.history if day + delay <= today]
    for day in story.history:
        feed.deliver(day)
    for day in labelled:
        feed.deliver_labels(day)
    for text, workflow, begin, end in (
        ("labels that are known", "labels", labelled[0], labelled[-1]),
        ("raw files to features", "history", first, today),
        ("the first model", "train", today, None),
        ("its endpoint", "real_time_inference", None, None),
        ("two weeks of predictions to compare with", "batch_inference", today - timedelta(days=13), today),
        ("what became of them", "monitor", labelled[-7], labelled[-1]),
    ):
        span = f", {begin} to {end}" if end else ""
        say(f"{text}{span}")
        started = time.monotonic()
        ran = loop.run(workflow, begin, end)
        mark = "[green]✔[/]" if ran.success else "[red]✖[/]"
        console.print(f"{mark} {text}{span} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)
        _note_failure(told, today, ran)
        if not ran.success:
            console.print(ran.error, style="red", markup=False)
            raise SystemExit(1)


def _live_through(loop: Loop, feed: Feed, story: Story, day: date, told: Told) -> None:
    feed.deliver_labels(day - loop.lifecycle.labels.delay)
    broken = day == story.broken_day
    feed.deliver(day, drift=story.drift_on(day), broken=broken)
    runs = loop.tick()
    if broken:
        stopped = [check for ran in runs for check in ran.stopped_by]
        if stopped:
            told.add(day, "incident", f"{feed.data_incident}. {stopped[0][1] or stopped[0][0]}")
        else:
            told.add(day, "failed", f"{feed.data_incident}, and nothing stopped it")
            told.failures.append(f"{day}: the data incident went through")
        feed.deliver(day, drift=story.drift_on(day))
        runs = loop.tick()
        told.add(day, "mended", "the owner sent the file again; the sensor saw it and ran the day")
    _tell(loop, day, runs, told)


def _tell(loop: Loop, day: date, runs: list[Ran], told: Told) -> None:
    name, lake = loop.lifecycle.name, loop.resources["lake"]
    for ran in runs:
        _note_failure(told, day, ran)
        if ran.workflow == "batch_inference" and ran.success:
            decided = lake.table(name, "decisions").read_day(day)["decision"].value_counts(sort=True)
            counts = ", ".join(f"{count} {decision}" for decision, count in decided.iter_rows())
            told.add(day, "day", counts)
            open_loop = lake.documents(name, "open_loop_report").read_document(day)
            if open_loop["alarm"] and not told.inputs_in_alarm:
                told.add(day, "alarm", f"{open_loop['reasons'][0]}; the policy waits for labels to show harm")
            told.inputs_in_alarm = open_loop["alarm"]
            decision = lake.documents(name, "retrain_decision").read_document(day)
            if decision["verdict"] != "none":
                kind = "ask" if decision["verdict"] == "retrain" else "wait"
                told.add(day, kind, decision["reasons"][0])
        elif ran.workflow == "retrain" and ran.success:
            verdict = lake.documents(name, "evaluation").read_document(day)
            word = "passes the gate" if verdict["passed"] else "is refused by the gate"
            told.add(day, "model", f"version {verdict['version']} {word}: {'; '.join(verdict['reasons'])}")
        elif ran.workflow == "real_time_inference" and ran.success:
            serving = loop.resources["endpoints"].status(name)
            told.add(day, "deploy", f"version {serving.version} answers at {serving.url}")


def _labels_of_the_last_week(loop: Loop, feed: Feed, story: Story, told: Told) -> None:
    last = story.live[-1]
    first = last - loop.lifecycle.labels.delay + timedelta(days=1)
    for day in story.live:
        if day >= first:
            feed.deliver_labels(day)
    _note_failure(told, last, loop.run("monitor", first, last))


def _note_failure(told: Told, day: date, ran: Ran) -> None:
    if not ran.success and not ran.stopped_by:
        told.failures.append(f"{day}: {ran.workflow} {ran.partition} failed: {ran.error}")
        told.add(day, "failed", f"{ran.workflow} {ran.partition}: {ran.error}")
