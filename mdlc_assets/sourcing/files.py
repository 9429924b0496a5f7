"""Bytes of a landed file to a frame: Parquet as typed, CSV and JSON lines as text to be read later."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

# Damaged Parquet pages can make Polars panic, which is not an `Exception`.
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class LandingError(ValueError):
    """A landed file that cannot be used: which file, which field of it, what is wrong, what to do."""

    def __init__(self, file: str, field: str, message: str, mend: str) -> None:
        self.file, self.field, self.message, self.mend = file, field, message, mend
        super().__init__(f"{file}: {field}: {message}. Mend: {mend}.")


def read_file(name: str, content: bytes) -> pl.DataFrame:
    """The rows of a landed file, in file order.

    Parquet keeps its types. CSV (comma, semicolon, tab or bar; also gzipped) and JSON lines give String
    columns with the text as it stood, null where nothing stood. Raises `LandingError`.
    """
    if not content:
        raise LandingError(name, "(file)", "the file is empty, 0 bytes", "send the file again")
    ending = name.lower()
    if ending.endswith(".gz"):
        content, ending = _unzip(name, content), ending.removesuffix(".gz")
    for suffix, read in _READERS.items():
        if ending.endswith(suffix):
            return read(name, content)
    raise LandingError(name, "(file)", "the kind of file is unknown", f"use one of {', '.join([*_READERS, '.csv.gz'])}")


def _unzip(name: str, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise LandingError(
            name, "(file)", f"the gzip data is damaged or cut off ({error})", "send the file again"
        ) from None


def _read_parquet(name: str, content: bytes) -> pl.DataFrame:
    # A whole file starts and ends with the same four bytes.
    if not (content.startswith(b"PAR1") and content.endswith(b"PAR1") and len(content) > 12):
        what = "is cut off" if content.startswith(b"PAR1") else "is not Parquet"
        raise LandingError(name, "(file)", f"the file {what}", "write it again as one whole Parquet file")
    try:
        return pl.read_parquet(io.BytesIO(content), hive_partitioning=False)
    except _UNREADABLE as error:
        raise LandingError(
            name, "(file)", f"the Parquet data is damaged ({_first_line(error)})", "send the file again"
        ) from None


def _read_csv(name: str, content: bytes) -> pl.DataFrame:
    text = content.removeprefix(b"\xef\xbb\xbf")
    header = text.split(b"\n", 1)[0].strip()
    if b"\x00" in text[:4096] or not header:
        raise _not_csv(name)
    try:
        heading = header.decode("utf-8")
        names = next(csv.reader([heading], delimiter=_separator(heading)), [])
    except UnicodeDecodeError:
        raise _not_utf8(name, text) from None
    except csv.Error:
        raise _not_csv(name) from None
    repeated = sorted({column for column in names if names.count(column) > 1})
    if repeated:
        raise LandingError(name, ", ".join(repeated), "the header names this column twice", "give each column one name")
    try:
        return pl.read_csv(
            text,
            separator=_separator(heading),
            infer_schema=False,
        )
    except _UNREADABLE as error:
        if "utf-8" in str(error).lower():
            raise _not_utf8(name, text) from None
        _refuse_ragged(name, text.decode("utf-8"), len(names))
        raise LandingError(
            name, "(file)", f"the CSV cannot be read ({_first_line(error)})", "correct or send it again"
        ) from None


def _refuse_ragged(name: str, text: str, columns: int) -> None:
    """The first line with more cells than the header names."""
    rows = csv.reader(io.StringIO(text), delimiter=_separator(text.split("\n", 1)[0]))
    try:
        wide = next((len(row), rows.line_num) for row in rows if len(row) > columns)
    except (StopIteration, csv.Error):
        return
    cells, line = wide
    raise LandingError(
        name,
        f"line {line}",
        f"it has {cells} cells, and the header names {columns} columns",
        "put text that holds the separator in double quotes",
    ) from None


def _not_utf8(name: str, text: bytes) -> LandingError:
    """Where the first bytes stand that are no UTF-8, and what programs call what is wanted."""
    try:
        text.decode("utf-8")
        line = "(file)"
    except UnicodeDecodeError as error:
        line = f"line {text.count(bytes([10]), 0, error.start) + 1}"
    return LandingError(
        name, line, "this is not text in UTF-8", "save it as UTF-8 (in Excel: CSV UTF-8), not as Latin-1 or UTF-16"
    )


def _separator(heading: str) -> str:
    return max(",;\t|", key=heading.count)


def _not_csv(name: str) -> LandingError:
    return LandingError(
        name,
        "(file)",
        "this is not CSV text in UTF-8 with a header line",
        "write it as CSV with the column names in the first line",
    )


def _read_json_lines(name: str, content: bytes) -> pl.DataFrame:
    rows = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        row = read_object(line)
        if row is None:
            raise LandingError(
                name, f"line {number}", "this is not one JSON object", "write one whole object on each line"
            )
        rows.append(row)
    frame = frame_of_objects(rows)
    if not frame.columns:
        raise LandingError(name, "(file)", "there is no JSON object in the file", "send the file again")
    return frame


def read_object(text: bytes) -> dict[str, Any] | None:
    """A JSON object whose numbers stay text, so that what cannot be read as its type is shown as it stood.

    None for anything else.
    """
    try:
        row: Any = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def frame_of_objects(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Objects of `read_object` as rows of text; null where one lacks what others have."""
    names = sorted(set().union(*rows))
    return pl.DataFrame(
        {name: [_as_text(row.get(name)) for row in rows] for name in names}, schema=dict.fromkeys(names, pl.String)
    )


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


_READERS: dict[str, Callable[[str, bytes], pl.DataFrame]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
