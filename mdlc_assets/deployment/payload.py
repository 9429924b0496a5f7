"""The rows in a request's body, read by name and checked, with errors that name the field.

These media types are read here, those of `bodies` (JSON lines, Parquet, NPY, CSV without a header) there:

    application/json   {"instances": [{"amount": 12.5, ...}, ...]}
                       {"columns": ["amount", ...], "data": [[12.5, ...], ...]}
    text/csv           a header line with the features' names, then one line for each row

Fields may come in any order; each feature must be there once and nothing else. Messages name fields and
row numbers, never the values a caller sent: they end up in logs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

_NUMBERS = {float, int, bool}
_NAMED = 5
CSV_WITHOUT_HEADER = "text/csv; header=absent"
MEDIA_TYPES = ("application/json", "text/csv", "application/jsonlines", "application/x-parquet", "application/x-npy")


class PayloadError(ValueError):
    """A body that cannot be scored. `status` is the HTTP status, `field` what is wrong with it."""

    def __init__(self, message: str, *, status: int = 400, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field


def read_rows(body: bytes, content_type: str, features: Sequence[str], *, missing_allowed: bool = False) -> np.ndarray:
    """The body as an array of shape (rows, features), float64, columns in the order of `features`.

    Raises `PayloadError`: 415 for a media type or character set that is not understood, 400 for a body
    that does not fit. A missing value (JSON null, an empty CSV cell) becomes NaN where
    `missing_allowed`, and is refused elsewhere; infinities are always refused.
    """
    kind = media_type(content_type)
    try:
        if kind == "application/json":
            rows = _rows_of_json(body, features)
        elif kind == "text/csv":
            rows = _rows_of_csv(body, features)
        else:
            from mdlc_assets.deployment.bodies import rows_of

            rows = rows_of(kind, body, features)
    except RecursionError:
        raise PayloadError("the body is nested too deeply") from None
    _refuse_unfit(rows, features, missing_allowed)
    return rows


def media_type(content_type: str) -> str:
    """The media type, `text/csv; header=absent` included; raises `PayloadError` with status 415 for unknown ones."""
    kind, *options = (part.strip().lower() for part in content_type.split(";"))
    if kind not in MEDIA_TYPES:
        raise PayloadError(
            f"the content type is not understood; send {', '.join(MEDIA_TYPES)}",
            status=415,
            field="content-type",
        )
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8", "us-ascii"):
            raise PayloadError("the character set must be utf-8", status=415, field="content-type")
    return CSV_WITHOUT_HEADER if kind == "text/csv" and "header=absent" in options else kind


def _rows_of_json(body: bytes, features: Sequence[str]) -> np.ndarray:
    try:
        content = json.loads(body, parse_constant=_refuse_constant)
    except PayloadError:
        raise
    except UnicodeDecodeError:
        raise PayloadError("the body is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise PayloadError(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:  # a whole number of thousands of digits
        raise PayloadError("the body holds a number that is too long") from None
    if not isinstance(content, dict):
        raise PayloadError('the body must be an object with "instances", or with "columns" and "data"')
    if set(content) == {"instances"}:
        return _rows_of_instances(content["instances"], features)
    if set(content) == {"columns", "data"}:
        return _rows_of_table(content["columns"], content["data"], features)
    raise PayloadError('the body must hold "instances" alone, or "columns" and "data" alone')


def _refuse_constant(name: str) -> NoReturn:
    raise PayloadError(f"{name} is not a value in JSON; send null for a missing value")


def _rows_of_instances(instances: Any, features: Sequence[str]) -> np.ndarray:
    if not isinstance(instances, list) or not instances:
        raise PayloadError('"instances" must be a list with at least one row', field="instances")
    wanted = len(features)
    cells: list[list[Any]] = []
    for number, row in enumerate(instances):
        if not isinstance(row, dict):
            raise PayloadError(f"instances[{number}] is not an object of features", field="instances")
        try:
            cells.append([row[name] for name in features])
        except KeyError:
            _refuse_names(list(row), features, f"instances[{number}]")
        if len(row) != wanted:
            _refuse_names(list(row), features, f"instances[{number}]")
    return _numbers(cells, features, "instances")


def _rows_of_table(columns: Any, data: Any, features: Sequence[str]) -> np.ndarray:
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise PayloadError('"columns" must be a list of names', field="columns")
    order = _order(columns, features, '"columns"')
    if not isinstance(data, list) or not data:
        raise PayloadError('"data" must be a list with at least one row', field="data")
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise PayloadError(f"data[{number}] is not a list of {len(columns)} values", field="data")
    return _numbers([[row[i] for i in order] for row in data], features, "data")


def _rows_of_csv(body: bytes, features: Sequence[str]) -> np.ndarray:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PayloadError("the body is not UTF-8 text") from None
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error:
        raise PayloadError("the body is not CSV: a quote is not closed, or a cell is far too long") from None
    if len(lines) < 2:
        raise PayloadError("the body needs a header line and at least one row")
    header, *rows = lines
    header = [name.strip() for name in header]
    order = _order(header, features, "the header")
    table = np.empty((len(rows), len(features)))
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise PayloadError(f"row {number} has {len(row)} cells where the header has {len(header)}")
        try:
            if "_" in "".join(row):  # Python would read 1_000 as a number
                raise ValueError
            table[number] = [float(row[i]) if row[i].strip() else np.nan for i in order]
        except ValueError:
            _refuse_cell([row[i] for i in order], features, number)
    return table


def _order(names: Sequence[str], features: Sequence[str], where: str) -> list[int]:
    if len(names) != len(features) or set(names) != set(features):
        _refuse_names(names, features, where)
    position = {name: i for i, name in enumerate(names)}
    return [position[name] for name in features]


def _refuse_names(names: Sequence[str], features: Sequence[str], where: str) -> NoReturn:
    missing = [name for name in features if name not in names]
    if missing:
        text = f"{where} lacks {_listed(missing)}"
        raise PayloadError(f"{text}; the model needs {', '.join(features)}", field=missing[0])
    extra = [name for name in names if name not in features]
    if extra:
        raise PayloadError(f"{where} has {_listed(extra)}, which the model does not know", field=extra[0][:80])
    twice = next(name for name in names if list(names).count(name) > 1)
    raise PayloadError(f"{where} has {twice} twice", field=twice)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _numbers(cells: list[list[Any]], features: Sequence[str], where: str) -> np.ndarray:
    # NumPy would read the text "12" as a number; a caller who sends text has a mistake to mend.
    if not {type(value) for row in cells for value in row} <= {*_NUMBERS, type(None)}:
        for number, row in enumerate(cells):
            for name, value in zip(features, row, strict=True):
                if value is not None and type(value) not in _NUMBERS:
                    raise PayloadError(f"{where}[{number}].{name} is not a number", field=name)
    try:
        return np.array(cells, dtype=np.float64)
    except OverflowError:
        for row in cells:
            for name, value in zip(features, row, strict=True):
                if type(value) is int and abs(value) > 10**308:
                    raise PayloadError(f"{name} is too large for a number", field=name) from None
        raise PayloadError("a number is too large") from None


def _refuse_cell(cells: Sequence[str], features: Sequence[str], number: int) -> NoReturn:
    for name, cell in zip(features, cells, strict=True):
        try:
            float("_" if "_" in cell else cell.strip() or "nan")
        except ValueError:
            raise PayloadError(f"row {number}: {name} is not a number", field=name) from None
    raise PayloadError(f"row {number} holds something that is not a number")


def _refuse_unfit(rows: np.ndarray, features: Sequence[str], missing_allowed: bool) -> None:
    # One pass for the usual case: a sum is finite only if every term is.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(rows.sum()):
            return
    infinite = np.argwhere(np.isinf(rows))
    if len(infinite):
        number, column = infinite[0]
        raise PayloadError(f"row {number}: {features[column]} is infinite", field=features[column])
    missing = np.argwhere(np.isnan(rows))
    if len(missing) and not missing_allowed:
        number, column = missing[0]
        raise PayloadError(
            f"row {number}: {features[column]} has no value, and the model takes none missing",
            field=features[column],
        )
