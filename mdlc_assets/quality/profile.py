"""Rules that history suggests: what every day so far has kept, as a piece of a declaration to read, change and paste.

A suggestion is a guess from what happened to happen. Each says on how much it stands; what is declared already is
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from math import floor, log10
from statistics import median
from typing import Any

import polars as pl
import yaml

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import EntityRule, RepeatRule, UsualRule
from mdlc_assets.quality.entities import entity_values
from mdlc_assets.quality.history import DayFacts, History
from mdlc_assets.quality.metrics import as_mapping, daily_metrics, entities_of
from mdlc_assets.quality.repeats import judge_repeats, marks
from mdlc_assets.quality.usual import judge_usual

FEWEST_DAYS = 7
_FEWEST_COMPARISONS = 100
_KEPT_BY = 0.999
_MOST_ALLOWED = 20
_ROOM_ABOVE_MAX = 5
_VOLUME_DAYS = 14
_MOST_DECIMALS = 4
_SCATTERS = (5, 6, 8, 10)
_ALARMS_IN_DAYS = 60


@dataclass(frozen=True)
class Suggestion:
    """One piece: where it belongs (dotted), what to write there, and what it stands on."""

    field: str
    value: Any
    because: str


def suggest(lifecycle: LifecycleDeclaration, days: Mapping[date, pl.DataFrame]) -> list[Suggestion]:
    """What validated days, oldest first, have in common. Raises `ValueError` with fewer than seven days."""
    if len(days) < FEWEST_DAYS:
        raise ValueError(
            f"{lifecycle.name} has {len(days)} validated days, and a profile needs {FEWEST_DAYS}. "
            f"Mend: run the job {lifecycle.name}_history for more days first."
        )
    return [
        *_columns(lifecycle, days),
        *_entities(lifecycle, days),
        *suggest_volume(lifecycle, days),
        *_repeats(lifecycle, days),
        *_usual(lifecycle, days),
    ]


def as_yaml(suggestions: list[Suggestion]) -> str:
    """The suggestions as a piece of a declaration, the reason of each as a comment above it."""
    lines: list[str] = []
    open_parts: list[str] = []
    for said in sorted(suggestions, key=lambda said: said.field.split(".")[:-1]):
        *parents, name = said.field.split(".")
        shared = 0
        while shared < min(len(parents), len(open_parts)) and parents[shared] == open_parts[shared]:
            shared += 1
        lines += [f"{'  ' * i}{part}:" for i, part in enumerate(parents) if i >= shared]
        open_parts = parents
        indent = "  " * len(parents)
        lines.append(f"{indent}# {said.because}")
        flow = yaml.safe_dump(said.value, default_flow_style=True, sort_keys=False, width=10_000).strip()
        flow = flow.removesuffix("...").strip()
        lines.append(f"{indent}- {flow}" if name == "-" else f"{indent}{name}: {flow}")
    return "\n".join(lines) + "\n"


def merged(declared: Mapping[str, Any], suggestions: list[Suggestion]) -> dict[str, Any]:
    """A declaration's content with the suggestions in their places."""
    content = _copy(declared)
    for said in suggestions:
        *parents, name = said.field.split(".")
        place = content
        for part, following in zip(parents, [*parents[1:], name], strict=True):
            place = place.setdefault(part, [] if following == "-" else {})
        if name == "-":
            place.append(said.value)
        else:
            place[name] = said.value
    return content


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copy(part) for name, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else value


def _columns(lifecycle: LifecycleDeclaration, days: Mapping[date, pl.DataFrame]) -> Iterator[Suggestion]:
    every = pl.concat(list(days.values()))
    for name, column in lifecycle.dataset.columns.items():
        values = every[name].drop_nulls()
        if name in entities_of(lifecycle) or values.is_empty():
            continue
        place, on = f"dataset.columns.{name}", f"{len(values):,} values on {len(days)} days"
        if column.type in ("integer", "float"):
            least, most = float(values.min()), float(values.max())  # type: ignore[arg-type]
            if column.min is None and least >= 0:
                yield Suggestion(f"{place}.min", 0, f"the smallest of {on} is {least:g}")
            growing = any(rule.column == name for rule in lifecycle.quality.entities)
            if column.max is None and most > 0 and not growing:
                bound = _round_up(most * _ROOM_ABOVE_MAX)
                yield Suggestion(f"{place}.max", bound, f"the largest of {on} is {most:g}; five times as much, rounded")
            if column.type == "float" and column.decimals is None:
                decimals = _decimals(values)
                if decimals is not None:
                    yield Suggestion(f"{place}.decimals", decimals, f"none of {on} has more")
        elif column.type == "string" and column.allowed is None:
            on_days = pl.concat([rows.select(name).drop_nulls().unique() for rows in days.values()])[name]
            counts = on_days.value_counts()
            if counts.height <= _MOST_ALLOWED and (counts["count"] * 2 >= len(days)).all():
                allowed = sorted(counts[name].to_list())
                yield Suggestion(f"{place}.allowed", allowed, f"{on} are of these, each seen on half of the days")


def _round_up(value: float) -> int:
    """One leading digit, and zeros after it."""
    size = 10 ** floor(log10(value)) if value >= 1 else 1
    return int(-(-value // size) * size)


def _decimals(values: pl.Series) -> int | None:
    for decimals in range(_MOST_DECIMALS + 1):
        off = (values - values.round(decimals)).abs()
        if (off <= 10.0**-decimals / 1_000 + 1e-15 * values.abs()).all():
            return decimals
    return None


def _entities(lifecycle: LifecycleDeclaration, days: Mapping[date, pl.DataFrame]) -> Iterator[Suggestion]:
    named = entities_of(lifecycle)
    declared = {rule.column for rule in lifecycle.quality.entities}
    skipped = named | declared | {lifecycle.dataset.time}
    entities = [lifecycle.model.entity, *(family.entity for family in lifecycle.features.windows)]
    for column, kind in lifecycle.dataset.columns.items():
        if column in skipped or kind.type not in ("integer", "float", "string"):
            continue
        for entity in dict.fromkeys(entities):
            found = _change(lifecycle, entity, column, days)
            if found:
                yield found
                break  # One entity is enough: the value is its own.


def _change(
    lifecycle: LifecycleDeclaration, entity: str, column: str, days: Mapping[date, pl.DataFrame]
) -> Suggestion | None:
    rule = EntityRule(name="any", entity=entity, column=column, change="constant", mend="None.")
    values = pl.concat([entity_values(rule, rows).with_columns(day=pl.lit(day)) for day, rows in days.items()])
    before = [
        pl.col(name).shift(1).over("entity", order_by="day").alias(f"was_{name}") for name in ("low", "high", "day")
    ]
    pairs = values.with_columns(before).filter(pl.col("was_day").is_not_null())
    if pairs.height < _FEWEST_COMPARISONS or pairs["entity"].n_unique() < 2:
        return None
    gap = (pl.col("day") - pl.col("was_day")).dt.total_days()
    low, high, was_low, was_high = (pl.col(name) for name in ("low", "high", "was_low", "was_high"))
    tests = {"constant": (low == was_low) & (high == was_high) & (low == high)}
    if values["low"].dtype.is_numeric():
        tests = {
            "grows_by_day": ((low - was_high - gap).abs() < 1e-6) & (low == high),
            **tests,
            "never_falls": low >= was_high,
        }
    shares = pairs.select(**{change: holds.mean() for change, holds in tests.items()}).row(0, named=True)
    for change, share in shares.items():
        if share >= _KEPT_BY:
            words = {"grows_by_day": "grows", "constant": "stays", "never_falls": "never_falls"}[change]
            value = {
                "name": f"{column}_{words}",
                "entity": entity,
                "column": column,
                "change": change,
                "tolerated_share": max(0.001, round(2 * (1 - share), 4)),
                "mend": f"Ask {lifecycle.owners.quality} why {column} of a {entity} is not what it was.",
            }
            because = f"so it was in {share:.2%} of {pairs.height:,} comparisons of a {entity} with its day before"
            return Suggestion("quality.entities.-", value, because)
    return None


def suggest_volume(lifecycle: LifecycleDeclaration, days: Mapping[date, pl.DataFrame]) -> Iterator[Suggestion]:
    """How many rows a day may have, after those of the days before it."""
    counts = [rows.height for rows in days.values()]
    ratios = [
        count / median(counts[max(0, i - _VOLUME_DAYS) : i])
        for i, count in enumerate(counts)
        if i >= 3 and median(counts[max(0, i - _VOLUME_DAYS) : i])
    ]
    if "volume" in lifecycle.quality.model_fields_set or not ratios:
        return
    value = {
        "min_ratio": max(0.05, round(min(ratios) * 0.7, 2)),
        "max_ratio": max(1.1, round(max(ratios) * 1.4, 2)),
    }
    because = f"days had {min(ratios):.2f} to {max(ratios):.2f} times the rows of the days before them"
    yield Suggestion("quality.volume", value, because)


def _repeats(lifecycle: LifecycleDeclaration, days: Mapping[date, pl.DataFrame]) -> Iterator[Suggestion]:
    if lifecycle.quality.repeats is not None:
        return
    rule, history = RepeatRule(), History()
    most = 0.0
    for day, rows in days.items():
        today = marks(lifecycle, rows)
        for result in judge_repeats(rule, lifecycle, day, today, history):
            most = max(most, result.observed or 0.0)
        history.days[day] = DayFacts(True, rows.height, [])
        history.marks[day] = today
        history.forget(day, rule.look_back_days)
    if most <= 0.05:
        value = {"look_back_days": rule.look_back_days, "tolerated_share": max(0.001, round(2 * most, 4))}
        yield Suggestion("quality.repeats", value, f"at most {most:.2%} of a day's rows or ids were there before")


def _usual(lifecycle: LifecycleDeclaration, days: Mapping[date, pl.DataFrame]) -> Iterator[Suggestion]:
    if lifecycle.quality.usual is not None:
        return
    watched = lifecycle.model_copy(update={"quality": lifecycle.quality.model_copy(update={"usual": UsualRule()})})
    metrics = {day: as_mapping(daily_metrics(lifecycle, rows, {})) for day, rows in days.items()}
    for scatters in _SCATTERS:
        rule = UsualRule(scatters=scatters)
        history, judged, told = History(), 0, 0
        for day, today in metrics.items():
            results = judge_usual(watched, rule, day, today, history)
            judged += results[0].observed is not None
            told += any(not result.passed for result in results)
            history.days[day] = DayFacts(True, days[day].height, [])
            history.metrics[day] = today
        if told * _ALARMS_IN_DAYS <= judged or scatters == _SCATTERS[-1]:
            value = {"look_back_days": rule.look_back_days, "scatters": scatters, "severity": "warn"}
            yield Suggestion("quality.usual", value, f"it would have told {told} of {judged} days so far")
            return
