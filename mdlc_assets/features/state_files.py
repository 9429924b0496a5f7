"""The state of a day as one Parquet table, and back (docs/lake_tables.md describes its columns)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.families import Family, families, once_for_each
from mdlc_assets.features.state import FamilyState, empty_state, fingerprint

_INSTANT = pl.Datetime("us", "UTC")


def state_table(lifecycle: LifecycleDeclaration, states: Sequence[FamilyState]) -> pl.DataFrame:
    """The rows of a day's state: sums, the day's events and kept events of each family."""
    parts = [_empty_table(lifecycle)]
    for family, state in zip(families(lifecycle), states, strict=True):
        sums = {
            name: values.astype(np.int64) if _is_count(name) else values
            for name, values in zip(family.sums(), state.sums, strict=True)
        }
        part = pl.Series("part", [_part(family, "sums")]).new_from_index(0, len(state.entities))
        parts.append(pl.DataFrame({"part": part, "entity": state.entities, **sums}))
        parts.append(_events_rows(family, "events", state.events))
        parts += [_events_rows(family, kept.name, table) for kept, table in state.kept.items()]
    rows = pl.concat(parts, how="diagonal")
    return rows.with_columns(pl.lit(fingerprint(lifecycle)).alias("declaration"))


def read_state(lifecycle: LifecycleDeclaration, table: pl.DataFrame) -> list[FamilyState]:
    """The inverse of `state_table`."""
    runs = table["part"].rle().struct.unnest()
    ends = runs["len"].cum_sum()
    places = {part: (end - length, length) for part, length, end in zip(runs["value"], runs["len"], ends, strict=True)}
    found = []
    for family, empty in zip(families(lifecycle), empty_state(lifecycle), strict=True):

        def rows(name: str, family: Family = family) -> pl.DataFrame:
            return table.slice(*places.get(_part(family, name), (0, 0)))

        def events(name: str, family: Family = family) -> pl.DataFrame:
            own = rows(name)
            values = [own[f"sum_{i}"].fill_null(float("nan")).alias(f"value_{i}") for i in range(len(family.values))]
            kinds = [own[f"text_{i}"].alias(f"kind_{i}") for i in range(len(family.kinds))]
            return pl.DataFrame([own["entity"], own["time"].cast(pl.Int64), *values, *kinds])

        own = rows("sums")
        sums = np.array([own[name].to_numpy() for name in family.sums()], np.float64)
        kept = {kind: events(kind.name) for kind in empty.kept}
        found.append(FamilyState(own["entity"], sums, events("events"), kept))
    return found


def _is_count(column: str) -> bool:
    return column.startswith(("count", "known"))


def _part(family: Family, name: str) -> str:
    return f"{family.number} {name}"


def _events_rows(family: Family, name: str, events: pl.DataFrame) -> pl.DataFrame:
    values = [pl.col(f"value_{i}").fill_nan(None).alias(f"sum_{i}") for i in range(len(family.values))]
    kinds = [pl.col(f"kind_{i}").alias(f"text_{i}") for i in range(len(family.kinds))]
    time = pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return events.select(pl.lit(_part(family, name)).alias("part"), "entity", time, *values, *kinds)


@once_for_each
def _empty_table(lifecycle: LifecycleDeclaration) -> pl.DataFrame:
    """Of all families' columns, those that only one of them has included."""
    all_families = families(lifecycle)
    names = dict.fromkeys(name for family in all_families for name in family.sums())
    numbers = {name: pl.Int64() if _is_count(name) else pl.Float64() for name in names}
    texts = {f"text_{i}": pl.String() for i in range(max((len(f.kinds) for f in all_families), default=0))}
    entity = empty_state(lifecycle)[0].entities.dtype if all_families else pl.Int64()
    return pl.DataFrame(schema={"part": pl.String(), "entity": entity, "time": _INSTANT, **numbers, **texts})
