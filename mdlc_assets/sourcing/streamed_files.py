"""Files that a stream's reader puts into the landing zone, and what of them is there already.

A file is named by the first and the last record in it, so a batch that is delivered again replaces what it wrote. One
that was cut otherwise the second time lies beside it; what both hold is one row.
"""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import PurePosixPath

_START, _ENDING = "stream-", ".jsonl"
_DIGITS = 20


def streamed_name(day: date, shard: str, first: str, last: str, kind: str) -> str:
    """The name of the file with the records from `first` to `last`; `kind` tells those of one batch apart."""
    return f"date={day.isoformat()}/{_START}{shard}-{first.zfill(_DIGITS)}-{last.zfill(_DIGITS)}-{kind}{_ENDING}"


def is_streamed(name: str) -> bool:
    """Whether a landed file came from a stream."""
    file = PurePosixPath(name).name
    return file.startswith(_START) and file.endswith(_ENDING)


def new_lines(content: bytes, delivered: set[bytes]) -> list[int]:
    """The places, from 0, of the lines that no file read before has; they count as delivered from now on."""
    found = []
    lines = [line for line in content.split(b"\n") if line.strip()]
    for place, line in enumerate(lines):
        mark = hashlib.blake2b(line, digest_size=16).digest()
        if mark not in delivered:
            delivered.add(mark)
            found.append(place)
    return found
