"""Parts a day's raw rows into those that keep every rule and those that do not, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.row_checks import RowCheck, arrival_checks, unique_checks
from mdlc_assets.sourcing.cells import TYPES


@dataclass(frozen=True)
class Parted:
    """Every raw row once: in `validated` or in `quarantine`. `broken` counts rows by rule."""

    validated: pl.DataFrame
    quarantine: pl.DataFrame
    broken: Mapping[str, int]

    @property
    def quarantined_share(self) -> float:
        """The share of the raw rows that is in quarantine, 0 for an empty day."""
        total = self.validated.height + self.quarantine.height
        return self.quarantine.height / total if total else 0.0


def part_rows(lifecycle: LifecycleDeclaration, day: date, raw: pl.DataFrame) -> Parted:
    """`raw` of one day into the tables `validated` and `quarantine` of docs/lake_tables.md.

    A row that breaks several rules stands under the first, with all reasons. Doubles are looked for
    among the rows that keep all other rules, so that a good row is not lost to a bad one before it.
    """
    from mdlc_assets.quality.schemas import checking_schema, failed_rows

    dataset = lifecycle.dataset
    types = {name: TYPES[column.type] for name, column in dataset.columns.items()}
    judged = raw.with_columns(rule=pl.lit(None, pl.String), reason=pl.lit(None, pl.String))
    kept = judged
    refused: list[pl.DataFrame] = []
    broken: dict[str, int] = {}
    for name, checks in (
        ("raw", arrival_checks(lifecycle, day, all_readable=raw["_unreadable"].count() == 0)),
        ("unique", unique_checks(lifecycle)),
    ):
        failed = failed_rows(checking_schema(types, checks, f"{lifecycle.name}_{name}"), kept)
        if failed:
            broken |= {rule: int(rows.sum()) for rule, rows in failed.items()}
            bad, kept = _split(kept, checks, failed)
            refused.append(bad)
    quarantine = pl.concat(refused) if refused else judged.clear()
    if refused:
        files = {name: place for place, name in enumerate(raw["_source_file"].unique(maintain_order=True))}
        quarantine = quarantine.sort(pl.col("_source_file").replace_strict(files, return_dtype=pl.Int64), "_source_row")
    validated = kept.select(*types).sort(dataset.time, dataset.id, maintain_order=True)
    return Parted(validated, quarantine.drop("_unreadable"), broken)


def _split(
    frame: pl.DataFrame, checks: Sequence[RowCheck], failed: Mapping[str, pl.Series]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    broken = [check for check in checks if check.name in failed]
    columns = [failed[check.name].alias(f"__{i}") for i, check in enumerate(broken)]
    any_broken = pl.any_horizontal(column.name for column in columns)
    marked = frame.with_columns(columns)
    whens = [pl.when(pl.col(f"__{i}")) for i in range(len(broken))]
    rules = [when.then(pl.lit(check.name)) for when, check in zip(whens, broken, strict=True)]
    reasons = [when.then(check.reason) for when, check in zip(whens, broken, strict=True)]
    bad = marked.filter(any_broken).with_columns(
        rule=pl.coalesce(rules),
        reason=pl.concat_str(reasons, separator="; ", ignore_nulls=True),
    )
    return bad.select(frame.columns), marked.filter(~any_broken).select(frame.columns)
