"""The daily metrics of a dataset: volume, nulls, distinct values, ranges, quantiles, category shares, arrival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.history import Metric

ROWS, REFUSED, ARRIVED = "rows", "refused", "arrived_hours"
QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
_MOST_CATEGORIES = 30
_REASONS_SHOWN = 3
SCHEMA = {"column": pl.String, "metric": pl.String, "category": pl.String, "value": pl.Float64}


def daily_metrics(
    lifecycle: LifecycleDeclaration,
    validated: pl.DataFrame,
    refused: Mapping[str, int],
    arrived_hours: float | None = None,
) -> pl.DataFrame:
    """The metrics of a day as a long table: `column`, `metric`, `category`, `value`; the day's own have no column.

    `refused` counts rows in quarantine by rule; `arrived_hours` is how long after the day began its last file came.
    Nothing is said of a column without values but its nulls.
    """
    total = validated.height + sum(refused.values())
    found: list[tuple[str, str, str, float]] = [("", ROWS, "", validated.height)]
    found.append(("", REFUSED, "", sum(refused.values()) / max(1, total)))
    found += [("", REFUSED, rule, count / max(1, total)) for rule, count in sorted(refused.items())]
    if arrived_hours is not None:
        found.append(("", ARRIVED, "", arrived_hours))
    if validated.height:
        plain = validated.select(_plain(lifecycle, validated)).row(0, named=True)
        for name, value in plain.items():
            column, metric = name.split("/")
            if value is not None:
                found.append((column, metric, "", float(value)))
        for column in validated.columns:
            found += _categories(lifecycle, column, validated[column])
    return pl.DataFrame(found, schema=SCHEMA, orient="row")


def as_mapping(metrics: pl.DataFrame) -> dict[Metric, float]:
    """A day's metrics by column, metric and category."""
    return {(column, metric, category): value for column, metric, category, value in metrics.iter_rows()}


def refused_by_rule(quarantine: pl.DataFrame) -> dict[str, int]:
    """Rows of a day's quarantine by the first rule that each breaks."""
    return dict(quarantine["rule"].value_counts().sort("rule").iter_rows())


def shown_reasons(lifecycle: LifecycleDeclaration, quarantine: pl.DataFrame) -> list[str]:
    """A few reasons out of quarantine, of the most frequent rules; those that would name an entity are left out."""
    named = tuple(f"{name}_" for name in entities_of(lifecycle))
    firsts = quarantine.group_by("rule").agg(pl.len(), pl.col("reason").first()).sort(["len", "rule"], descending=True)
    shown = firsts.filter(~pl.any_horizontal(pl.col("rule").str.starts_with(name) for name in named))
    # Only what the first rule says: a later one of the same row may be about an entity.
    return [reason.split("; ")[0] for reason in shown["reason"].head(_REASONS_SHOWN)]


def entities_of(lifecycle: LifecycleDeclaration) -> set[str]:
    """The columns that say whose an event is, or which: their size means nothing."""
    quality = lifecycle.quality
    named = {lifecycle.dataset.id, lifecycle.model.entity}
    named |= {family.entity for family in lifecycle.features.windows} | {rule.entity for rule in quality.entities}
    return named | {rule.column for rule in quality.references}


def _plain(lifecycle: LifecycleDeclaration, frame: pl.DataFrame) -> Iterator[pl.Expr]:
    named = entities_of(lifecycle)
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        yield (column.null_count() / pl.len()).alias(f"{name}/nulls")
        if name != lifecycle.dataset.id:
            counts = column.drop_nulls().unique_counts()
            yield counts.len().alias(f"{name}/distinct")
            yield (counts.max() / pl.len()).alias(f"{name}/top_share")
        if name in named:
            continue
        if isinstance(dtype, pl.Datetime):
            if name == lifecycle.dataset.time:
                hour = (column - column.dt.truncate("1d")).dt.total_seconds() / 3_600
                yield from _levels(f"{name}/hour_", hour)
        elif dtype == pl.Boolean:
            yield column.mean().alias(f"{name}/true_share")
        elif dtype.is_numeric():
            yield from _levels(f"{name}/", column)
            yield column.min().alias(f"{name}/min")
            yield column.max().alias(f"{name}/max")
            yield (column == 0).mean().alias(f"{name}/zero_share")
            if dtype.is_float():
                yield (column == column.round(0)).mean().alias(f"{name}/whole_share")


def _levels(prefix: str, value: pl.Expr) -> Iterator[pl.Expr]:
    yield value.mean().alias(f"{prefix}mean")
    yield value.std().alias(f"{prefix}std")
    for name, quantile in QUANTILES.items():
        yield value.quantile(quantile).alias(f"{prefix}{name}")


def _categories(lifecycle: LifecycleDeclaration, name: str, values: pl.Series) -> list[tuple[str, str, str, float]]:
    """Shares of the values of text, of whole numbers with declared values, and of the hours of the day."""
    if name == lifecycle.dataset.time:
        values = values.dt.hour().cast(pl.String).str.zfill(2)
    elif name in entities_of(lifecycle) or not (values.dtype == pl.String or lifecycle.dataset.columns[name].allowed):
        return []
    counts = values.drop_nulls().cast(pl.String).value_counts().sort(["count", values.name], descending=[True, False])
    counts = counts.head(_MOST_CATEGORIES)
    return [(name, "share", category, count / len(values)) for category, count in counts.iter_rows()]


def arrival_hours(day: date, arrived: float) -> float:
    """Hours from the beginning of a day, UTC, to an instant given in seconds since 1970."""
    return arrived / 3_600 - (day - date(1970, 1, 1)).days * 24
