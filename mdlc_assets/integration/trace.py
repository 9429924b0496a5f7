"""Which model, trained on what, approved by whom, scored this event? From the lake, the registry and the trail."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.integration.online_decisions import merge, read_captured
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.lake import Lake


@dataclass(frozen=True)
class Sighting:
    """One place where an event was scored. `said` is what stands there, by name; no version where the decision
    service had to do without a model."""

    where: str
    version: int | None
    said: Mapping[str, Any]


def sightings(
    lifecycle: LifecycleDeclaration,
    lake: Lake,
    captured: Path,
    event: str,
    day: date | None = None,
    decided: CapturedDecisions | None = None,
) -> list[Sighting]:
    """Where an event was scored: in batches and by the decision service, by its id or the request's, and by the
    endpoint, by the request id of a captured answer.

    `captured` is the folder of captured traffic, in the form of SageMaker's data capture; without a day all are
    looked through. Decisions are those of `online_decisions` and, of days that are not brought in yet, of `decided`.
    """
    batches = _in_batches(lifecycle, lake, event, day)
    return [*batches, *_decided(lifecycle, lake, decided, event, day), *_online(captured, event)]


def approvals_of(trail: Sequence[Mapping[str, Any]], version: int) -> list[Mapping[str, Any]]:
    """The entries by which a version came into service or was taken out of it."""
    return [entry for entry in trail if version in (entry["version"], entry.get("after"))]


def _in_batches(lifecycle: LifecycleDeclaration, lake: Lake, event: str, day: date | None) -> Iterator[Sighting]:
    name, id_column = lifecycle.name, lifecycle.dataset.id
    predictions, decisions = lake.table(name, "batch_predictions"), lake.table(name, "decisions")
    for when in [day] if day else predictions.days():
        if not predictions.has(when):
            continue
        chosen = pl.col(id_column).cast(pl.String) == event
        for row in predictions.read_day(when).filter(chosen).iter_rows(named=True):
            said = {"event": event, "time": row[lifecycle.dataset.time], "score": row["score"]}
            if decisions.has(when):
                decided = decisions.read_day(when).filter(chosen)
                kept = ("decision", "rule", "reason", "rules_version")
                said |= {column: decided[column][0] for column in kept if decided.height}
            yield Sighting(f"batch of {when}", int(row["model_version"]), said)


def _decided(
    lifecycle: LifecycleDeclaration, lake: Lake, decided: CapturedDecisions | None, event: str, day: date | None
) -> Iterator[Sighting]:
    name, identity = lifecycle.name, lifecycle.dataset.id
    table = lake.table(name, "online_decisions")
    present = set(table.days())
    captured = set(decided.days(name)) if decided is not None else set()
    chosen = (pl.col(identity).cast(pl.String) == event) | (pl.col("request_id") == event)
    for when in [day] if day else sorted(present | captured):
        rows = table.read_day(when) if when in present else None
        if decided is not None and when in captured:
            asked = event.encode()
            rows = merge(rows, read_captured(lifecycle, (li for li in decided.lines(name, when) if asked in li))[0])
        if rows is None:
            continue
        for row in rows.filter(chosen).iter_rows(named=True):
            kept = ("request_id", "decided_at", "score", "decision", "rule", "degraded", "rules_version", "decision_id")
            said = {"event": row[identity], "time": row[lifecycle.dataset.time], **{part: row[part] for part in kept}}
            yield Sighting(f"decision service, {when}", row["model_version"], said)


def _online(captured: Path, request: str) -> Iterator[Sighting]:
    for file in sorted(captured.rglob("*.jsonl")) if captured.is_dir() else []:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                # Most lines are about other requests: read only those that name this one.
                if request in line:
                    yield from _captured(line, request)


def _captured(line: str, request: str) -> Iterator[Sighting]:
    try:
        found = json.loads(line)
        about = found["eventMetadata"]
        answer = json.loads(found["captureData"]["endpointOutput"]["data"])
        version = int(answer["model_version"])
    except (ValueError, KeyError, TypeError):
        return
    if about.get("inferenceId") == request:
        said = {"request": request, "time": about.get("inferenceTime"), "scores": answer.get("scores")}
        yield Sighting("endpoint", version, said)
