"""Rows of a file as records for a stream."""

from __future__ import annotations

from typing import Any

import orjson

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.sourcing.files import read_file
from mdlc_assets.sourcing.mapping import find_layout, layouts


def entries_of_file(lifecycle: LifecycleDeclaration, name: str, content: bytes) -> list[tuple[str, bytes]]:
    """Each row under its partition key, in file order, with the names and values that stand in the file.

    Cells with nothing in them are left out. Raises `LandingError`.
    """
    frame = read_file(name, content)
    layout = find_layout(name, frame.columns, layouts(lifecycle))
    declared = lifecycle.stream.key if lifecycle.stream else None
    theirs = layout.names.get(declared or lifecycle.dataset.id)
    return [_entry(row, theirs) for row in frame.iter_rows(named=True)]


def _entry(row: dict[str, Any], column: str | None) -> tuple[str, bytes]:
    data = orjson.dumps({key: value for key, value in row.items() if value is not None}, default=str)
    key = row.get(column) if column else None
    # Without a key of its own an event goes where its content says, so that it goes there again when sent again.
    return str(key) if key not in (None, "") else orjson.dumps(row, default=str).hex()[:64], data
