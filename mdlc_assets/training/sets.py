"""The training set as of a day: features and the labels that were known by then."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training.windows import Protocol


class LeakError(ValueError):
    """A label that was not yet known was about to be used."""


def training_rows(
    lifecycle: LifecycleDeclaration,
    features: pl.DataFrame,
    labels: pl.DataFrame,
    plan: Protocol,
    known_before: datetime,
) -> pl.DataFrame:
    """Rows of the whole span with their label and `part` (train, gap or test), sorted by time and id.

    Only labels with `known_at` before `known_before` count; rows without such a label are left out.
    """
    dataset, label = lifecycle.dataset, lifecycle.labels.column
    known = labels.filter(pl.col("known_at") < known_before)
    day = pl.col(dataset.time).dt.date()
    part = (
        pl.when(day <= plan.train.last)
        .then(pl.lit("train"))
        .when(day >= plan.test.first)
        .then(pl.lit("test"))
        .otherwise(pl.lit("gap"))
    )
    rows = features.join(known, on=dataset.id, how="inner", maintain_order="left")
    refuse_leaks(rows, known_before)
    names = [dataset.id, dataset.time, lifecycle.model.entity, *lifecycle.features.names(), label]
    return rows.filter(day.is_between(plan.whole.first, plan.whole.last)).select(
        *dict.fromkeys(names), part.alias("part")
    )


def refuse_leaks(rows: pl.DataFrame, known_before: datetime) -> None:
    """Raises `LeakError` if any row's label became known only later."""
    late = rows.filter(pl.col("known_at") >= known_before).height
    if late:
        raise LeakError(f"{late} labels were not known before {known_before}. Mend: filter by known_at.")


def usable_test_rows(lifecycle: LifecycleDeclaration, rows: pl.DataFrame, plan: Protocol) -> pl.DataFrame:
    """The test rows to judge by. With `leave_out_known`, without entities whose fraud was known already.

    The rule is the handbook's (chapter 3): out go entities with a fraud in the training days, and for test
    day k (from 0) also those with a fraud up to the day k - 1 after the training days. With `known_days`, frauds
    of earlier training days are long dealt with and do not count, so longer training is judged on the same rows.
    """
    test = rows.filter(pl.col("part") == "test")
    if not lifecycle.model.leave_out_known:
        return test
    day, entity = pl.col(lifecycle.dataset.time).dt.date(), lifecycle.model.entity
    fraud = rows.filter(pl.col(lifecycle.labels.column) == 1).select(entity, day.alias("day"))
    if lifecycle.model.known_days is not None:
        since = plan.train.last - timedelta(days=lifecycle.model.known_days - 1)
        fraud = fraud.filter(pl.col("day") >= since)
    kept = []
    for k, test_day in enumerate(plan.test.days()):
        last_known = plan.train.days()[-1].toordinal() + k
        known = fraud.filter(pl.col("day") <= date.fromordinal(last_known))
        kept.append(test.filter(day == test_day).join(known, on=entity, how="anti"))
    return pl.concat(kept)
