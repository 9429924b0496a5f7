"""One event out of a request: its columns by the batch path's readers and row rules, at the speed of a request.

What surely keeps every rule is read at once. Anything else goes to the very functions that read and part a day's
file, which take milliseconds: they alone refuse, so an event is good here exactly when it is good there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import Column
from mdlc_assets.quality.rows import part_rows
from mdlc_assets.sourcing.cells import TYPES, read_cells

_PLAIN_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{6})?(Z|[+-]\d\d:\d\d)?")
# The day after must still be a day.
_LAST_YEAR = 9999
_UNSURE = object()
_KINDS = {"integer": "a whole number", "float": "a number", "boolean": "true or false", "string": "text"}

Cell = Callable[[Any], Any]


class EventError(ValueError):
    """An event that cannot be decided: which field, what is wrong, how to mend it. Holds no value of the event."""

    def __init__(self, message: str, field: str | None, mend: str, status: int = 422) -> None:
        super().__init__(message)
        self.field, self.mend, self.status = field, mend, status


class EventReader:
    """Reads events of a lifecycle."""

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        self.lifecycle = lifecycle
        self.columns = lifecycle.dataset.validated_columns
        self._own = lifecycle.dataset.columns
        self._quick = [(name, _quick(column, True)) for name, column in self._own.items()]
        self._attributes = [
            (name, _quick(column, False)) for name, column in self.columns.items() if name not in self._own
        ]
        # Rules over several columns are SQL, for frames only.
        self._sure = all(rule.severity == "warn" for rule in lifecycle.quality.rows)

    def read(self, content: Any) -> dict[str, Any]:
        """The event's values by column, null where there is none. Raises `EventError`."""
        if type(content) is not dict:
            raise EventError("an event must be an object of columns", None, f"send {', '.join(self._own)}", 400)
        if self._sure:
            get = content.get
            found = {name: cell(get(name)) for name, cell in self._quick}
            # Attributes are the caller's to send; those that are not sent are the store's.
            for name, cell in self._attributes:
                if name in content:
                    found[name] = cell(get(name))
            if _UNSURE not in found.values() and content.keys() <= found.keys():
                return found
        return self.judge(content)

    def judge(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The same by the functions that judge a day's file."""
        for name in content:
            if name not in self.columns:
                raise EventError(
                    f"there is no column {name[:80]!r}", name[:80], f"send only {', '.join(self.columns)}", 422
                )
        cells, unreadable = {}, {}
        for name, column in self.columns.items():
            if name not in self._own and name not in content:
                continue
            values, wrong = self._read_cell(name, column, content.get(name))
            cells[name] = values
            if wrong:
                unreadable[name] = wrong
        raw = pl.DataFrame(cells)
        day = self._day(cells[self.lifecycle.dataset.time])
        if unreadable:
            name = next(iter(unreadable))
            raise EventError(f"{name} cannot be read as {self.columns[name].type}", name, self._mend(name))
        if day.year >= _LAST_YEAR:
            time = self.lifecycle.dataset.time
            raise EventError(f"{time} is too far away", time, self._mend(time))
        arrived = raw.select(*self._own).with_columns(
            pl.lit("request").alias("_source_file"),
            pl.lit(1, pl.Int64).alias("_source_row"),
            pl.lit(None, pl.String).alias("_unreadable"),
        )
        parted = part_rows(self.lifecycle, day, arrived)
        if parted.quarantine.height:
            rule = parted.quarantine["rule"][0]
            field = next((n for n in self._own if rule.startswith(f"{n}_")), None)
            raise EventError(f"the event breaks the rule {rule}", field, self._mend(field) if field else "correct it")
        return raw.row(0, named=True)

    def _read_cell(self, name: str, column: Column, value: Any) -> tuple[pl.Series, str]:
        kind = "" if value is None or type(value) in (int, float, str, bool) else type(value).__name__
        # JSON's whole numbers may be longer than any column holds.
        long = type(value) is int and not -(2**63) <= value < 2**63
        if kind or long:
            return pl.Series(name, [None], TYPES[column.type]), kind or "out of range"
        values, wrong = read_cells(pl.Series(name, [value]), column.type)
        return values.alias(name), "unreadable" if wrong.any() else ""

    def _day(self, instants: pl.Series) -> date:
        at = instants[0]
        return at.date() if at is not None else self.lifecycle.dataset.start

    def _mend(self, name: str) -> str:
        column = self.columns[name]
        if column.type == "timestamp":
            return "send a time such as 2018-04-01T12:30:00Z"
        bounds = [f"at least {column.min:g}" if column.min is not None else ""]
        bounds += [f"at most {column.max:g}" if column.max is not None else ""]
        bounds += [f"one of {', '.join(map(str, column.allowed))}" if column.allowed is not None else ""]
        bounds += [f"with at most {column.decimals} decimals" if column.decimals is not None else ""]
        return ", ".join([f"send {_KINDS[column.type]}", *(bound for bound in bounds if bound)])


def _quick(column: Column, judged: bool) -> Cell:
    """A reader of what surely is right; `_UNSURE` for all else. `judged` columns have rules of their own."""
    absent = None if column.nullable or column.optional or not judged else _UNSURE
    low = column.min if column.min is not None and judged else -math.inf
    high = column.max if column.max is not None and judged else math.inf
    allowed = frozenset(column.allowed) if column.allowed is not None and judged else None

    def integer(value: Any) -> Any:
        if type(value) is int and low <= value <= high and -(2**63) <= value < 2**63:
            return value if allowed is None or value in allowed else _UNSURE
        return absent if value is None else _UNSURE

    def number(value: Any) -> Any:
        if type(value) is int and -(2**53) <= value <= 2**53:
            value = float(value)
        if type(value) is float and low <= value <= high and math.isfinite(value):
            return value if decimals is None or _has_decimals(value, decimals) else _UNSURE
        return absent if value is None else _UNSURE

    def text(value: Any) -> Any:
        if type(value) is str:
            return value if allowed is None or value in allowed else _UNSURE
        return absent if value is None else _UNSURE

    def truth(value: Any) -> Any:
        return value if type(value) is bool else absent if value is None else _UNSURE

    def instant(value: Any) -> Any:
        if type(value) is str and _PLAIN_INSTANT.fullmatch(value) and value.isascii():
            try:
                at = datetime.fromisoformat(value)
                if at.year >= _LAST_YEAR:
                    return _UNSURE
                return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            except (ValueError, OverflowError):
                return _UNSURE
        return absent if value is None else _UNSURE

    decimals = column.decimals if judged and column.type == "float" else None
    # Bounds of other types, and choices among numbers with a fraction, are rare enough to be judged in full.
    if column.type in ("string", "timestamp", "boolean") and (math.isfinite(low) or math.isfinite(high)):
        return lambda value: _UNSURE
    if column.type in ("float", "boolean", "timestamp") and allowed is not None:
        return lambda value: _UNSURE
    return {"integer": integer, "float": number, "string": text, "boolean": truth, "timestamp": instant}[column.type]


def _has_decimals(value: float, decimals: int) -> bool:
    """Whether a number surely has so few decimals; a doubtful one is judged in full."""
    return abs(value) < 1e12 and round(value, decimals) == value
