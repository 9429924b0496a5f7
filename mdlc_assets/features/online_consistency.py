"""Whether a decision in real time reads the numbers that the model was trained on: a day's events asked again.

Each sampled event is asked of the online store as decisions ask, as of its own instant, and held against its row of
`features`: counts exactly, everything else to one part in a thousand million.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import KEPT, OnlineFeatures, Store, online_fingerprint
from mdlc_assets.features.state import microseconds
from mdlc_assets.resources.lake import DayAbsentError, Lake

SAMPLED = 500
"""So many events of a day are asked; of a smaller day all."""
CLOSE = 1e-9
_EXACT = frozenset({"count", "distinct_count"})
_EXAMPLES = 5
_DAY = timedelta(days=1)


@dataclass
class Difference:
    """What was found of one feature. `examples` are ids of events, never values."""

    exact: bool
    different: int = 0
    greatest: float = 0.0
    examples: list[Any] = field(default_factory=list)


@dataclass
class Consistency:
    """A day's comparison. `skipped` says why nothing was compared."""

    day: date
    events: int = 0
    sampled: int = 0
    features: dict[str, Difference] = field(default_factory=dict)
    skipped: str = ""

    @property
    def wrong(self) -> dict[str, Difference]:
        """The features that differ anywhere."""
        return {name: one for name, one in self.features.items() if one.different}

    def document(self) -> dict[str, Any]:
        """What the lake keeps."""
        return {**asdict(self), "day": self.day.isoformat(), "different": sum(d.different for d in self.wrong.values())}


def not_comparable(lifecycle: LifecycleDeclaration, store: Store, day: date) -> str:
    """Why the store cannot answer for a day; empty when it can."""
    note = store.note(lifecycle.name)
    if note is None:
        return "there is no online store yet. Mend: materialise online_features"
    if note["declaration"] != online_fingerprint(lifecycle):
        return "the online store was filled from another declaration. Mend: materialise online_features"
    if note.get("filling"):
        return "the online store is being filled. Mend: materialise online_features to its end"
    through = note.get("through")
    newest = store.newest(OnlineFeatures(lifecycle, store).space)
    if newest is None:
        return "the online store is empty. Mend: materialise online_features"
    # By the lake or by the stream: an event of the day or later is there.
    if newest < microseconds(day) and (through is None or date.fromisoformat(through) < day):
        return f"the online store ends before {day}. Mend: materialise online_features"
    if through is not None and day < date.fromisoformat(through) - KEPT:
        return f"events that {day} reaches back to are no longer in the online store"
    return ""


def compare_day(
    lifecycle: LifecycleDeclaration, lake: Lake, store: Store, day: date, most: int = SAMPLED
) -> Consistency:
    """Ask the store for a day's events, and compare. Raises `DayAbsentError`, `StoreAwayError`."""
    table = lake.table(lifecycle.name, "features")
    absent = "" if table.has(day) else "the day has no features yet"
    found = Consistency(day, skipped=absent or not_comparable(lifecycle, store, day))
    if found.skipped:
        return found
    identity, names = lifecycle.dataset.id, lifecycle.features.names()
    events = lake.table(lifecycle.name, "validated").read_day(day)
    rows = table.read_day(day).select(identity, *names)
    found.events = events.height
    # The same events whenever the day is compared, others on another day.
    chosen = events.sample(min(most, events.height), seed=day.toordinal())
    # What a caller sends; attributes of entities are the store's to know.
    asked = chosen.select(name for name in lifecycle.dataset.columns if name in chosen.columns)
    expected = chosen.select(identity).join(rows, on=identity, how="left", maintain_order="left")
    if len(lacking := chosen.join(rows, on=identity, how="anti")):
        raise DayAbsentError(f"{table.folder} ({len(lacking)} events of {day})", [day])
    exact = {c.name for c in lifecycle.features.window_columns() if c.aggregation in _EXACT}
    found.features = {name: Difference(name in exact) for name in names}
    found.sampled = chosen.height
    online = OnlineFeatures(lifecycle, store)
    offline = expected.select(pl.col(names).cast(pl.Float64)).rows()
    for event, right in zip(asked.iter_rows(named=True), offline, strict=True):
        for name, here, there in zip(names, online.features_of(event).tolist(), right, strict=True):
            _compare(found.features[name], event[identity], here, math.nan if there is None else there)
    return found


def _compare(so_far: Difference, identity: Any, online: float, offline: float) -> None:
    if online == offline or (math.isnan(online) and math.isnan(offline)):
        return
    apart = abs(online - offline)
    if math.isnan(apart):
        apart = math.inf
    if so_far.exact or not math.isclose(online, offline, rel_tol=CLOSE, abs_tol=CLOSE):
        so_far.different += 1
        if len(so_far.examples) < _EXAMPLES:
            so_far.examples.append(identity)
    so_far.greatest = max(so_far.greatest, apart)


@dataclass(frozen=True)
class Freshness:
    """How far the store is: behind the lake in days, behind now in seconds. `days` are events in lake and store."""

    absent: str = ""
    through: date | None = None
    lake_through: date | None = None
    newest: int | None = None
    days: dict[date, tuple[int, int]] = field(default_factory=dict)

    @property
    def days_behind(self) -> list[date]:
        """Days of which the lake has more events than the store."""
        return [day for day, (lake, store) in self.days.items() if store < lake]

    def behind_now(self, now_seconds: float) -> float | None:
        """Seconds since the newest event's instant."""
        return None if self.newest is None else now_seconds - self.newest / 1e6


def freshness(lifecycle: LifecycleDeclaration, lake: Lake, store: Store, days: int = 14) -> Freshness:
    """What the store has of the lake's last days. Raises `StoreAwayError`."""
    note = store.note(lifecycle.name)
    if note is None or note["declaration"] != online_fingerprint(lifecycle):
        of_another = "the online store was filled from another declaration"
        return Freshness(absent=of_another if note else "there is no online store yet")
    validated = lake.table(lifecycle.name, "validated")
    present = validated.days()[-days:]
    space = OnlineFeatures(lifecycle, store, filling=True).space
    counts = {
        day: (
            validated.read_day(day, [lifecycle.dataset.id]).height,
            len(store.ids(space, microseconds(day), microseconds(day + _DAY))),
        )
        for day in present
    }
    through = note.get("through")
    return Freshness(
        through=date.fromisoformat(through) if through else None,
        lake_through=present[-1] if present else None,
        newest=store.newest(space),
        days=counts,
    )
