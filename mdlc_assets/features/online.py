"""Features in real time: what is learnt of events goes into the online store, and what is asked follows from it.

The store holds a set of events for each entity (see resources/online_store/items.py), so it makes no difference in
which order events and labels are learnt, or how often. What is asked is answered as of the event's own instant,
whatever the store knows of later ones, by the same arithmetic as the feature table's.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.entity_items import EntityItems, FamilyWords, entity_items, entity_values, item_words
from mdlc_assets.features.row_expressions import AskPolarsError
from mdlc_assets.features.single_event import EventReader, OwnItem, RowFeatures, microseconds_of
from mdlc_assets.features.state import StateMismatchError, rows_of
from mdlc_assets.features.table import finished_table
from mdlc_assets.features.windows import column_settings
from mdlc_assets.resources.online_store.items import (
    NO_LABEL,
    Entity,
    EventItems,
    Identity,
    Label,
    Row,
    StoreAwayError,
    key_of,
)
from mdlc_assets.sourcing.cells import INSTANT, TYPES

__all__ = ["OnlineFeatures", "Store", "StoreAwayError", "online_fingerprint"]

_DAY, _MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS = ("dataset", "labels", "features")
_VERSION = "1"
KEPT = timedelta(days=7)
"""For so long after, features as of an event can still be asked: of one that comes late, by who compares."""


class Store(Protocol):
    """What is asked of an online store; each call may raise `StoreAwayError`."""

    def put(self, space: str, events: Sequence[EventItems]) -> None: ...

    def fill(self, space: str, events: Sequence[EventItems], labels: Mapping[Identity, Label]) -> None: ...

    def put_labels(self, space: str, labels: Sequence[Label], *, replace: bool = False) -> None: ...

    def query(self, space: str, column: str, entity: Entity, after: int, until: int) -> list[Row]: ...

    def put_versions(self, space: str, feed: str, versions: Iterable[tuple[Entity, int, str]]) -> None: ...

    def version(self, space: str, feed: str, entity: Entity, instant: int) -> str | None: ...

    def ids(self, space: str, first: int, last: int) -> list[Identity]: ...

    def remove(self, space: str, ids: Iterable[Identity]) -> int: ...

    def sweep(self, space: str, before: int) -> int: ...

    def clear(self, space: str) -> None: ...

    def newest(self, space: str) -> int | None: ...

    def note(self, name: str) -> dict[str, Any] | None: ...

    def write_note(self, name: str, content: dict[str, Any]) -> None: ...


def online_fingerprint(lifecycle: LifecycleDeclaration) -> str:
    """Of the parts of a declaration that the store's items follow from, and of their own form."""
    return f"{lifecycle.fingerprint(*_PARTS)}-{_VERSION}"


class OnlineFeatures:
    """Learns events and labels of a lifecycle, and gives features, through a store.

    Raises `StateMismatchError` where the store was filled from another declaration, `StoreAwayError` when it does
    not answer.
    """

    def __init__(self, lifecycle: LifecycleDeclaration, store: Store, *, filling: bool = False) -> None:
        """`filling` is for who fills the store from the lake: to others one that is not whole is no store yet."""
        self.lifecycle, self.store, self._filling = lifecycle, store, filling
        self.space = f"{lifecycle.name}#{online_fingerprint(lifecycle)}"
        self._ready = False
        names = [column.name for column in lifecycle.features.window_columns()]
        self._entities = [_EntityAnswers(lifecycle, items, names) for items in entity_items(lifecycle)]
        self._windowed, self._first = names, len(lifecycle.features.rows)
        self._time, self._id = lifecycle.dataset.time, lifecycle.dataset.id
        attributes = lifecycle.dataset.attributes.items()
        self._attribute_names = [(feed, known.entity, list(known.columns)) for feed, known in attributes]
        self._reader, self._row_features = EventReader(lifecycle), RowFeatures(lifecycle)

    def learn(self, events: pl.DataFrame) -> None:
        """Take events in, in any order and any number of times. Attributes that do not stand beside them are
        those that the store knows as of their instants."""
        self._check()
        for part in events.iter_slices(5_000):
            self.store.put(self.space, self._event_items(self.with_attributes(part)))

    def fill(self, events: pl.DataFrame, labels: pl.DataFrame | None) -> None:
        """Take in events with the labels that are known of them, both as the lake has them: what the store had of
        them is replaced. None: no labels are there, and those that the store has stay."""
        self._check()
        events = self.with_attributes(events)
        if labels is None:
            self.learn(events)
            return
        identity = self.lifecycle.dataset.id
        for part in events.iter_slices(5_000):
            own = labels.join(part.select(identity), on=identity, how="semi")
            known = {label.id: label for label in labels_of(self.lifecycle, own)}
            self.store.fill(self.space, self._event_items(part), known)

    def learn_labels(self, labels: pl.DataFrame) -> None:
        """Take labels in, with `known_at` where it is there: before or after their events, any number of times.

        As in the feature table, one that was known only after its time never counts.
        """
        self._check()
        known = labels.filter(pl.col(self.lifecycle.labels.column).is_not_null())
        for part in known.iter_slices(5_000):
            self.store.put_labels(self.space, labels_of(self.lifecycle, part))

    def learn_attributes(self, feed: str, versions: pl.DataFrame) -> None:
        """Take in what is known of entities and from when on: entity, `known_at`, the columns of the feed."""
        self._check()
        known = self.lifecycle.dataset.attributes[feed]
        entities = entity_values(self.lifecycle, known.entity, versions).to_list()
        instants = versions["known_at"].cast(pl.Int64).to_list()
        contents = [json.dumps(row) for row in versions.select(_plain(versions, known.columns)).rows()]
        self.store.put_versions(self.space, feed, zip(entities, instants, contents, strict=True))

    def features(self, events: pl.DataFrame) -> pl.DataFrame:
        """The rows of the feature table for events, in their order, each as of its own instant.

        An event counts in its own windows, whether or not it was learnt already; the others of `events` only once
        they were learnt.
        """
        self._check()
        events = self.with_attributes(events)
        instants = events[self.lifecycle.dataset.time].cast(pl.Int64).to_list()
        ids = events[self.lifecycle.dataset.id].to_list()
        found = np.empty((events.height, len(self._windowed)))
        for answers in self._entities:
            entities = entity_values(self.lifecycle, answers.items.column, events).to_list()
            words = item_words(self.lifecycle, answers.items, events)
            size = 8 * answers.items.width
            content = words.tobytes()
            for i, (instant, entity) in enumerate(zip(instants, entities, strict=True)):
                rows = self._rows(answers.items, entity, instant)
                answers.fill(rows, instant, ids[i], content[i * size : (i + 1) * size], entity, found[i])
        windowed = pl.DataFrame(found, schema=self._windowed) if self._windowed else pl.DataFrame()
        return finished_table(self.lifecycle, events, windowed)

    def features_of(self, event: Mapping[str, Any]) -> np.ndarray:
        """The features of one event, in the order of `lifecycle.features.names()`; NaN where there is none.

        The columns of the event have Python's types for theirs; attributes that it lacks are those that the store
        knows. Raises `TypeError` for another type.
        """
        if not self._ready:
            self._check()
        values = self._reader.read(event)
        instant = microseconds_of(values[self._time])
        for feed, entity, names in self._attribute_names:
            if any(name not in event for name in names):
                values |= self._attribute_values(feed, values[entity], instant)
        first, out = self._first, np.empty(self._first + len(self._windowed))
        try:
            for answers in self._entities:
                own = answers.own
                if own is None:
                    return self._features_of_frame(values)
                item = own.make(values, instant) if own.needed else None
                entity = values[answers.items.column]
                answers.fill(
                    self._rows(answers.items, entity, instant), instant, values[self._id], item, entity, out[first:]
                )
            if first:
                out[:first] = self._row_features.compute(values, out[first:].tolist())
        except AskPolarsError:
            return self._features_of_frame(values)
        return out

    def _features_of_frame(self, values: Mapping[str, Any]) -> np.ndarray:
        """The same through a frame of one row, for what is left to Polars."""
        found = self.features(self._reader.frame(values))
        return found.select(self.lifecycle.features.names()).to_numpy()[0]

    def with_attributes(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events with the attributes of their entities beside them, as of their instants; null where none is known."""
        for feed, known in self.lifecycle.dataset.attributes.items():
            if all(name in events.columns for name in known.columns):
                continue
            entities = entity_values(self.lifecycle, known.entity, events).to_list()
            instants = events[self.lifecycle.dataset.time].cast(pl.Int64).to_list()
            rows = [self._attributes(feed, *asked) for asked in zip(entities, instants, strict=True)]
            types = {name: TYPES[column.type] for name, column in known.columns.items()}
            stored = {name: pl.Int64() if kind == INSTANT else kind for name, kind in types.items()}
            found = pl.DataFrame(rows, schema=stored, orient="row").cast(types)  # type: ignore[arg-type]
            events = pl.concat([events.drop(known.columns, strict=False), found], how="horizontal")
        return events

    def _attributes(self, feed: str, entity: Entity | None, instant: int) -> list[Any]:
        text = None if entity is None else self.store.version(self.space, feed, entity, instant)
        return [None] * len(self.lifecycle.dataset.attributes[feed].columns) if text is None else json.loads(text)

    def _attribute_values(self, feed: str, entity: Any, instant: int) -> dict[str, Any]:
        """The attributes of an entity with their Python types."""
        columns = self.lifecycle.dataset.attributes[feed].columns
        found = dict(zip(columns, self._attributes(feed, entity, instant), strict=True))
        for name, value in found.items():
            if columns[name].type == "timestamp" and value is not None:
                found[name] = _EPOCH + value * _MICROSECOND
        return found

    def _rows(self, items: EntityItems, entity: Entity | None, instant: int) -> list[Row]:
        if entity is None:
            return []
        return self.store.query(self.space, items.column, entity, instant - items.reach, instant - items.delay)

    def _event_items(self, events: pl.DataFrame) -> list[EventItems]:
        dataset = self.lifecycle.dataset
        instants = events[dataset.time].cast(pl.Int64).to_list()
        kept = (self.lifecycle.features.look_back() + KEPT) // _MICROSECOND
        found = [
            EventItems(identity, instant, due_of(self.lifecycle, instant), {}, kept)
            for identity, instant in zip(events[dataset.id].to_list(), instants, strict=True)
        ]
        for answers in self._entities:
            items = answers.items
            content, size = item_words(self.lifecycle, items, events).tobytes(), 8 * items.width
            for i, entity in enumerate(entity_values(self.lifecycle, items.column, events).to_list()):
                if entity is not None:
                    found[i].items[items.column, entity] = content[i * size : (i + 1) * size]
        return found

    def _check(self) -> None:
        """Once: that the store is of this declaration. One that is new takes it on."""
        if self._ready:
            return
        declaration, noted = online_fingerprint(self.lifecycle), self.store.note(self.lifecycle.name)
        if noted is None:
            self.store.write_note(self.lifecycle.name, {"declaration": declaration})
        elif noted["declaration"] != declaration:
            raise StateMismatchError(
                f"the online store of {self.lifecycle.name} was filled from declaration {noted['declaration']}, and "
                f"the present one is {declaration}. Mend: materialise online_features."
            )
        elif noted.get("filling") and not self._filling:
            raise StateMismatchError(
                f"the online store of {self.lifecycle.name} is being filled for declaration {declaration}. "
                "Mend: wait until online_features is materialised; if that failed, materialise it again."
            )
        self._ready = True


class _EntityAnswers:
    """Says what the windows over one entity column hold at an instant."""

    def __init__(self, lifecycle: LifecycleDeclaration, items: EntityItems, names: Sequence[str]) -> None:
        self.items = items
        self.families = [_FamilyAnswers(place, names) for place in items.families]
        self.own: OwnItem | None
        try:
            self.own = OwnItem(lifecycle, items)
        except LookupError:
            self.own = None

    def fill(
        self,
        rows: list[Row],
        instant: int,
        identity: Identity,
        own: bytes | None,
        entity: Entity | None,
        out: np.ndarray,
    ) -> None:
        """Writes the columns of an event into `out`. `own` is its item, None where no window holds it; `rows` are
        those of its entity, among which its own gives way to `own`, but for its label."""
        if entity is None:
            for family in self.families:
                out[family.at] = family.defaults
            return
        keys, parts, marks = zip(*rows, strict=True) if rows else ((), (), ())
        if own is not None:
            key = key_of(instant, identity)
            place = bisect_left(keys, key)
            there = place < len(keys) and keys[place] == key
            mark = marks[place] if there else NO_LABEL
            parts = (*parts[:place], own, *parts[place + there :])
            marks = (*marks[:place], mark, *marks[place + there :])
        words = np.frombuffer(b"".join(parts), np.int64).reshape(len(parts), self.items.width)
        numbers, labels = words.view(np.float64), np.frombuffer(bytes(marks), np.uint8)
        for family in self.families:
            family.fill(instant, words, numbers, labels, out)


class _FamilyAnswers:
    """Says what the windows of one family hold at an instant."""

    def __init__(self, place: FamilyWords, names: Sequence[str]) -> None:
        family = place.family
        places = [names.index(column.name) for column in family.columns]
        together = places == list(range(places[0], places[0] + len(places)))
        self.at = slice(places[0], places[0] + len(places)) if together else np.array(places)
        spans, columns, scales, self.defaults = column_settings(family.columns, family.values, family.scales)
        kinds = [family.kinds.index(str(c.value)) if c.aggregation == "distinct_count" else -1 for c in family.columns]
        self.place = (place.first, place.late, len(family.values), len(family.kinds), rows_of(family))
        self.settings = (spans, columns, np.array(kinds, np.int64), scales, self.defaults)

    def fill(self, time: int, words: np.ndarray, numbers: np.ndarray, marks: np.ndarray, out: np.ndarray) -> None:
        """Writes the family's columns into `out`."""
        from mdlc_assets.features import event_kernels

        if isinstance(self.at, slice):
            event_kernels.item_columns(time, words, numbers, marks, *self.place, *self.settings, out[self.at])
            return
        found = np.empty(len(self.at))
        event_kernels.item_columns(time, words, numbers, marks, *self.place, *self.settings, found)
        out[self.at] = found


def due_of(lifecycle: LifecycleDeclaration, instant: int) -> int:
    """When a label must be known to count: before the end of the day on which its delay is over."""
    day = _DAY // _MICROSECOND
    return (instant // day + lifecycle.labels.delay // _DAY + 1) * day


def labels_of(lifecycle: LifecycleDeclaration, labels: pl.DataFrame) -> list[Label]:
    """Labels as the store takes them; null says that none is known."""
    identity, label = lifecycle.dataset.id, lifecycle.labels.column
    if not labels[label].drop_nulls().is_in([0, 1]).all():
        raise ValueError(f"labels in column {label!r} are 0 or 1. Mend: leave out those that are not known yet.")
    known = labels["known_at"].cast(pl.Int64) if "known_at" in labels.columns else pl.Series([None] * labels.height)
    rows = zip(labels[identity].to_list(), labels[label].to_list(), known.to_list(), strict=True)
    return [Label(*row) for row in rows]


def _plain(versions: pl.DataFrame, columns: Iterable[str]) -> list[pl.Expr]:
    """Columns as JSON can hold them: instants as microseconds."""
    return [pl.col(name).cast(pl.Int64) if versions[name].dtype == INSTANT else pl.col(name) for name in columns]
