"""Which declared source a file is from, and its rows under the dataset's own names and types."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.dataset import ColumnType, Source
from mdlc_assets.sourcing.cells import TYPES, read_cells
from mdlc_assets.sourcing.files import LandingError
from mdlc_assets.sourcing.row_ids import row_ids

CANONICAL = "canonical"
__all__ = ["CANONICAL", "TYPES", "Layout", "find_layout", "layouts", "to_canonical"]


@dataclass(frozen=True)
class Layout:
    """How the columns of one source's files are named. `names` is our name: the name in the file."""

    source: str
    names: dict[str, str]
    optional: frozenset[str]
    ignored: frozenset[str] = frozenset()
    time_zone: str = "UTC"
    label: str | None = None
    made_id: str | None = None
    constants: Mapping[str, str] = field(default_factory=dict)

    def missing(self, found: Sequence[str]) -> list[str]:
        """Our names of required columns that a file with the columns `found` lacks."""
        return [ours for ours, theirs in self.names.items() if theirs not in found and ours not in self.optional]

    def unknown(self, found: Sequence[str]) -> list[str]:
        """Columns of the file that nothing is said about."""
        said = {*self.names.values(), *self.ignored}
        return [column for column in found if column not in said]


def layouts(lifecycle: LifecycleDeclaration) -> list[Layout]:
    """The dataset's own names first, then each declared source in its order."""
    columns = lifecycle.dataset.columns
    optional = frozenset(name for name, column in columns.items() if column.optional)
    own = Layout(CANONICAL, {name: name for name in columns}, optional)
    return [own, *(_layout(lifecycle, name, s, optional) for name, s in lifecycle.dataset.sources.items())]


def _layout(lifecycle: LifecycleDeclaration, name: str, source: Source, optional: frozenset[str]) -> Layout:
    label = lifecycle.labels.column if source.labels_inline else None
    made_id = lifecycle.dataset.id if source.id_from_row else None
    lacking = {made_id, *source.absent, *source.constants}
    wanted = [*(c for c in lifecycle.dataset.columns if c not in lacking), *([label] if label else [])]
    return Layout(
        source=name,
        names={ours: source.columns.get(ours, ours) for ours in wanted},
        optional=optional,
        ignored=frozenset(source.ignore),
        time_zone=source.time_zone,
        label=label,
        made_id=made_id,
        constants=source.constants,
    )


def find_layout(file: str, found: Sequence[str], known: Sequence[Layout]) -> Layout:
    """The layout that a file with the columns `found` has, the first that fits without remainder.

    Raises `LandingError` that names every missing and every unknown column, measured against the layout
    that comes closest.
    """
    for layout in known:
        if not layout.missing(found) and not layout.unknown(found):
            return layout
    nearest = min(known, key=lambda layout: (len(layout.missing(found)), len(layout.unknown(found))))
    missing, unknown = nearest.missing(found), nearest.unknown(found)
    place = "dataset.columns" if nearest.source == CANONICAL else f"dataset.sources.{nearest.source}"
    if missing and len(missing) == len(set(nearest.names) - nearest.optional):
        raise LandingError(
            file,
            "(columns)",
            f"no declared source has these columns: {_listed(found)}",
            "declare a source for them under dataset.sources, or write the columns " + _listed(nearest.names),
        )
    if missing:
        theirs = [nearest.names[ours] for ours in missing]
        message = f"{_column_is(theirs)} missing (source {nearest.source})"
        hints = [hint for name in theirs for hint in difflib.get_close_matches(name, unknown, n=1)]
        mend = f"send the file again with {_listed(theirs)}"
        if hints:
            mend += f", or say under {place} that the column is now called {_listed(hints)}"
        raise LandingError(file, ", ".join(theirs), message, mend)
    mend = (
        f"add it under {place}.columns if it is wanted, or under {place}.ignore if it is not"
        if nearest.source != CANONICAL
        else "declare it under dataset.columns, or declare a source that lists it under ignore"
    )
    raise LandingError(file, ", ".join(unknown), f"{_column_is(unknown)} not declared (source {nearest.source})", mend)


def to_canonical(file: str, frame: pl.DataFrame, layout: Layout, types: dict[str, ColumnType]) -> pl.DataFrame:
    """The columns `types` of a file under our names and types, and `_unreadable`, in file order.

    `_unreadable` is null, or a JSON object {column: the text that could not be read}. A column that the
    file lacks is null throughout, unless its source says what stands there. Raises `LandingError` for columns
    of lists, structs or bytes.
    """
    values: list[pl.Series] = []
    troubles: list[tuple[str, pl.Series]] = []
    for ours, type_ in types.items():
        if ours == layout.made_id:
            made_from = [name for our, name in layout.names.items() if our != layout.label and name in frame.columns]
            values.append(row_ids(frame.select(made_from)).alias(ours))
            continue
        if ours in layout.constants:
            values.append(pl.Series(ours, [layout.constants[ours]] * frame.height, dtype=TYPES[type_]))
            continue
        theirs = layout.names.get(ours)
        if theirs is None or theirs not in frame.columns:
            values.append(pl.Series(ours, [None] * frame.height, dtype=TYPES[type_]))
            continue
        cells = frame[theirs]
        try:
            column, unreadable = read_cells(cells, type_, layout.time_zone)
        except TypeError as error:
            raise LandingError(file, theirs, str(error), f"write {theirs} as {type_}") from None
        values.append(column.alias(ours))
        if unreadable.any():
            troubles.append((ours, pl.select(pl.when(unreadable).then(cells.cast(pl.String))).to_series()))
    texts: list[str | None] = [None] * frame.height
    if troubles:
        names = [name for name, _ in troubles]
        for row, cells_of_row in enumerate(zip(*(texts_ for _, texts_ in troubles), strict=True)):
            said = {n: text for n, text in zip(names, cells_of_row, strict=True) if text is not None}
            if said:
                texts[row] = json.dumps(said, ensure_ascii=False)
    return pl.DataFrame([*values, pl.Series("_unreadable", texts, dtype=pl.String)])


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _column_is(names: Sequence[str]) -> str:
    return f"column {names[0]} is" if len(names) == 1 else f"columns {_listed(names)} are"
