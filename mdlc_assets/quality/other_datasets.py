"""Rules beside other datasets: values that must exist in a reference, and a second source that must agree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import AgreementRule, ReferenceRule, Severity
from mdlc_assets.quality.history import History, RuleResult, broken, kept, skipped
from mdlc_assets.quality.metrics import entities_of

_EXAMPLES = 3
# Two doubles that are the same number written differently.
_SLACK = 1e-9


@dataclass(frozen=True)
class OtherDataset:
    """Rows of another dataset as of a day, and the file they are from."""

    file: str
    rows: pl.DataFrame


def judge_reference(
    rule: ReferenceRule,
    lifecycle: LifecycleDeclaration,
    day: date,
    validated: pl.DataFrame,
    reference: OtherDataset | None,
    history: History,
) -> RuleResult:
    """The share of the day's rows whose value is not in the reference; a row without value has nothing to find."""
    if reference is None:
        return skipped(rule.name, rule.severity, f"dataset {rule.dataset} has no file for {day} or before")
    theirs = rule.dataset_column or rule.column
    lacking = _lacking(rule.name, rule.severity, reference, [theirs], day, history)
    if lacking:
        return lacking
    ours = validated[rule.column].drop_nulls()
    if ours.is_empty():
        return skipped(rule.name, rule.severity, f"{rule.column} has no values on {day}")
    known = reference.rows[theirs].cast(ours.dtype, strict=False).drop_nulls().unique()
    unknown = ours.filter(~ours.is_in(known.implode()))
    share = len(unknown) / len(ours)
    text = (
        f"{len(unknown):,} of {len(ours):,} rows of {day} ({share:.2%}) have a {rule.column} that is not among the "
        f"{len(known):,} of {rule.dataset} ({reference.file}); tolerated {rule.tolerated_share:.2%}"
    )
    if share <= rule.tolerated_share:
        return kept(rule.name, rule.severity, share, text)
    text += f". They are {unknown.n_unique():,} different values"
    examples = [] if rule.column == lifecycle.model.entity else _most_frequent(unknown)
    return broken(rule.name, rule.severity, share, text, rule.mend, day=day, history=history, examples=examples)


def judge_agreement(
    rule: AgreementRule,
    lifecycle: LifecycleDeclaration,
    day: date,
    validated: pl.DataFrame,
    other: OtherDataset | None,
    history: History,
) -> RuleResult:
    """The day's rows beside the second source's: row by row where it has ids, else row counts and sums."""
    if other is None:
        text = f"dataset {rule.dataset} has no file for {day}"
        if not rule.required:
            return skipped(rule.name, rule.severity, text)
        return broken(rule.name, rule.severity, 1.0, text, rule.mend, day=day, history=history)
    wanted = [*([rule.id] if rule.id else []), *rule.columns.values()]
    lacking = _lacking(rule.name, rule.severity, other, wanted, day, history)
    if lacking:
        return lacking
    compare = _by_id if rule.id else _by_totals
    share, differences, examples = compare(rule, lifecycle, validated, other.rows)
    text = (
        f"{lifecycle.name} and {rule.dataset} ({other.file}) differ on {day}: "
        f"{'; '.join(differences) or 'in nothing'}; tolerated {rule.tolerated_share:.2%}"
    )
    if share <= rule.tolerated_share:
        return kept(rule.name, rule.severity, share, text)
    return broken(rule.name, rule.severity, share, text, rule.mend, day=day, history=history, examples=examples)


def _by_id(
    rule: AgreementRule, lifecycle: LifecycleDeclaration, validated: pl.DataFrame, other: pl.DataFrame
) -> tuple[float, list[str], list[str]]:
    """The share of ids that are on one side only or have another value, what differs, and differing values."""
    identity = lifecycle.dataset.id
    ours = validated.select(pl.col(identity).alias("id"), *rule.columns)
    theirs = other.select(
        pl.col(rule.id).cast(ours.schema["id"], strict=False).alias("id"),
        *(
            pl.col(name).cast(validated.schema[column], strict=False).alias(f"{column}/theirs")
            for column, name in rule.columns.items()
        ),
        there=pl.lit(True),
    ).unique("id", keep="first", maintain_order=True)
    joined = ours.with_columns(here=pl.lit(True)).join(theirs, on="id", how="full", coalesce=True)
    here, there = joined["here"].fill_null(False), joined["there"].fill_null(False)
    total = max(1, joined.height)
    differences, examples = [], []
    wrong = ~here | ~there
    for count, words in (((~there).sum(), f"are not in {rule.dataset}"), ((~here).sum(), "are there alone")):
        if count:
            differences.append(f"{count:,} of {total:,} ids ({count / total:.2%}) {words}")
    for column in rule.columns:
        differs = here & there & ~_same(joined, column)
        if differs.any():
            count = int(differs.sum())
            differences.append(f"{column} has another value for {count:,} ids ({count / total:.2%})")
            if column not in entities_of(lifecycle):
                shown = joined.filter(differs).sort("id").head(_EXAMPLES).select(column, f"{column}/theirs").rows()
                examples += [f"{column} {a} here, {b} there" for a, b in shown]
        wrong = wrong | differs
    return float(wrong.sum()) / total, differences, examples[:_EXAMPLES]


def _same(joined: pl.DataFrame, column: str) -> pl.Series:
    ours, theirs = pl.col(column), pl.col(f"{column}/theirs")
    same = ours.eq_missing(theirs)
    if joined.schema[column].is_float():
        same = same | ((ours - theirs).abs() <= _SLACK * pl.max_horizontal(ours.abs(), theirs.abs())).fill_null(False)
    return joined.select(same).to_series()


def _by_totals(
    rule: AgreementRule, lifecycle: LifecycleDeclaration, validated: pl.DataFrame, other: pl.DataFrame
) -> tuple[float, list[str], list[str]]:
    """The largest relative difference of row count and sums, and what differs."""
    totals = [("rows", float(validated.height), float(other.height))]
    for column, name in rule.columns.items():
        theirs = other[name].cast(pl.Float64, strict=False).sum()
        totals.append((f"the sum of {column}", float(validated[column].sum()), float(theirs)))
    worst, differences = 0.0, []
    for what, a, b in totals:
        apart = abs(a - b) / max(abs(a), abs(b), 1e-12)
        if apart > _SLACK:
            differences.append(f"{what} {a:,.12g} here and {b:,.12g} there ({apart:.2%})")
            worst = max(worst, apart)
    return worst, differences, []


def _lacking(
    name: str, severity: Severity, other: OtherDataset, columns: list[str], day: date, history: History
) -> RuleResult | None:
    absent = [column for column in columns if column not in other.rows.columns]
    if not absent:
        return None
    text = f"{other.file} has no column {', '.join(absent)}; it has {', '.join(other.rows.columns)}"
    mend = "correct the column's name in the declaration, or ask for a file that has it"
    return broken(name, severity, 1.0, text, mend, day=day, history=history)


def _most_frequent(values: pl.Series) -> list[str]:
    counts = values.value_counts().sort(["count", values.name], descending=[True, False]).head(_EXAMPLES)
    return [f"{value} ({count:,} rows)" for value, count in counts.iter_rows()]
