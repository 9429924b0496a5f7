"""Bodies for programs rather than people, and answers in the form the caller accepts.

    application/jsonlines       one object of features a line; `{"features": [..]}` gives them in order
    application/x-parquet       a file whose columns are the features, in any order
    application/x-npy           an array of shape (rows, features), in the order of the features
    text/csv; header=absent     lines of values in the order of the features, as SageMaker cuts files into requests

What comes by name is checked by name. What comes by position can only be counted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from mdlc_assets.deployment.payload import (
    CSV_WITHOUT_HEADER,
    MEDIA_TYPES,
    PayloadError,
    _numbers,
    _order,
    _refuse_cell,
    _refuse_constant,
    _rows_of_instances,
)

_ANY = ("*/*", "application/*")


def rows_of(kind: str, body: bytes, features: Sequence[str]) -> np.ndarray:
    """The body as float64 of shape (rows, features); a value that is not there is NaN. Raises `PayloadError`."""
    if not body.strip():
        raise PayloadError("the body is empty; send at least one row")
    reader = {
        "application/jsonlines": _rows_of_json_lines,
        "application/x-parquet": _rows_of_parquet,
        "application/x-npy": _rows_of_npy,
        CSV_WITHOUT_HEADER: _rows_of_bare_csv,
    }[kind]
    rows = reader(body, features)
    if not len(rows):
        raise PayloadError("the body holds no rows; send at least one")
    return rows


def _rows_of_json_lines(body: bytes, features: Sequence[str]) -> np.ndarray:
    instances = []
    for number, line in enumerate(body.splitlines()):
        if not line.strip():
            continue
        try:
            instances.append(json.loads(line, parse_constant=_refuse_constant))
        except PayloadError:
            raise
        except (ValueError, UnicodeDecodeError):
            raise PayloadError(f"line {number} is not JSON") from None
    if instances and all(isinstance(row, dict) and set(row) == {"features"} for row in instances):
        return _by_position([row["features"] for row in instances], features)
    return _rows_of_instances(instances, features)


def _by_position(rows: list[object], features: Sequence[str]) -> np.ndarray:
    cells = []
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(features):
            raise PayloadError(f"row {number} is not a list of {len(features)} values", field="features")
        cells.append(row)
    return _numbers(cells, features, "features")


def _rows_of_parquet(body: bytes, features: Sequence[str]) -> np.ndarray:
    try:
        frame = pl.read_parquet(io.BytesIO(body))
    except Exception:
        # Whatever the reader stumbled over, it is the caller's file; its words may quote what is in it.
        raise PayloadError("the body is not a Parquet file") from None
    _order(frame.columns, features, "the file")
    for name in features:
        if not (frame.schema[name].is_numeric() or frame.schema[name] in (pl.Boolean, pl.Null)):
            raise PayloadError(f"{name} is {frame.schema[name]}, not a number", field=name)
    return frame.select(pl.col(name).cast(pl.Float64) for name in features).fill_null(np.nan).to_numpy()


def _rows_of_npy(body: bytes, features: Sequence[str]) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except Exception:
        raise PayloadError("the body is not an NPY file of numbers") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise PayloadError("the body is not an NPY file of numbers")
    if array.ndim == 1:
        array = array.reshape(1, -1)
    if array.ndim != 2 or array.shape[1] != len(features):
        raise PayloadError(f"the array has the shape {array.shape}; the model needs (rows, {len(features)})")
    return array.astype(np.float64)


def _rows_of_bare_csv(body: bytes, features: Sequence[str]) -> np.ndarray:
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True) if line]
    except UnicodeDecodeError:
        raise PayloadError("the body is not UTF-8 text") from None
    except csv.Error:
        raise PayloadError("the body is not CSV: a quote is not closed, or a cell is far too long") from None
    table = np.empty((len(lines), len(features)))
    for number, row in enumerate(lines):
        if len(row) != len(features):
            raise PayloadError(f"row {number} has {len(row)} cells where the model needs {len(features)}")
        try:
            if "_" in "".join(row):
                raise ValueError
            table[number] = [float(cell) if cell.strip() else np.nan for cell in row]
        except ValueError:
            _refuse_cell(row, features, number)
    return table


def answer_type(accept: str) -> str:
    """The media type to answer in: the first acceptable one by the caller's preference. Raises `PayloadError` (406)."""
    if not accept.strip():
        return "application/json"
    choices = []
    for place, part in enumerate(accept.split(",")):
        kind, *options = (piece.strip().lower() for piece in part.split(";"))
        weight = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            choices.append((-float(weight), place, kind))
        except ValueError:
            raise PayloadError("the accept header is not understood", status=406, field="accept") from None
    for weighed, _, kind in sorted(choices):
        if weighed < 0 and kind in _ANY:
            return "application/json"
        if weighed < 0 and kind in (*MEDIA_TYPES, "text/*"):
            return "text/csv" if kind == "text/*" else kind
    raise PayloadError(f"no acceptable form; accept one of {', '.join(MEDIA_TYPES)}", status=406, field="accept")


def answer_of(kind: str, scores: Sequence[float]) -> bytes:
    """The scores in a media type other than JSON: a line, an element or a row each."""
    if kind == "text/csv":
        return "".join(f"{score!r}\n" for score in scores).encode()
    if kind == "application/jsonlines":
        return "".join(f'{{"score": {score!r}}}\n' for score in scores).encode()
    written = io.BytesIO()
    if kind == "application/x-npy":
        np.save(written, np.asarray(scores, dtype=np.float64), allow_pickle=False)
    else:
        pl.DataFrame({"score": scores}, schema={"score": pl.Float64}).write_parquet(written)
    return written.getvalue()
