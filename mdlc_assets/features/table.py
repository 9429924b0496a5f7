"""The feature table of some days: row-level expressions and windows, for rows in order of time and id."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.base import duration_name
from mdlc_assets.features.families import decimals_of
from mdlc_assets.features.windows import window_columns
from mdlc_assets.sourcing.cells import label_type

_DAY = timedelta(days=1)


def entity_columns(lifecycle: LifecycleDeclaration) -> list[str]:
    """The entities that windows or the model know, in the dataset's order; the id is kept without being one."""
    used = {lifecycle.model.entity, *(family.entity for family in lifecycle.features.windows)}
    return [name for name in lifecycle.dataset.columns if name in used and name != lifecycle.dataset.id]


def days_needed(lifecycle: LifecycleDeclaration, first: date, last: date) -> list[date]:
    """The days whose events the features of `first` to `last` depend on."""
    reach = lifecycle.features.look_back_days()
    return lifecycle.days(first - timedelta(days=reach), last)


def label_days_needed(lifecycle: LifecycleDeclaration, first: date, last: date) -> list[date]:
    """The days whose labels the features of `first` to `last` depend on."""
    late = [column for column in lifecycle.features.window_columns() if uses_label(lifecycle, column.value)]
    if not late:
        return []
    nearest = min(column.delay for column in late) // _DAY
    farthest = -(-max(column.window + column.delay for column in late) // _DAY)
    return lifecycle.days(first - timedelta(days=farthest), last - timedelta(days=nearest))


def feature_table(
    lifecycle: LifecycleDeclaration,
    events: pl.DataFrame,
    labels: pl.DataFrame | None,
    first: date,
    last: date,
) -> pl.DataFrame:
    """Features of the events from `first` to `last` (UTC days): id, time, entities, then each as Float64.

    `events` are validated rows of `days_needed`, `labels` those of `label_days_needed`, or None when no
    label is needed (or known yet), or when the events have the label beside them.
    """
    time = lifecycle.dataset.time
    if lifecycle.labels.column not in events.columns or labels is not None:
        events = labelled(lifecycle, events, labels)
    events = in_order(lifecycle, events)
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + _DAY
    wanted = events[time].is_between(begin, end, closed="left")
    columns = lifecycle.features.window_columns()
    windowed = window_columns(events, wanted, columns, time=time, decimals=decimals_of(lifecycle))
    return finished_table(lifecycle, events if wanted.all() else events.filter(wanted), windowed)


def labelled(lifecycle: LifecycleDeclaration, events: pl.DataFrame, labels: pl.DataFrame | None) -> pl.DataFrame:
    """Events with the label column: null where no label is there, or where it came later than declared.

    With `known_at` among the labels' columns, those count that were known by the end of the day on which the
    declared delay was over: so features made again later are those that could be made at the time.
    """
    dataset, label = lifecycle.dataset, lifecycle.labels.column
    if labels is None:
        return events.with_columns(pl.lit(None, label_type(lifecycle.labels)).alias(label))
    wanted = labels.select(dataset.id, label, *(name for name in ("known_at",) if name in labels.columns))
    if labels[dataset.id].equals(events[dataset.id]):
        found = pl.concat([events, wanted.drop(dataset.id)], how="horizontal")
    else:
        found = events.join(wanted, on=dataset.id, how="left", maintain_order="left")
    if "known_at" not in found.columns:
        return found
    due = found[dataset.time].dt.truncate("1d") + (lifecycle.labels.delay // _DAY + 1) * _DAY
    if (found["known_at"] >= due).any():
        found = found.with_columns(pl.when(pl.col("known_at") < due).then(label).alias(label))
    return found.drop("known_at")


def in_order(lifecycle: LifecycleDeclaration, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows sorted by time and id; rows that are so already, as those from the lake, are only looked at."""
    time, identity = pl.col(lifecycle.dataset.time), pl.col(lifecycle.dataset.id)
    before, same = time.shift(), time.shift() == time
    follows = (before <= time) & (same.not_() | (identity.shift() <= identity))
    if rows.select(follows.slice(1).all()).item():
        return rows
    return rows.sort(lifecycle.dataset.time, lifecycle.dataset.id)


def finished_table(lifecycle: LifecycleDeclaration, events: pl.DataFrame, windowed: pl.DataFrame) -> pl.DataFrame:
    """Id, time, entities and all features of events, in their order; `windowed` holds the windowed ones.

    Row-level expressions may name columns of the event and windowed features, not each other.
    """
    rows = lifecycle.features.rows.items()
    kept = events.select(lifecycle.dataset.id, lifecycle.dataset.time, *entity_columns(lifecycle))
    if not rows:
        return pl.concat([kept, windowed], how="horizontal")
    both = pl.concat([events, windowed], how="horizontal")
    # Two steps, since a feature may be called as the column it is made from.
    made = both.select(pl.sql_expr(text).cast(pl.Float64).alias(f"_feature_{name}") for name, text in rows)
    made = made.rename({name: name.removeprefix("_feature_") for name in made.columns})
    return pl.concat([kept, made, windowed], how="horizontal")


def describe_features(lifecycle: LifecycleDeclaration) -> dict[str, str]:
    """What each feature is, in words."""
    said = {name: f"Of the event itself: {expression}" for name, expression in lifecycle.features.rows.items()}
    for column in lifecycle.features.window_columns():
        what = column.aggregation.replace("_", " ") + (f" of {column.value}" if column.value else " of events")
        late = f", ending {duration_name(column.delay)} before the event" if column.delay else ", up to the event"
        only = f", where {column.where}" if column.where else ""
        said[column.name] = (
            f"{what[0].upper()}{what[1:]} of the same {column.entity} over {duration_name(column.window)}{late}{only}; "
            f"{column.default:g} where there is none."
        )
    return said


def sources_of(lifecycle: LifecycleDeclaration, feature: str) -> list[tuple[str, str]]:
    """The (table, column) pairs that a feature is made from."""
    if feature in lifecycle.features.rows:
        named = dict.fromkeys(pl.sql_expr(lifecycle.features.rows[feature]).meta.root_names())
        windowed = [column.name for column in lifecycle.features.window_columns()]
        found = [sources_of(lifecycle, n) if n in windowed else [_table_of(lifecycle, n)] for n in named]
        return list(dict.fromkeys(source for sources in found for source in sources))
    column = next(c for c in lifecycle.features.window_columns() if c.name == feature)
    parts = [part for part in (column.value, column.where) if part]
    used = [column.entity, lifecycle.dataset.time]
    used += [name for part in parts for name in pl.sql_expr(part).meta.root_names()]
    return [_table_of(lifecycle, name) for name in dict.fromkeys(used)]


def _table_of(lifecycle: LifecycleDeclaration, column: str) -> tuple[str, str]:
    """Where a column comes from, and its name there."""
    if column == lifecycle.labels.column:
        return "labels", column
    attributes = lifecycle.dataset.attributes.items()
    return next((feed for feed, known in attributes if column in known.columns), "validated"), column


def uses_label(lifecycle: LifecycleDeclaration, value: str | None) -> bool:
    """Whether an expression names the label."""
    return value is not None and lifecycle.labels.column in pl.sql_expr(value).meta.root_names()
