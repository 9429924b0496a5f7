"""Cells to their declared type; what cannot be read becomes null and is kept as text."""

from __future__ import annotations

import polars as pl

from mdlc_assets.declaration.dataset import ColumnType, Labels

INSTANT = pl.Datetime("us", "UTC")
TYPES: dict[ColumnType, pl.DataType] = {
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "boolean": pl.Boolean(),
    "string": pl.String(),
    "timestamp": INSTANT,
}
_TRUE, _FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")
_FORMATS = (
    *("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d"),
    *("%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M", "%Y/%m/%d"),
)
# After seconds or minutes only: in a date by itself, -01 is a day.
_OFFSET = r"(:\d{2}(?:\.\d+)?)\s*(Z|z|[+-]\d{2}(?::?\d{2})?)$"


def label_type(labels: Labels) -> pl.DataType:
    """What a label is kept as: a small integer, 1 or 0, or a number."""
    return pl.Float64() if labels.kind == "number" else pl.Int8()


def read_cells(cells: pl.Series, type_: ColumnType, time_zone: str = "UTC") -> tuple[pl.Series, pl.Series]:
    """The values of a column as its type, and a Boolean series: True where a cell could not be read.

    A cell with nothing in it (null, NaN, blank text) is null and not unreadable. Timestamps without a
    zone are taken in `time_zone`; a local time that does not exist there cannot be read, one that exists
    twice is the earlier. Floats that are not finite cannot be read. Raises `TypeError` for a column of
    lists, structs or bytes.
    """
    if cells.dtype.is_nested() or cells.dtype in (pl.Binary, pl.Object, pl.Time, pl.Duration):
        raise TypeError(f"values of type {cells.dtype} cannot be read as {type_}")
    if isinstance(cells.dtype, pl.Categorical | pl.Enum):
        cells = cells.cast(pl.String)
    if cells.dtype.is_float():
        cells = cells.fill_nan(None)
    missing = cells.is_null()
    if cells.dtype == pl.String and type_ != "string":
        cells = cells.str.strip_chars()
        missing = missing | (cells == "")
    values = _READERS[type_](cells, time_zone)
    return values, (values.is_null() & ~missing).fill_null(False)


def _integer(cells: pl.Series, _: str) -> pl.Series:
    if cells.dtype == pl.String:
        # Programs that hold whole numbers with gaps as floats write 12 as 12.0.
        whole = cells.str.extract(r"^([+-]?\d+)(?:\.0+)?$")
        return whole.cast(pl.Int64, strict=False)
    if cells.dtype.is_float() or cells.dtype.is_decimal():
        values = cells.cast(pl.Float64).cast(pl.Int64, strict=False)
        return _where(values.cast(pl.Float64) == cells.cast(pl.Float64), values)
    if cells.dtype.is_integer() or cells.dtype == pl.Boolean:
        return cells.cast(pl.Int64, strict=False)
    return _nothing(cells, pl.Int64())


def _float(cells: pl.Series, _: str) -> pl.Series:
    if not (cells.dtype.is_numeric() or cells.dtype == pl.String):
        return _nothing(cells, pl.Float64())
    values = cells.cast(pl.Float64, strict=False)
    return _where(values.is_finite(), values)


def _boolean(cells: pl.Series, _: str) -> pl.Series:
    if cells.dtype == pl.Boolean:
        return cells
    if not (cells.dtype.is_numeric() or cells.dtype == pl.String):
        return _nothing(cells, pl.Boolean())
    text = cells.cast(pl.String).str.to_lowercase().str.replace(r"^([01])\.0+$", "$1")
    known = text.is_in([*_TRUE, *_FALSE])
    return _where(known, text.is_in(_TRUE))


def _string(cells: pl.Series, _: str) -> pl.Series:
    return cells.cast(pl.String)


def _timestamp(cells: pl.Series, time_zone: str) -> pl.Series:
    if cells.dtype == pl.Date:
        cells = cells.cast(pl.Datetime("us"))
    if isinstance(cells.dtype, pl.Datetime):
        if cells.dtype.time_zone is None:
            return _in_utc(cells.cast(pl.Datetime("us")), time_zone)
        return cells.cast(pl.Datetime("us", cells.dtype.time_zone)).dt.convert_time_zone("UTC")
    if cells.dtype == pl.String:
        return _timestamp_text(cells, time_zone)
    return _nothing(cells, INSTANT)


def _timestamp_text(cells: pl.Series, time_zone: str) -> pl.Series:
    name = cells.name
    offset = cells.str.extract(_OFFSET, 2).str.replace("(?i)^z$", "+0000").str.replace(":", "", literal=True)
    local = cells.str.replace(_OFFSET, "${1}").str.replace("T", " ", literal=True)
    naive = pl.Series(name, [None] * len(cells), dtype=pl.Datetime("us"))
    for form in _FORMATS:
        if naive.null_count() == 0:
            break
        parsed = local.str.to_datetime(form, strict=False, time_unit="us")
        naive = pl.select(pl.coalesce(naive, parsed)).to_series()
    minutes = offset.str.slice(1, 2).cast(pl.Int64, strict=False) * 60
    minutes = minutes + offset.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.select(pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)).to_series()
    shift = (minutes * sign * 60_000_000).cast(pl.Duration("us"))
    with_offset = (naive - shift).dt.replace_time_zone("UTC")
    chosen = pl.when(offset.is_not_null()).then(with_offset).otherwise(_in_utc(naive, time_zone))
    return pl.select(chosen.alias(name)).to_series()


def _in_utc(naive: pl.Series, time_zone: str) -> pl.Series:
    if time_zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    aware = naive.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    return aware.dt.convert_time_zone("UTC")


def _where(keep: pl.Series, values: pl.Series) -> pl.Series:
    return pl.select(pl.when(keep).then(values).alias(values.name)).to_series()


def _nothing(cells: pl.Series, dtype: pl.DataType) -> pl.Series:
    return pl.Series(cells.name, [None] * len(cells), dtype=dtype)


_READERS = {
    "integer": _integer,
    "float": _float,
    "boolean": _boolean,
    "string": _string,
    "timestamp": _timestamp,
}
