"""The online store filled from the lake: the days within reach, each brought in again when its files change.

What was brought in is noted day by day, so a filling that was killed goes on where it stopped, and one that has
nothing to do costs only the reading. A filling never takes away what the stream brought of days that the lake does
not have yet; of a day that it has, exactly the events remain that the lake has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import KEPT, OnlineFeatures, Store, online_fingerprint
from mdlc_assets.features.state import microseconds
from mdlc_assets.resources.lake import DayAbsentError, Lake, LakeTable

_DAY = timedelta(days=1)


@dataclass
class Filling:
    """What a filling did."""

    through: date
    days: int = 0
    events: int = 0
    labels: int = 0
    removed: int = 0
    swept: int = 0


def fill_store(lifecycle: LifecycleDeclaration, lake: Lake, store: Store) -> Filling:
    """Bring the store to what the lake has. Raises `DayAbsentError` when the lake has no validated day."""
    validated = lake.table(lifecycle.name, "validated")
    present = validated.days()
    if not present:
        raise DayAbsentError(validated.folder, [lifecycle.dataset.start])
    filling = Filling(present[-1])
    first = present[-1] - timedelta(days=lifecycle.features.look_back_days()) - KEPT
    before = store.note(lifecycle.name) or {}
    note = _begin(lifecycle, store, before)
    online = OnlineFeatures(lifecycle, store, filling=True)
    for day in (day for day in present if day >= first):
        files = _files(lifecycle, lake, day)
        if note["days"].get(day.isoformat()) != files:
            _bring_in(lifecycle, lake, online, day, filling)
            note["days"][day.isoformat()] = files
            store.write_note(lifecycle.name, note)
    filling.swept = store.sweep(online.space, microseconds(first))
    note["days"] = {day: files for day, files in note["days"].items() if date.fromisoformat(day) >= first}
    note |= {"through": filling.through.isoformat(), "filling": False}
    for left in note.pop("left"):
        store.clear(f"{lifecycle.name}#{left}")
    store.write_note(lifecycle.name, {**note, "left": []})
    return filling


def _begin(lifecycle: LifecycleDeclaration, store: Store, before: dict[str, Any]) -> dict[str, Any]:
    """The note to go on from. Of another declaration nothing is taken over; its state goes when this one is whole."""
    declaration = online_fingerprint(lifecycle)
    if before.get("declaration") == declaration:
        return {"days": {}, "left": [], **before}
    left = [*before.get("left", ()), *([before["declaration"]] if before else ())]
    left = [name for name in dict.fromkeys(left) if name != declaration]
    store.clear(f"{lifecycle.name}#{declaration}")
    note = {"declaration": declaration, "filling": bool(before), "days": {}, "left": left}
    store.write_note(lifecycle.name, note)
    return note


def _tables(lifecycle: LifecycleDeclaration, lake: Lake) -> Iterator[LakeTable]:
    for name in ("validated", "labels", *lifecycle.dataset.attributes):
        yield lake.table(lifecycle.name, name)


def _files(lifecycle: LifecycleDeclaration, lake: Lake, day: date) -> list[str]:
    """What the files of a day are, so that a change shows."""
    return [table.digest([day])[:16] if table.has(day) else "" for table in _tables(lifecycle, lake)]


def _bring_in(lifecycle: LifecycleDeclaration, lake: Lake, online: OnlineFeatures, day: date, filling: Filling) -> None:
    dataset = lifecycle.dataset
    validated, labels, *attributes = _tables(lifecycle, lake)
    for feed, table in zip(dataset.attributes, attributes, strict=True):
        if table.has(day):
            online.learn_attributes(feed, table.read_day(day))
    events = validated.read_day(day)
    known = labels.read_day(day) if labels.has(day) else None
    online.fill(events, known)
    filling.labels += known.height if known is not None else 0
    there = online.store.ids(online.space, microseconds(day), microseconds(day + _DAY))
    gone = (
        pl.Series(there, dtype=events[dataset.id].dtype)
        .to_frame("id")
        .join(events.select(pl.col(dataset.id).alias("id")), on="id", how="anti")
    )
    filling.removed += online.store.remove(online.space, gone["id"].to_list())
    filling.days += 1
    filling.events += events.height
