"""Online traffic watched as the batch path is: what the service was given and answered, against the same reference.

The service may see a tenth of a day's events, or a part of a day. A small sample lies far from anything by chance
alone, so the reference's days are thinned to as many events before what is usual is measured on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.monitoring.open_loop import Reference, Sketches, watch
from mdlc_assets.monitoring.sketch import Sketch, sketches

OUTPUTS = ("score", "decision")


def judged_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Of captured decisions those that say something of model and inputs: the first about each event, none of them
    degraded. What was decided without store or model is for the check `not_degraded`."""
    return rows.filter((pl.col("repeat") == 0) & (pl.col("degraded") == "") & pl.col("score").is_not_null())


def version_of(rows: pl.DataFrame) -> int:
    """The version that decided most of the rows, the newer of equals; 0 where none did."""
    counts = rows.drop_nulls("model_version").group_by("model_version").len()
    ordered = counts.sort("len", "model_version", descending=True)
    return int(ordered["model_version"][0]) if ordered.height else 0


def sketch_served(rows: pl.DataFrame, inputs: list[str], version: int) -> dict[str, Sketch]:
    """Sketches of the served inputs, and of what the version answered to them."""
    answered = rows.filter(pl.col("model_version") == version)
    return {**sketches(rows, inputs), **sketches(answered, OUTPUTS)}


def watch_online(
    lifecycle: LifecycleDeclaration,
    day: date,
    rows: pl.DataFrame,
    inputs: list[str],
    reference: Reference,
    before: Mapping[date, Mapping[str, Any]],
) -> dict[str, Any]:
    """The document of a day from all of its captured decisions. `before` are online documents of earlier days."""
    declared = lifecycle.monitoring
    judged = judged_rows(rows)
    version = version_of(judged)
    enough = judged.height >= declared.online.fewest_events
    today = sketch_served(judged, inputs, version) if enough else {}
    thin = Reference(_thinned(reference.training, today), _thinned(reference.recent, today))
    document = watch(declared.open_loop, day, today, thin, before, outputs=OUTPUTS)
    if not enough:
        document["reasons"] = [f"{judged.height} events to judge, {declared.online.fewest_events} are needed"]
    shares = judged["decision"].value_counts(normalize=True).sort("decision")
    return document | {
        "traffic": "online",
        "events": rows.filter(pl.col("repeat") == 0).height,
        "judged": judged.height,
        "model_version": version,
        "decisions": dict(shares.iter_rows()),
    }


def _thinned(days: Mapping[date, Sketches], today: Sketches) -> dict[date, dict[str, Sketch]]:
    return {
        when: {name: thinned(one, today[name].rows, when.toordinal()) for name, one in of_day.items() if name in today}
        for when, of_day in days.items()
    }


def thinned(one: Sketch, rows: int, seed: int) -> Sketch:
    """The sketch as a day of so few rows would have given it; the same seed draws the same rows."""
    if not rows or one.rows <= rows:
        return one
    shares = np.concatenate([[max(0.0, one.missing)], one.weights])
    counts = np.random.default_rng(seed).multinomial(rows, shares / shares.sum())
    kept = counts[1:] > 0
    points, weights = one.points[kept], counts[1:][kept] / rows
    mean, deviation = 0.0, 0.0
    if not one.text and kept.any():
        mean = float(np.average(points, weights=weights))
        deviation = float(np.sqrt(np.average((points - mean) ** 2, weights=weights)))
    return Sketch(rows, counts[0] / rows, points, weights, mean, deviation, one.text)
