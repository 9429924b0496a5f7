"""From data and what was said about them to a declaration that works, and the days it can start with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from pydantic import ValidationError

from mdlc_assets.declaration import DeclarationError, LifecycleDeclaration
from mdlc_assets.declaration.errors import explain
from mdlc_assets.declaration.quality import VolumeRule
from mdlc_assets.quality.history import DayFacts, History
from mdlc_assets.quality.profile import FEWEST_DAYS, Suggestion, merged, suggest, suggest_volume
from mdlc_assets.quality.volume import judge_volume
from mdlc_assets.scaffold.days import by_day, instants, longest_gap, longest_run
from mdlc_assets.scaffold.look import DataError, Look
from mdlc_assets.scaffold.propose import MOST_CLASSES, STRANGE, Choices, Span, TooFewError, is_one_series, propose
from mdlc_assets.sourcing.cells import read_cells
from mdlc_assets.sourcing.days import raw_day

_MOST_ENTITY_RULES = 2
_LOOKED_AT_DAYS = 90
_LONGEST_QUIET = 7
_LONG_AGO = timedelta(days=30)
_FEW_ROWS = 20
_ROWS_FOR_HOURS = 24 * 20


@dataclass(frozen=True)
class Draft:
    """A declaration, the rows of each day that it starts with, and what its reader should know."""

    attributes: Mapping[str, Any]
    declaration: LifecycleDeclaration
    days: Mapping[date, pl.DataFrame]
    notes: tuple[str, ...]


def draft(look: Look, said: Choices, most_days: int, today: date) -> Draft:
    """A declaration for the newest days on end, of which at most `most_days` are taken.

    It ends with the data when they ended long before `today`, so that nothing waits for days that do not come.
    Raises `DataError`, or `DeclarationError` where the platform does not take what was proposed."""
    times = instants(look.rows, look.columns[said.time].source, said.zone)
    parts = dict(by_day(look.rows, times))
    quiet = 0 < longest_gap(sorted(parts)) <= _LONGEST_QUIET
    first, last = (min(parts), max(parts)) if quiet else longest_run(sorted(parts))
    first = max(first, last - timedelta(days=most_days - 1))
    kept = {day: rows for day, rows in parts.items() if first <= day <= last}
    rows = pl.concat(list(kept.values()))
    ended = today - last > _LONG_AGO
    positives, high = (0, STRANGE) if not said.label else _labelled(rows[look.columns[said.label].source], said)
    try:
        attributes = propose(look, said, Span(first, last, positives, high), quiet_days=quiet, ended=ended)
    except TooFewError as error:
        message, _, mend = str(error).partition(". Mend: ")
        raise DataError(said.name, message, mend) from None
    declaration = _read(said.name, attributes)
    if len(kept) >= FEWEST_DAYS:
        attributes = merged(attributes, _rules(declaration, rows))
        declaration = _read(said.name, attributes)
    notes = list(_notes(look, said, parts, kept, positives))
    if ended:
        notes.append(f"no rows after {last}: dataset.end says so; take it out when newer days are to come")
    if _is_lenient(attributes):
        notes.append("not all of these days keep quality.volume, so it only warns: look at them, then let it stop")
    if quiet:
        notes.append("days without rows between those with some count as days without events (quiet_days)")
    if times.null_count():
        notes.append(f"{times.null_count()} rows have no instant that can be read, and are left out")
    return Draft(attributes, declaration, kept, tuple(notes))


def _read(name: str, attributes: Mapping[str, Any]) -> LifecycleDeclaration:
    try:
        return LifecycleDeclaration.model_validate(attributes)
    except ValidationError as error:
        raise DeclarationError(f"the draft of {name}", explain(error, LifecycleDeclaration)) from None


def _labelled(cells: pl.Series, said: Choices) -> tuple[int, float]:
    """How many labels there are to judge by, and from where a prediction is high: a chance, or the highest tenth."""
    if not said.number:
        return _positives(cells, said), 0.5
    values = read_cells(cells, "float")[0].drop_nulls()
    high = values.quantile(0.9)
    return len(values), float(f"{high or 0.0:.3g}")


def _positives(cells: pl.Series, said: Choices) -> int:
    if said.positive:
        wanted = [value.strip().lower() for value in said.positive]
        found = int(cells.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(wanted).sum())
        if not found:
            raise DataError(
                f"--positive {', '.join(said.positive)}", f"no row has it in {cells.name}", "name one that is there"
            )
        return found
    values, unreadable = read_cells(cells, "integer")
    if unreadable.any() or not values.drop_nulls().is_in([0, 1]).all():
        raise DataError(
            f"--label {cells.name}",
            "it holds other values than 0 and 1",
            "say with --positive which of them count as 1",
        )
    return int(values.sum())


def _rules(declaration: LifecycleDeclaration, rows: pl.DataFrame) -> list[Suggestion]:
    """What the newest days suggest and all days keep; of rules about single entities the first few."""
    content = io.BytesIO()
    rows.write_parquet(content)
    raw = raw_day(declaration, ["all.parquet"], lambda _: content.getvalue()).frame
    canonical = raw.select(list(declaration.dataset.columns))
    days = dict(by_day(canonical, canonical[declaration.dataset.time]))
    usual_rows = median(part.height for part in days.values())
    newest = {day: days[day] for day in sorted(days)[-_LOOKED_AT_DAYS:]}
    found = [said for said in suggest(declaration, newest) if said.field != "quality.volume"]
    found = [*found, *_volume(declaration, days, usual_rows)]
    if usual_rows < _FEW_ROWS:  # What is usual, or there twice, cannot be told from so few.
        found = [said for said in found if said.field not in ("quality.usual", "quality.repeats")]
    entities = [said for said in found if said.field.startswith("quality.entities")]
    return [said for said in found if said not in entities[_MOST_ENTITY_RULES:] and _is_kept(said, canonical)]


def _volume(
    declaration: LifecycleDeclaration, days: Mapping[date, pl.DataFrame], usual_rows: float
) -> list[Suggestion]:
    if usual_rows < _FEW_ROWS:
        value = {"min_ratio": 0.05, "max_ratio": 20, "no_empty_hours": False, "severity": "warn"}
        return [Suggestion("quality.volume", value, f"a day has some {usual_rows:g} rows")]
    said = list(suggest_volume(declaration, days))
    if usual_rows < _ROWS_FOR_HOURS:
        said = [replace(one, value={**one.value, "no_empty_hours": False}) for one in said]
    return [one if _all_keep(one, days) else replace(one, value={**one.value, "severity": "warn"}) for one in said]


def _all_keep(said: Suggestion, days: Mapping[date, pl.DataFrame]) -> bool:
    """Whether the rule would let through the days that it comes from, so that a first run is not stopped by it."""
    rule, history = VolumeRule.model_validate(said.value), History()
    for day, rows in days.items():
        if not judge_volume(rule, day, rows.height, history).passed:
            return False
        history.days[day] = DayFacts(True, rows.height, [])
    return True


def _is_lenient(attributes: Mapping[str, Any]) -> bool:
    volume = attributes["quality"].get("volume", {})
    return volume.get("severity") == "warn" and volume["max_ratio"] < _FEW_ROWS


def _is_kept(said: Suggestion, rows: pl.DataFrame) -> bool:
    """Whether a bound that the newest days suggest holds for the older ones too."""
    place, _, bound = said.field.removeprefix("dataset.columns.").rpartition(".")
    if not said.field.startswith("dataset.columns."):
        return True
    values = rows[place].drop_nulls()
    tests = {
        "min": lambda: values >= said.value,
        "max": lambda: values <= said.value,
        "allowed": lambda: values.is_in(said.value),
        "decimals": lambda: (values - values.round(said.value)).abs() < 10.0**-said.value / 1_000,
    }
    return bool(tests[bound]().all())


def _notes(
    look: Look, said: Choices, parts: Mapping[date, pl.DataFrame], kept: Mapping[date, pl.DataFrame], positives: int
) -> list[str]:
    notes = [f"{sum(map(len, kept.values())):,} rows on {len(kept)} days, {min(kept)} to {max(kept)} (UTC)"]
    if len(parts) > len(kept):
        notes.append(
            f"{len(parts) - len(kept)} other days are left out: these are the newest on end (--days takes more); "
            "a history has no gaps"
        )
    counted = f"{positives:,} numbers" if said.number else f"{positives:,} rows count as 1"
    if said.label:
        how = "once a week, all of them " if said.weekly else ""
        notes.append(f"label {look.columns[said.label].source}: {counted}; known {how}{said.delay.days}d later")
        if said.came:
            notes.append(f"{look.columns[said.came].source} says when labels came: it is left out of the events")
        if said.one_weekday:
            notes.append("only events of one weekday have a label: the model learns from those, and scores all")
    else:
        notes.append("no label: what is usual is learnt, and each event scored by how unlike it is")
    if said.id is None:
        notes.append("no id in the data: a digest of the row is the id, so a row sent again is known again")
    if said.entities:
        notes.append(f"entities: {', '.join(said.entities)}; windows of 1, 7 and 30 days are counted for each")
    elif is_one_series(said):
        notes.append("no entity found: all rows are one series, whose past is in windows (name one with --entity)")
    else:
        notes.append("no entity found: each event counts by itself, and there are no windows (name one with --entity)")
    text = [seen for seen in look.columns.values() if seen.type == "string" and seen.distinct > MOST_CLASSES]
    wide = [seen.source for seen in text if seen.name not in (said.id, said.label, *said.entities)]
    if wide:
        notes.append(f"text that became no feature: {', '.join(wide)}")
    return notes


def write_schema(folder: Path) -> Path:
    """The JSON schema beside the lifecycles, for their editors."""
    from mdlc_assets.declaration.schema import schema_text

    path = folder / "lifecycle.schema.json"
    path.write_text(schema_text(), encoding="utf-8")
    return path
