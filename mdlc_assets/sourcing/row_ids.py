"""Ids for rows that come without one."""

from __future__ import annotations

import hashlib

import polars as pl

_DIGITS = 16


def row_ids(frame: pl.DataFrame) -> pl.Series:
    """Sixteen hex digits for each row, from what stands in it.

    The same row gets the same id whenever it comes and wherever in the file it stands. Rows that are equal throughout
    are told apart by counting them.
    """
    cells = [pl.col(name).cast(pl.String).fill_null("\x00") for name in frame.columns]
    texts = frame.select(text=pl.concat_str(cells, separator="\x1f"))
    numbered = texts.with_columns(number=pl.int_range(pl.len()).over("text"))
    return pl.Series(
        "id",
        [hashlib.sha256(f"{number}\x1e{text}".encode()).hexdigest()[:_DIGITS] for text, number in numbered.iter_rows()],
        dtype=pl.String,
    )
