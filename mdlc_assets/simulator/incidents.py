"""What happens to files in real life, as functions from a day's rows to what arrives instead.

They take canonical column names, or those of another source by argument, so that they work on real files too.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

_NEW_IDS = 500_000_000_000


def sticking_age(
    rows: pl.DataFrame,
    share: float = 1.0,
    *,
    days: int = 1,
    column: str = "account_age_days",
    entity: str = "customer_id",
    seed: int = 1,
) -> pl.DataFrame:
    """An age that reads what it read `days` before, for a share of the entities."""
    return _changed(rows, column, pl.col(column) - days, _entities(entity, share, seed))


def reset_age(
    rows: pl.DataFrame, share: float, *, column: str = "account_age_days", entity: str = "customer_id", seed: int = 1
) -> pl.DataFrame:
    """An age that reads 54 whatever it was, for a share of the entities."""
    return _changed(rows, column, pl.lit(54), _entities(entity, share, seed))


def jumped_age(
    rows: pl.DataFrame, share: float, *, column: str = "account_age_days", entity: str = "customer_id", seed: int = 1
) -> pl.DataFrame:
    """An age that is suddenly 310 days more, for a share of the entities."""
    return _changed(rows, column, pl.col(column) + 310, _entities(entity, share, seed))


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


def truncated(rows: pl.DataFrame, share: float, *, time: str = "event_time") -> pl.DataFrame:
    """The last share of the file, in time order, did not arrive."""
    return rows.sort(time).head(round(rows.height * (1 - share)))


def again_with_new_ids(
    rows: pl.DataFrame, share: float, *, id_column: str = "transaction_id", seed: int = 1
) -> pl.DataFrame:
    """A share of the events is there twice, the second time under an id of its own."""
    return pl.concat([rows, _renumbered(rows.sample(fraction=share, seed=seed), id_column)])


def again_with_same_ids(rows: pl.DataFrame, share: float, *, seed: int = 1) -> pl.DataFrame:
    """A share of the rows is there twice, ids and all."""
    return pl.concat([rows, rows.sample(fraction=share, seed=seed)])


def replayed(
    rows: pl.DataFrame,
    yesterday: pl.DataFrame,
    share: float,
    *,
    id_column: str = "transaction_id",
    time: str = "event_time",
    seed: int = 1,
) -> pl.DataFrame:
    """A share of the day's rows is replaced by rows of yesterday under today's date and ids of their own."""
    gap = (rows[time].min() - yesterday[time].min()).days or 1  # type: ignore[operator, union-attr]
    old = yesterday.sample(fraction=share, seed=seed).with_columns(pl.col(time) + pl.duration(days=gap))
    return pl.concat([rows.sample(fraction=1 - share, seed=seed), _renumbered(old, id_column)])


def repeated_ids(
    rows: pl.DataFrame, yesterday: pl.DataFrame, share: float, *, id_column: str = "transaction_id", seed: int = 1
) -> pl.DataFrame:
    """A share of the rows has ids that other events had yesterday."""
    count = round(rows.height * share)
    old = yesterday[id_column].sample(count, with_replacement=False, seed=seed)
    order = rows.sample(fraction=1, shuffle=True, seed=seed)
    return order.with_columns(pl.concat([old, order[id_column][count:]]).alias(id_column))


def scaled(rows: pl.DataFrame, factor: float, share: float, *, column: str = "amount", seed: int = 1) -> pl.DataFrame:
    """A share of the amounts is in another unit; kept to cents."""
    return _changed(rows, column, (pl.col(column) * factor).round(2), _some(share, seed))


def constant(rows: pl.DataFrame, share: float, value: object, *, column: str, seed: int = 1) -> pl.DataFrame:
    """A share of the rows has one and the same value."""
    return _changed(rows, column, pl.lit(value), _some(share, seed))


def rounded(rows: pl.DataFrame, share: float, *, column: str = "amount", seed: int = 1) -> pl.DataFrame:
    """A share of the amounts lost its cents."""
    return _changed(rows, column, pl.col(column).round(0), _some(share, seed))


def shifted_time(rows: pl.DataFrame, minutes: int, *, time: str = "event_time") -> pl.DataFrame:
    """Every instant is written in another time zone."""
    return rows.with_columns(pl.col(time) + pl.duration(minutes=minutes))


def other_day(rows: pl.DataFrame, share: float, *, time: str = "event_time", seed: int = 1) -> pl.DataFrame:
    """A share of the rows belongs to the day before."""
    return _changed(rows, time, pl.col(time) - pl.duration(days=1), _some(share, seed))


def burst(
    rows: pl.DataFrame,
    share: float,
    *,
    id_column: str = "transaction_id",
    time: str = "event_time",
    hour: int = 3,
    seed: int = 1,
) -> pl.DataFrame:
    """So many rows more, all within one hour of the night."""
    more = rows.sample(fraction=share, seed=seed)
    start = pl.col(time).dt.truncate("1d") + pl.duration(hours=hour)
    second = pl.int_range(pl.len()) * 3_599 // pl.len()
    return pl.concat([rows, _renumbered(more.with_columns(start + pl.duration(seconds=second)), id_column)])


def shuffled(rows: pl.DataFrame, share: float, *, column: str, seed: int = 1) -> pl.DataFrame:
    """The values of a column stand at other rows, for a share of the rows."""
    values = pl.col(column).filter(_some(share, seed))
    order = rows.with_row_index("_row").filter(_some(share, seed))
    mixed = order.select("_row", rows.select(values).to_series().shuffle(seed).alias("_value"))
    found = rows.with_row_index("_row").join(mixed, on="_row", how="left", maintain_order="left")
    return found.with_columns(pl.coalesce("_value", column).alias(column)).drop("_row", "_value")


def swapped(rows: pl.DataFrame, share: float, first: str, second: str, *, seed: int = 1) -> pl.DataFrame:
    """The values of two columns stand in each other's place, for a share of the rows."""
    hit = _some(share, seed)
    return rows.with_columns(
        pl.when(hit).then(second).otherwise(first).alias(first),
        pl.when(hit).then(first).otherwise(second).alias(second),
    )


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


def _some(share: float, seed: int) -> pl.Expr:
    return pl.int_range(pl.len()).shuffle(seed) < share * pl.len()


def _entities(entity: str, share: float, seed: int) -> pl.Expr:
    return pl.col(entity).hash(seed=seed) % 1_000_000 < share * 1_000_000


def _changed(rows: pl.DataFrame, column: str, value: pl.Expr, hit: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(pl.when(hit).then(value).otherwise(column).cast(rows.schema[column]).alias(column))


def _renumbered(rows: pl.DataFrame, id_column: str) -> pl.DataFrame:
    return rows.with_columns(pl.col(id_column) + _NEW_IDS)
