"""Rules about one entity from day to day: a value that must grow, must not fall, change, stick or jump."""

from __future__ import annotations

from datetime import date

import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import EntityRule
from mdlc_assets.quality.history import History, RuleResult, broken, kept, skipped

_EXAMPLES = 2
_LOOKED_AT_FOR_EXAMPLES = 50
# Values that are equal but for the last digits of a double.
_SLACK = 1e-6


def entity_columns(lifecycle: LifecycleDeclaration) -> list[str]:
    """The columns of `validated` that the entity rules read, sorted."""
    return sorted({name for rule in lifecycle.quality.entities for name in (rule.entity, rule.column)})


def entity_values(rule: EntityRule, validated: pl.DataFrame) -> pl.DataFrame:
    """Each entity's lowest and highest value on a day: columns `entity`, `low`, `high`; nulls left out."""
    value = pl.col(rule.column)
    return (
        validated.lazy()
        .filter(value.is_not_null() & pl.col(rule.entity).is_not_null())
        .group_by(pl.col(rule.entity).alias("entity"))
        .agg(low=value.min(), high=value.max())
        .sort("entity")
        .collect()
    )


def words_of(rule: EntityRule) -> str:
    """What a value must do, after "must"."""
    return {
        "grows_by_day": "grow by one for each day",
        "never_falls": "never fall",
        "constant": "stay the same",
        "never_sticks": f"not stay the same on {rule.stuck_days} days",
        "never_jumps": f"move by at most {rule.max_change or 0:g} a day",
    }[rule.change]


def judge_entities(rule: EntityRule, day: date, today: pl.DataFrame, history: History) -> RuleResult:
    """An entity rule on `today` (from `entity_values`) against the entities' last earlier passed days."""
    if today.is_empty():
        return skipped(rule.name, rule.severity, f"{rule.column} has no values on {day}")
    known = _known(rule, history, history.before(day, rule.look_back_days))
    if known is None:
        return skipped(rule.name, rule.severity, f"no earlier passed day has {rule.column} to compare with")
    compared = _compare(rule, day, today, known)
    if compared.is_empty():
        enough = "often enough " if rule.change == "never_sticks" else ""
        return skipped(rule.name, rule.severity, f"no {rule.entity} of {day} was seen {enough}on the days before")
    wrong = compared.filter("broken")
    share = wrong.height / compared.height
    seen = sorted(set((wrong if wrong.height else compared)["day"]))
    against = f"{seen[0]}" if len(seen) == 1 else f"{seen[0]} to {seen[-1]}"
    text = (
        f"{rule.column} must {words_of(rule)}; it does not for {share:.1%} of the {compared.height:,} values of "
        f"{rule.entity} on {day} that were seen before ({against}); tolerated {rule.tolerated_share:.1%}"
    )
    if share <= rule.tolerated_share:
        return kept(rule.name, rule.severity, share, text)
    text += f". {_most_common_change(wrong, day)}"
    examples = _trails(rule, wrong, today, day, history)
    return broken(rule.name, rule.severity, share, text, rule.mend, day=day, history=history, examples=examples)


def _known(rule: EntityRule, history: History, days: list[date]) -> pl.DataFrame | None:
    frames = [(day, history.values.get((rule.name, day))) for day in days]
    known = [
        frame.select("entity", day=pl.lit(day), was_low=pl.col("low"), was=pl.col("high"))
        for day, frame in frames
        if frame is not None and not frame.is_empty()
    ]
    return pl.concat(known) if known else None


def _compare(rule: EntityRule, day: date, today: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    last = known.unique("entity", keep="last", maintain_order=True)
    compared = today.join(last, on="entity", how="inner")
    gap = (pl.lit(day) - pl.col("day")).dt.total_days()
    low, high, was_low, was = (pl.col(name) for name in ("low", "high", "was_low", "was"))
    if rule.change == "never_sticks":
        earlier = known.group_by("entity", maintain_order=True).tail(rule.stuck_days - 1)
        spans = earlier.group_by("entity").agg(
            times=pl.len(), least=pl.col("was_low").min(), most=pl.col("was").max(), first=pl.col("day").min()
        )
        compared = compared.join(spans.filter(pl.col("times") == rule.stuck_days - 1), on="entity", how="inner")
        stuck = (low == high) & (pl.col("least") == low) & (pl.col("most") == high)
        return compared.with_columns(stuck.alias("broken"), day=pl.col("first"))
    apart = pl.max_horizontal(low - was, was_low - high) if rule.change == "never_jumps" else pl.lit(0)
    return compared.with_columns(
        {
            "grows_by_day": ((low - was - gap).abs() > _SLACK) | ((high - was - gap).abs() > _SLACK),
            "never_falls": low < was,
            "constant": (low != was) | (high != was_low),
            "never_jumps": apart > (rule.max_change or 0) * gap + _SLACK,
        }[rule.change].alias("broken")
        if compared["low"].dtype.is_numeric()
        else ((low != was) | (high != was_low)).alias("broken")
    )


def _most_common_change(wrong: pl.DataFrame, day: date) -> str:
    if not wrong["low"].dtype.is_numeric():
        return "The values differ" if wrong["low"].ne(wrong["was"]).any() else "The values stay"
    kinds = wrong.group_by(
        change=pl.col("low") - pl.col("was"), days=(pl.lit(day) - pl.col("day")).dt.total_days()
    ).len()
    change, days, _ = kinds.sort(["len", "days", "change"], descending=[True, False, False]).row(0)
    return f"Most often the change is {change:+,} over {days} day{'s' if days > 1 else ''}"


def _trails(rule: EntityRule, wrong: pl.DataFrame, today: pl.DataFrame, day: date, history: History) -> list[str]:
    """The values of a few broken entities on their days, stopped ones too; whose they are is not said."""
    sample = wrong.sort("entity").head(_LOOKED_AT_FOR_EXAMPLES).select("entity")
    days = [d for d in history.shown(day, rule.look_back_days) if (rule.name, d) in history.values]
    frames = [*((d, history.values[rule.name, d]) for d in days), (day, today)]
    seen = pl.concat(
        [
            frame.join(sample, on="entity", how="semi").select("entity", day=pl.lit(d), low="low", high="high")
            for d, frame in frames
        ]
    ).sort("entity", "day")
    longest = seen["entity"].value_counts().sort(["count", "entity"], descending=[True, False])
    trails = []
    for entity in longest["entity"].head(_EXAMPLES):
        rows = seen.filter(pl.col("entity") == entity).tail(4).select("low", "high", "day").rows()
        said = [f"{low if low == high else f'{low} to {high}'} on {when}" for low, high, when in rows]
        trails.append(", ".join(said))
    return list(dict.fromkeys(trails))
