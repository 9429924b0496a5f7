"""What happens to files in real life, as functions from a day's rows to what arrives instead.

They take canonical column names, or those of another source by argument, so that they work on real files too.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl


def sticking_age(
    rows: pl.DataFrame, share: float = 1.0, *, column: str = "account_age_days", entity: str = "customer_id"
) -> pl.DataFrame:
    """An age that reads what it read the day before, for a share of the entities."""
    stuck = pl.col(entity).hash(seed=1) % 1_000_000 < share * 1_000_000
    return rows.with_columns(pl.when(stuck).then(pl.col(column) - 1).otherwise(pl.col(column)).alias(column))


def missing_hours(rows: pl.DataFrame, hours: Collection[int], *, time: str = "event_time") -> pl.DataFrame:
    """The events of some hours of the day are not there."""
    return rows.filter(~pl.col(time).dt.hour().is_in(list(hours)))


def dropped_rows(rows: pl.DataFrame, share: float, *, seed: int = 1) -> pl.DataFrame:
    """A share of the rows, spread over the day, is not there."""
    return rows.sample(fraction=1 - share, seed=seed).sort(rows.columns[0])


def duplicated_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Each event is there twice, as when two exports were joined."""
    return pl.concat([rows, rows])


def drifted_amount(rows: pl.DataFrame, factor: float, *, column: str = "amount") -> pl.DataFrame:
    """Amounts are multiplied, as when a currency or a price level changes; kept to cents."""
    return rows.with_columns((pl.col(column) * factor).round(2).alias(column))


def nulls(rows: pl.DataFrame, column: str, share: float, *, seed: int = 1) -> pl.DataFrame:
    """A share of a column's values is missing."""
    lost = pl.int_range(pl.len()).shuffle(seed) < share * pl.len()
    return rows.with_columns(pl.when(~lost).then(pl.col(column)).alias(column))


def new_fraud_pattern(
    rows: pl.DataFrame,
    labels: pl.DataFrame,
    share: float = 0.005,
    *,
    id_column: str = "transaction_id",
    amount: str = "amount",
    label: str = "is_fraud",
    seed: int = 1,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Fraud of a kind not seen before: payments of 1.00 to test stolen cards, at honest terminals.

    Gives the rows and the labels as they then are.
    """
    chosen = rows.sample(fraction=share, seed=seed)[id_column].implode()
    hit = pl.col(id_column).is_in(chosen)
    return (
        rows.with_columns(pl.when(hit).then(1.0).otherwise(pl.col(amount)).alias(amount)),
        labels.with_columns(pl.when(hit).then(1).otherwise(pl.col(label)).cast(labels.schema[label]).alias(label)),
    )
