"""What an event leaves behind for each of its entities, as the online store keeps it.

An item is a row of 8-byte words, the same number for all items of one entity column: the instant, then for each
family over that column whether it counts the event, its values, and what it counts the different ones of (two words
each). A family that takes the label has values and kinds three times: for no label, for 0 and for 1. So a label that
becomes known later only says which of them hold, and nothing has to be computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.families import Family, families, once_for_each
from mdlc_assets.features.state import family_columns, value_matrix
from mdlc_assets.features.table import uses_label

_MICROSECOND = timedelta(microseconds=1)
_LABELS = (None, 0, 1)
_PLAIN = 15  # bytes of a kind that are kept as they are


@dataclass(frozen=True)
class FamilyWords:
    """Where a family's words stand in an item; `late` says that it takes the label."""

    family: Family
    first: int
    late: bool

    @property
    def assumed(self) -> tuple[int | None, ...]:
        """The labels for which values are kept, in order."""
        return _LABELS if self.late else (None,)

    @cached_property
    def width(self) -> int:
        """How many words there are for one assumed label."""
        return len(self.family.values) + 2 * len(self.family.kinds)

    @property
    def end(self) -> int:
        """The word after the last."""
        return self.first + 1 + self.width * len(self.assumed)


@dataclass(frozen=True)
class EntityItems:
    """The items of one entity column. Any of its windows begins at most `reach` before an instant and ends at least
    `delay` before it, in microseconds."""

    column: str
    families: tuple[FamilyWords, ...]
    reach: int
    delay: int

    @property
    def width(self) -> int:
        """Words of an item."""
        return self.families[-1].end


@once_for_each
def entity_items(lifecycle: LifecycleDeclaration) -> tuple[EntityItems, ...]:
    """The layout of items for each entity column that windows know."""
    found = []
    for column in dict.fromkeys(family.entity for family in families(lifecycle)):
        own = [family for family in families(lifecycle) if family.entity == column]
        first, places = 1, []
        for family in own:
            late = any(uses_label(lifecycle, c.value) for c in family.columns)
            places.append(FamilyWords(family, first, late))
            first = places[-1].end
        reach, delay = max(family.reach for family in own), min(family.delay for family in own) // _MICROSECOND
        found.append(EntityItems(column, tuple(places), reach, delay))
    return tuple(found)


def entity_values(lifecycle: LifecycleDeclaration, column: str, events: pl.DataFrame) -> pl.Series:
    """The entity of each event: whole numbers as they are, everything else as text."""
    whole = lifecycle.dataset.columns[column].type == "integer"
    return events[column].cast(pl.Int64() if whole else pl.String())


def item_words(lifecycle: LifecycleDeclaration, items: EntityItems, events: pl.DataFrame) -> np.ndarray:
    """The words of each event's item (int64, a row for each); attributes stand beside the events."""
    words = np.zeros((events.height, items.width), np.int64)
    numbers = words.view(np.float64)
    words[:, 0] = events[lifecycle.dataset.time].cast(pl.Int64).to_numpy()
    for place in items.families:
        family, at = place.family, place.first + 1
        if family.where:
            words[:, place.first] = events.select(pl.sql_expr(family.where).fill_null(False).alias("w"))["w"].to_numpy()
        else:
            words[:, place.first] = 1
        for label in place.assumed:
            assumed = events.with_columns(pl.lit(label, pl.Int8).alias(lifecycle.labels.column))
            rows = family_columns(lifecycle, family, assumed)
            numbers[:, at : at + len(family.values)] = value_matrix(rows, len(family.values)).T
            at += len(family.values)
            for i in range(len(family.kinds)):
                words[:, at : at + 2] = kind_words(rows[f"kind_{i}"])
                at += 2
    return words


def kind_words(kinds: Iterable[str | None]) -> np.ndarray:
    """Two words for each text that tell apart what is different; zeros for none."""
    made: dict[str | None, bytes] = {}
    parts = [
        found if (found := made.get(kind)) is not None else made.setdefault(kind, kind_word(kind)) for kind in kinds
    ]
    return np.frombuffer(b"".join(parts), np.int64).reshape(-1, 2)


def kind_word(kind: str | None) -> bytes:
    """Its 16 bytes: a short text itself behind its length, or a digest of a longer one."""
    if kind is None:
        return bytes(16)
    text = kind.encode()
    if len(text) <= _PLAIN:
        return bytes([len(text) + 1]) + text.ljust(_PLAIN, b"\0")
    return b"\xff" + hashlib.blake2b(text, digest_size=_PLAIN).digest()
