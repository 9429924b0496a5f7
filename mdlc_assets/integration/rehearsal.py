"""Past days decided again with other rules: what would have changed, before anything does.

Scores, features and events are those that the lake has; only the rules are others. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.integration.rules import RuleSet, side_by_side
from mdlc_assets.resources.lake import Lake

_EXAMPLES = 5


@dataclass(frozen=True)
class Move:
    """Events that were decided one way and now another. `positives` are of those whose label is known."""

    before: str
    after: str
    events: int
    amount: float | None
    labelled: int
    positives: int
    examples: list[Any]


@dataclass(frozen=True)
class Standing:
    """A decision before and after: how many events, what amount, what share of the labelled ones is positive."""

    events: int
    amount: float | None
    precision: float | None


@dataclass(frozen=True)
class Rehearsal:
    """What other rules would have decided."""

    first: date
    last: date
    events: int
    changed: int
    rules_before: list[str]
    amount_of: str | None
    moves: list[Move] = field(default_factory=list)
    before: dict[str, Standing] = field(default_factory=dict)
    after: dict[str, Standing] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        days = {"first": self.first.isoformat(), "last": self.last.isoformat()}
        return {**asdict(self), **days, "changed_share": self.changed / self.events if self.events else 0.0}


def rehearse(
    lifecycle: LifecycleDeclaration, lake: Lake, days: Sequence[date], changed: Decisions, amount: str | None = None
) -> Rehearsal:
    """Decide days again with changed rules. Raises `DayAbsentError` for a day that was not decided, `RuleError`."""
    rules, identity = RuleSet(changed), lifecycle.dataset.id
    amount = amount or amount_column(lifecycle)
    parts, versions = [], set()
    for day in days:
        decided, scores, features, events = (
            lake.table(*lifecycle.place(table)).read_day(day)
            for table in ("decisions", "batch_predictions", "features", "validated")
        )
        wide = side_by_side(scores, features, events, on=identity)
        now = rules.decide_all(wide).select(pl.col("decision").alias("after"))
        part = pl.concat([wide.select(identity, *([amount] if amount else [])), now], how="horizontal")
        part = part.join(
            decided.select(identity, pl.col("decision").alias("before")), on=identity, how="left", maintain_order="left"
        )
        versions |= set(decided["rules_version"].unique())
        parts.append(_with_labels(part, lake, lifecycle, day))
    rows = pl.concat(parts)
    moved = rows.filter(pl.col("before") != pl.col("after"))
    return Rehearsal(
        days[0],
        days[-1],
        rows.height,
        moved.height,
        sorted(versions),
        amount,
        [_move(group, identity, amount) for _, group in moved.group_by("before", "after", maintain_order=True)],
        _standings(rows, "before", amount),
        _standings(rows, "after", amount),
    )


def amount_column(lifecycle: LifecycleDeclaration) -> str | None:
    """The column that says what a missed event costs, where the declaration names one."""
    costs = lifecycle.model.evaluation.costs
    named = str(costs.miss) if costs is not None else ""
    return named if named in lifecycle.dataset.columns else None


def _with_labels(rows: pl.DataFrame, lake: Lake, lifecycle: LifecycleDeclaration, day: date) -> pl.DataFrame:
    """The rows with their labels; null where none is known, or where labels are no yes or no."""
    table, label, identity = lake.table(*lifecycle.place("labels")), lifecycle.labels.column, lifecycle.dataset.id
    known = table.read_day(day) if table.has(day) else None
    if known is None or not known[label].drop_nulls().is_in([0, 1]).all():
        return rows.with_columns(pl.lit(None, pl.Int8).alias("_positive"))
    found = known.select(identity, pl.col(label).cast(pl.Int8).alias("_positive"))
    return rows.join(found, on=identity, how="left", maintain_order="left")


def _move(rows: pl.DataFrame, identity: str, amount: str | None) -> Move:
    return Move(
        rows["before"][0],
        rows["after"][0],
        rows.height,
        _sum(rows, amount),
        rows["_positive"].count(),
        int(rows["_positive"].sum()),
        rows[identity][:_EXAMPLES].to_list(),
    )


def _standings(rows: pl.DataFrame, column: str, amount: str | None) -> dict[str, Standing]:
    return {
        str(decision): Standing(part.height, _sum(part, amount), _mean(part["_positive"]))
        for (decision,), part in sorted(rows.group_by(column), key=lambda found: str(found[0][0]))
    }


def _sum(rows: pl.DataFrame, amount: str | None) -> float | None:
    return round(float(rows[amount].sum()), 2) if amount else None


def _mean(labels: pl.Series) -> float | None:
    found = labels.mean()
    return float(found) if found is not None else None  # type: ignore[arg-type]
