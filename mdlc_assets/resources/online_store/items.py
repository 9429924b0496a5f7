"""What lies in the online store, in either form, and how it is ordered.

A *space* is the state of one lifecycle under one declaration. In it, an entity has a partition with an item for each
of its events, ordered by instant and id. So the state is a set: an event that is delivered again falls on its own
item, and one that comes late falls into its place. Beside them each event has a *locator* under its id: where its
items lie and what its label is. A label finds its event by it, and an event its label, whichever came first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

Entity = int | str
Identity = int | str
Place = tuple[str, Entity]
"""The partition of an item: the dataset's column that names the entity, and the entity."""

NO_LABEL = 0
"""The mark of an item without a label; with one it is the label and 1."""

_OFFSET = 1 << 63


class StoreAwayError(ConnectionError):
    """The online store did not answer within its time."""


@dataclass(frozen=True)
class EventItems:
    """An event as the store holds it: for each of its entities the bytes that features need of it.

    `due` is when a label must be known at the latest to count; instants are microseconds since 1970. `kept` is for
    how many microseconds an event can be asked for.
    """

    id: Identity
    instant: int
    due: int
    items: dict[Place, bytes]
    kept: int = 0


@dataclass(frozen=True)
class Label:
    """What became known of an event (None: nothing), and when; `known_at` None: in time."""

    id: Identity
    label: int | None
    known_at: int | None


Row = tuple[bytes, bytes, int]
"""Of an item of an entity: its key, its bytes, and the mark of its label."""


def key_of(instant: int, identity: Identity) -> bytes:
    """Bytes that are ordered as instant and id are."""
    if isinstance(identity, int):
        return struct.pack(">QQ", instant + _OFFSET, identity + _OFFSET)
    return struct.pack(">Q", instant + _OFFSET) + identity.encode()


def edge_of(instant: int) -> bytes:
    """What comes before all keys of an instant and after those of earlier ones."""
    return struct.pack(">Q", instant + _OFFSET)


def mark_of(label: int | None, known_at: int | None, due: int) -> int:
    """How an item carries its label: one that came too late never counts."""
    if label is None or (known_at is not None and known_at >= due):
        return NO_LABEL
    return label + 1
