"""`DataProcessing` of a transform job on this machine: which columns go to the model, which stay beside its answer.

Only CSV in lines is done here. A filter is `$` for the whole line, `$[2]` for a column, `$[0,-1]` for some, and
`$[1:]` or `$[1:3]` for a range; columns of the joined line are those of the input, then those of the answer.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mdlc_assets.resources.sagemaker.local_state import Document

_FILTER = re.compile(r"^\$(?:\[(?P<range>-?\d*:-?\d*)\]|\[(?P<list>-?\d+(?:,-?\d+)*)\])?$")
Row = list[str]


class FilterError(ValueError):
    """A filter that is not understood, or a line that it does not fit."""


@dataclass(frozen=True)
class Filters:
    """What is sent, whether the answer is joined to its line, and what is kept of both."""

    sent: Callable[[Row], Row]
    joined: bool
    kept: Callable[[Row], Row]

    @classmethod
    def of(cls, request: Document) -> Filters | None:
        """The filters of a transform job's request; None where it has none. Raises `FilterError`."""
        asked = request.get("DataProcessing")
        if not asked:
            return None
        source, target = request["TransformInput"], request["TransformOutput"]
        kinds = {source.get("ContentType", ""), target.get("Accept", "text/csv")}
        if {kind.partition(";")[0] for kind in kinds} != {"text/csv"} or source.get("SplitType") != "Line":
            raise FilterError("DataProcessing is done here for text/csv in lines only, in and out.")
        joined = asked.get("JoinSource", "None") == "Input"
        return cls(_columns(asked.get("InputFilter", "$")), joined, _columns(asked.get("OutputFilter", "$")))

    def to_send(self, lines: bytes) -> bytes:
        """The lines as the model is sent them."""
        return _text(self.sent(row) for row in _rows(lines))

    def to_keep(self, lines: bytes, answer: bytes) -> bytes:
        """What is written for the lines and the model's answer to them. Raises `FilterError`."""
        given, said = _rows(lines), _rows(answer)
        if len(given) != len(said):
            raise FilterError(f"the model gave {len(said)} lines for {len(given)}, so they cannot be joined")
        whole = ([*row, *more] if self.joined else more for row, more in zip(given, said, strict=True))
        return _text(self.kept(row) for row in whole)


def _columns(text: str) -> Callable[[Row], Row]:
    found = _FILTER.match(text.replace(" ", ""))
    if not found:
        raise FilterError(f"the filter {text!r} is not understood here. Mend: write $, $[0,-1] or $[1:].")
    if found["range"] is not None:
        first, last = (int(edge) if edge else None for edge in found["range"].split(":"))
        return lambda row: row[first:last]
    if found["list"] is not None:
        places = [int(place) for place in found["list"].split(",")]
        return lambda row: _picked(row, places)
    return lambda row: row


def _picked(row: Row, places: Sequence[int]) -> Row:
    try:
        return [row[place] for place in places]
    except IndexError:
        raise FilterError(f"a line has {len(row)} columns, the filter asks for {list(places)}") from None


def _rows(lines: bytes) -> list[Row]:
    return [row for row in csv.reader(io.StringIO(lines.decode(), newline="")) if row]


def _text(rows: object) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
    return written.getvalue().encode()
