"""The short demo of the smaller shipped lifecycles: days land, a model is trained and approved, a week is lived."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Protocol

import polars as pl
from rich.console import Console

from mdlc_assets.demo.loop import open_loop
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle
from mdlc_assets.simulator.bakery import Bakeries
from mdlc_assets.simulator.pumps import Pumps

_LIVE_DAYS = 7


class World(Protocol):
    """Whatever makes a day's files."""

    def transactions(self, day: date) -> pl.DataFrame: ...

    def labels(self, day: date) -> pl.DataFrame | None: ...


WORLDS: Mapping[str, World] = {"bakery_demand": Bakeries(), "pump_anomalies": Pumps()}
"""Those that have a short demo, by the name of the lifecycle."""


def run_small_demo(lifecycle: ModelLifecycle, home: Home, *, days: int = 80) -> bool:
    """Land `days` of simulated files and live through them. Other lifecycles of the home are left as they are."""
    declaration, console = lifecycle.declaration, Console()
    first = declaration.dataset.start
    history = [first + timedelta(days=i) for i in range(days)]
    today, live = history[-_LIVE_DAYS - 1], history[-_LIVE_DAYS:]
    for feed in ("transactions", "labels"):
        shutil.rmtree(home.landing / declaration.name / feed, ignore_errors=True)
    world = WORLDS[declaration.name]
    for day in history:
        _land(home, declaration.name, "transactions", day, world.transactions(day))
        labels = world.labels(day)
        if labels is not None and day + declaration.labels.delay <= history[-1]:
            _land(home, declaration.name, "labels", day, labels)
    loop = open_loop(lifecycle, home)
    labelled = history[-1] - timedelta(days=declaration.labels.delay_days)
    lines: list[tuple[str, str, date | None, date | None]] = [
        ("labels that are known", "labels", first, labelled),
        ("raw files to features", "history", first, today),
        ("the first model, its gate, its approval", "train", today, None),
        ("the days after it: predictions and drift", "batch_inference", live[0], live[-1]),
        ("what became of them", "monitor", live[0], labelled),
    ]
    try:
        for text, workflow, begin, end in lines:
            if workflow in ("labels", "monitor") and not declaration.labels.column:
                continue
            started = time.monotonic()
            with console.status(text):
                ran = loop.run(workflow, begin, end)
            mark = "[green]✔[/]" if ran.success else "[red]✖[/]"
            console.print(f"{mark} {text} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)
            if not ran.success:
                console.print(ran.error or str(ran.stopped_by), style="red", markup=False)
                return False
    finally:
        loop.instance.dispose()
    console.print(f"Report: {home.reports / 'index.html'}. Look at it in Dagster: mdlc dev", markup=False)
    return True


def _land(home: Home, name: str, feed: str, day: date, rows: pl.DataFrame) -> None:
    path = home.landing / name / feed / f"{day}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
