"""Reads landed files of three formats into frames, with errors that name the file and the mend."""

from __future__ import annotations

import gzip
import io

import polars as pl

FORMATS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".ndjson")


class LandingError(ValueError):
    """A landed file that cannot be used: `file`, `field` (or empty), and how to mend it."""

    def __init__(self, file: str, message: str, mend: str, field: str = "") -> None:
        self.file, self.field = file, field
        super().__init__(f"{file}{': column ' + repr(field) if field else ''}: {message}. Mend: {mend}.")


def read_file(name: str, content: bytes) -> pl.DataFrame:
    """The rows of a file. Text formats give text columns, since types are the declaration's matter.

    Raises `LandingError` for an empty, broken or unknown file.
    """
    lowered = name.lower()
    if not lowered.endswith(FORMATS):
        raise LandingError(name, "the format is not known", f"send one of {', '.join(FORMATS)}")
    if not content.strip():
        raise LandingError(name, "the file is empty", "send it again; a day without events needs its columns")
    try:
        if lowered.endswith(".parquet"):
            return pl.read_parquet(io.BytesIO(content), hive_partitioning=False)
        if lowered.endswith(".gz"):
            content = gzip.decompress(content)
        if ".csv" in lowered:
            return pl.read_csv(io.BytesIO(content), infer_schema=False)
        return pl.read_ndjson(io.BytesIO(content), infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0][:120]
        raise LandingError(
            name, f"the file is broken or cut short ({first_line})", "send the whole file again"
        ) from None
