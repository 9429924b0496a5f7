"""What lets hundreds of lifecycles load in seconds: Dagster's own work, done once instead of for each of them."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Iterator

# New objects before the youngest are looked through, and how many such rounds before older ones are.
_SELDOM = (50_000, 50, 100)


@contextlib.contextmanager
def kept_for_good() -> Iterator[None]:
    """No looking for garbage while definitions are made, which live as long as the process, and more seldom after it.

    To look through them again and again while they grow takes a fifth of the time that hundreds of lifecycles need;
    a code server then makes thousands of jobs of them, which live as long.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(*_SELDOM)


@contextlib.contextmanager
def types_resolved_once() -> Iterator[None]:
    """What Dagster makes of a type is kept while definitions are made.

    It looks the same few types up anew for each input and output, twenty thousand times for a hundred lifecycles: a
    tenth of the time. A version of Dagster that has no such function, or calls it otherwise, just takes that longer.
    """
    from dagster._core.types import dagster_type

    plain, name = getattr(dagster_type, "resolve_dagster_type", None), "resolve_dagster_type"
    if plain is None:
        yield
        return
    known = functools.cache(plain)
    spaces = [space for one in list(sys.modules.values()) if (space := getattr(one, "__dict__", {})).get(name) is plain]
    try:
        for space in spaces:
            space[name] = known
        yield
    finally:
        for space in spaces:
            space[name] = plain
