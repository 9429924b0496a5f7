"""Events that come again: ids of earlier days, and rows that but for their id and date were there before."""

from __future__ import annotations

from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import RepeatRule
from mdlc_assets.quality.history import History, RuleResult, broken, kept, skipped

REPEATED_IDS, REPEATED_ROWS = "repeated_ids", "repeated_rows"
_DAYS_NAMED = 3


def marks(lifecycle: LifecycleDeclaration, validated: pl.DataFrame) -> pl.DataFrame:
    """Prints of a day's events: `id`, and `row`, of everything else with the time of day in place of the instant.

    Prints are hashes that hold within one process only; they are made again from the rows, never stored.
    """
    dataset = lifecycle.dataset
    others = [name for name in dataset.columns if name not in (dataset.id, dataset.time)]
    return validated.select(
        id=pl.col(dataset.id).hash(),
        row=pl.struct(pl.col(dataset.time).dt.time().alias(dataset.time), *others).hash(),
    )


def judge_repeats(
    rule: RepeatRule, lifecycle: LifecycleDeclaration, day: date, today: pl.DataFrame, history: History
) -> list[RuleResult]:
    """Both rules on `today` (from `marks`) against the passed days before; rows also against their own day."""
    days = [d for d in history.before(day, rule.look_back_days) if d in history.marks]
    earlier = [history.marks[d].with_columns(day=pl.lit(d)) for d in days]
    known = pl.concat(earlier) if earlier else today.clear().with_columns(day=pl.lit(day))
    return [
        _judge(rule, REPEATED_IDS, f"values of {lifecycle.dataset.id}", "id", day, today, known, history),
        _judge(rule, REPEATED_ROWS, "rows, but for their id and date,", "row", day, today, known, history),
    ]


def _judge(
    rule: RepeatRule,
    name: str,
    what: str,
    column: str,
    day: date,
    today: pl.DataFrame,
    known: pl.DataFrame,
    history: History,
) -> RuleResult:
    if today.is_empty():
        return skipped(name, rule.severity, f"{day} has no rows")
    # Few are seen again, if any: those alone are looked at closely.
    again = known.select(column, "day").join(today.select(column), on=column, how="semi", maintain_order="left")
    seen = again.unique(column, keep="last", maintain_order=True)
    marked = today.select(column).join(seen, on=column, how="left", maintain_order="left")
    if column == "row":  # Ids are unique within the day by an earlier rule.
        twice = pl.col(column).is_first_distinct().not_() & pl.col("day").is_null()
        marked = marked.with_columns(pl.when(twice).then(pl.lit(day)).otherwise("day").alias("day"))
    repeated = marked.filter(pl.col("day").is_not_null())
    share = repeated.height / today.height
    text = (
        f"{repeated.height:,} of {today.height:,} {what} on {day} were there before ({share:.2%}); "
        f"tolerated {rule.tolerated_share:.2%}"
    )
    if share <= rule.tolerated_share:
        return kept(name, rule.severity, share, text)
    by_day = repeated["day"].value_counts().sort(["count", "day"], descending=True).rows()
    places = [f"{count:,} on {'the same day' if when == day else when}" for when, count in by_day[:_DAYS_NAMED]]
    more = f" and {len(by_day) - _DAYS_NAMED} more days" if len(by_day) > _DAYS_NAMED else ""
    text += f". They stand there {', '.join(places)}{more}"
    return broken(name, rule.severity, share, text, rule.mend, day=day, history=history)
