"""The training set as of a day: features and the labels that were known by then."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.training.algorithms import TrainingDataError
from mdlc_assets.training.estimators import needs_labels
from mdlc_assets.training.windows import Protocol, Span


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


def refuse_untrainable(lifecycle: LifecycleDeclaration, rows: pl.DataFrame, span: Span) -> None:
    """Raises `TrainingDataError` for rows that no model should learn from, before anything is fitted.

    None at all, one class, too few positives, or features that are missing or infinite. Labels count only for
    what learns from them, or is calibrated by them.
    """
    if rows.is_empty():
        raise TrainingDataError(
            f"there are no rows to learn from in {span}. Mend: materialise `features` and `labels` of those days, "
            "then `training_set`; labels count only once they are known."
        )
    if needs_labels(lifecycle.model.algorithm) or lifecycle.model.calibrate:
        _refuse_labels(lifecycle, rows, span)
    names = lifecycle.model.features or lifecycle.features.names()
    finite = rows.select(pl.col(names).cast(pl.Float64).is_finite().fill_null(False))
    for name in names:
        wrong = ~finite[name]
        if wrong.any():
            first = rows.filter(wrong).row(0, named=True)
            raise TrainingDataError(
                f"feature {name} is missing or infinite in {wrong.sum()} of {rows.height} rows of {span}, first on "
                f"{first[lifecycle.dataset.time]:%Y-%m-%d} (found {first[name]}). Mend: correct its expression or give "
                f"it a default, then `mdlc features rebuild {lifecycle.name}`."
            )


def _refuse_labels(lifecycle: LifecycleDeclaration, rows: pl.DataFrame, span: Span) -> None:
    label = lifecycle.labels.column
    if lifecycle.labels.kind == "number":
        if rows[label].n_unique() < 2:
            raise TrainingDataError(
                f"all {rows.height} rows of {span} have the same {label}: there is nothing to foretell. Mend: train on "
                "more days, or look whether the labels of those days have arrived."
            )
        return
    positives, least = int((rows[label] == 1).sum()), lifecycle.model.least_positives
    if positives in (0, rows.height):
        raise TrainingDataError(
            f"all {rows.height} rows of {span} have the label {rows[label][0]} in {label}. Mend: train on more "
            "days, or look whether the labels of those days have arrived."
        )
    if positives < least:
        raise TrainingDataError(
            f"{span} has {positives} positives in {label} among {rows.height} rows; {least} are needed. Mend: declare "
            "longer windows.train_days, or a lower model.least_positives."
        )


def usable_test_rows(lifecycle: LifecycleDeclaration, rows: pl.DataFrame, plan: Protocol) -> pl.DataFrame:
    """The test rows to judge by. With `leave_out_known`, without entities of which a positive was known already.

    The rule is the handbook's (chapter 3): out go entities with a positive in the training days, and for test
    day k (from 0) also those with one up to the day k - 1 after the training days. With `known_days`, positives
    of earlier training days are long dealt with and do not count, so longer training is judged on the same rows.
    """
    test = rows.filter(pl.col("part") == "test")
    if not lifecycle.model.leave_out_known:
        return test
    day, entity = pl.col(lifecycle.dataset.time).dt.date(), lifecycle.model.entity
    positive = rows.filter(pl.col(lifecycle.labels.column) == 1).select(entity, day.alias("day"))
    if lifecycle.model.known_days is not None:
        since = plan.train.last - timedelta(days=lifecycle.model.known_days - 1)
        positive = positive.filter(pl.col("day") >= since)
    kept = []
    for k, test_day in enumerate(plan.test.days()):
        last_known = plan.train.days()[-1].toordinal() + k
        known = positive.filter(pl.col("day") <= date.fromordinal(last_known))
        kept.append(test.filter(day == test_day).join(known, on=entity, how="anti"))
    return pl.concat(kept)
