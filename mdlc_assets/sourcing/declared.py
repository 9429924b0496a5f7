"""What is wrong with declared sources beyond what one field can tell."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mdlc_assets.declaration import LifecycleDeclaration, Problem
from mdlc_assets.declaration.dataset import Source

RESERVED = ("_source_file", "_source_row", "_unreadable", "known_at", "rule", "reason")


def sourcing_problems(lifecycle: LifecycleDeclaration) -> list[Problem]:
    """Everything wrong with the dataset's columns and sources, with field, value and mend."""
    found = list(_column_problems(lifecycle))
    for name, source in lifecycle.dataset.sources.items():
        found += _source_problems(lifecycle, f"dataset.sources.{name}", source)
    return found


def _column_problems(lifecycle: LifecycleDeclaration) -> Iterator[Problem]:
    dataset = lifecycle.dataset
    for name, column in dataset.columns.items():
        field = f"dataset.columns.{name}"
        if name in RESERVED:
            yield Problem(field, name, "the lake uses this name itself", "give the column another name")
        if name == lifecycle.labels.column:
            yield Problem(
                field,
                name,
                "the label is declared as a column, so features could see it before it is known",
                "leave it out of dataset.columns; labels.column names it",
            )
        if name in (dataset.id, dataset.time) and (column.optional or column.nullable):
            yield Problem(
                field,
                "optional or nullable",
                "every event needs its id and its time",
                "remove `optional` and `nullable`",
            )
        numeric = column.type in ("integer", "float")
        for bound in ("min", "max", "decimals"):
            if getattr(column, bound) is not None and not numeric:
                yield Problem(
                    f"{field}.{bound}",
                    str(getattr(column, bound)),
                    f"a {column.type} column has no {bound}",
                    f"remove `{bound}`, or make the column integer or float",
                )
        if column.min is not None and column.max is not None and column.min > column.max:
            yield Problem(f"{field}.min", str(column.min), f"min is above max {column.max}", "swap them")
        yield from _allowed_problems(field, column.type, column.allowed)


def _allowed_problems(field: str, type_: str, allowed: list[str | int] | None) -> Iterator[Problem]:
    wanted = {"integer": int, "string": str}.get(type_)
    for value in allowed or []:
        if wanted is None or not isinstance(value, wanted):
            yield Problem(
                f"{field}.allowed",
                repr(value),
                f"a {type_} column cannot hold this value",
                "list texts for a string column, whole numbers for an integer one",
            )


def _made_id_problems(lifecycle: LifecycleDeclaration, field: str, source: Source) -> Iterator[Problem]:
    identity = lifecycle.dataset.id
    if identity in source.columns:
        yield Problem(
            f"{field}.columns",
            identity,
            "the id is read from the files and made from the row at once",
            "remove `id_from_row`, or the mapping",
        )
    if lifecycle.dataset.columns[identity].type != "string":
        yield Problem(
            f"dataset.columns.{identity}.type",
            lifecycle.dataset.columns[identity].type,
            "an id that is made from the row is text",
            "write `type: string`",
        )


def _constant_problems(lifecycle: LifecycleDeclaration, field: str, source: Source) -> Iterator[Problem]:
    columns = lifecycle.dataset.columns
    for name in source.constants:
        place = f"{field}.constants"
        if name not in columns or columns[name].type != "string":
            texts = ", ".join(other for other, column in columns.items() if column.type == "string")
            yield Problem(
                place, name, "only a text column of the dataset can be constant", f"use one of {texts or 'none'}"
            )
        elif name == lifecycle.dataset.id:
            yield Problem(place, name, "each event has an id of its own", "write `id_from_row: true` instead")
        if name in source.columns or name in source.absent:
            yield Problem(
                place, name, "the column is constant, and also mapped or absent", "remove it from all but one"
            )


def _source_problems(lifecycle: LifecycleDeclaration, field: str, source: Source) -> Iterator[Problem]:
    columns, label = lifecycle.dataset.columns, lifecycle.labels.column
    for name in source.absent:
        if name not in columns or not columns[name].optional:
            known = [other for other, column in columns.items() if column.optional]
            yield Problem(
                f"{field}.absent",
                name,
                "only an optional column may be absent",
                f"declare it with `optional: true`, or list one of {', '.join(known) or 'none'}",
            )
        if name in source.columns:
            yield Problem(f"{field}.absent", name, "the column is mapped and absent at once", "remove one of the two")
    if source.id_from_row:
        yield from _made_id_problems(lifecycle, field, source)
    made = {lifecycle.dataset.id} if source.id_from_row else set()
    yield from _constant_problems(lifecycle, field, source)
    lacking = {*source.absent, *source.constants, *made}
    in_files = [name for name in [*columns, *lifecycle.labels.columns] if name not in lacking]
    theirs = [source.columns.get(name, name) for name in in_files]
    for name in sorted({name for name in theirs if theirs.count(name) > 1}):
        yield Problem(f"{field}.columns", name, "two of our columns come from this one", "map each to its own")
    for name in sorted(set(theirs) & set(source.ignore)):
        yield Problem(f"{field}.ignore", name, "a column that is wanted is ignored", "remove it from one of the two")
    if source.labels_inline and label not in source.columns:
        yield Problem(
            f"{field}.columns",
            "nothing",
            f"labels_inline is set, but it is not said which column holds {label!r}",
            f"add `{label}: <name in the files>`",
        )
    try:
        ZoneInfo(source.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        yield Problem(
            f"{field}.time_zone",
            source.time_zone,
            "there is no such time zone",
            "use a name of the IANA list, such as Europe/Brussels",
        )
