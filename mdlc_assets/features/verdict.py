"""Whether a day's features may be scored: what the blocking checks say, and whoever reads them in another run."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

_MEND = "Mend: give the expression a value where there is none, as in coalesce(credit_limit, 0)."


def incomplete(frame: pl.DataFrame, events: int) -> str:
    """What is wrong where the rows are not those of the day's validated events; nothing when they are as many."""
    return "" if frame.height == events else f"{frame.height} rows for {events} events"


def not_finite(frame: pl.DataFrame, names: Sequence[str]) -> str:
    """Which of the named features are missing or infinite somewhere, and the mend."""
    bad = [name for name in names if not frame[name].is_finite().fill_null(False).all()]
    return f"missing or infinite values in {', '.join(bad)}. {_MEND}" if bad else ""
