"""A first declaration out of what was seen: nothing clever, everything plain to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import polars as pl

from mdlc_assets.declaration.base import duration_name
from mdlc_assets.scaffold.look import Look, Seen

MADE_ID = "row_id"
_MOST_NUMBERS = 30
MOST_CLASSES = 6
_MOST_WINDOWED = 2
_POSITIVES_TO_JUDGE_BY = 30
_FEWEST_POSITIVES = 10


@dataclass(frozen=True)
class Choices:
    """What a person said or confirmed, under our names. Without `id` the rows get one."""

    name: str
    time: str
    label: str
    positive: tuple[str, ...] = ()
    number: bool = False
    id: str | None = None
    entities: tuple[str, ...] = ()
    zone: str = "UTC"
    delay: timedelta = timedelta(days=1)
    owner: str = "team:my-team"
    weekly: bool = False
    """Labels come once a week."""
    one_weekday: bool = False
    """Only the events of one weekday have a label."""
    came: str = ""
    """The column that says when each label came; nothing can learn from it."""
    windows_of: tuple[str, ...] = ()
    """Columns with windows that are nobody's: what all rows share."""


def is_one_series(said: Choices) -> bool:
    """Whether all rows count as the past of one thing: a number is to be foretold, and it is nobody's."""
    return said.number and not said.entities


STRANGE = 0.65
"""From where an isolation forest's score counts as strange: 0.5 is as usual as can be, few reach 0.65."""


@dataclass(frozen=True)
class Span:
    """The days that the data cover on end, how many positives (or numbers) there are on them, and from where a
    prediction counts as high."""

    first: date
    last: date
    positives: int
    high: float = 0.5

    @property
    def days(self) -> int:
        """How many days these are."""
        return (self.last - self.first).days + 1


class TooFewError(ValueError):
    """Data that no model can be trained and judged on."""


def propose(look: Look, said: Choices, span: Span, *, quiet_days: bool = False, ended: bool = False) -> dict[str, Any]:
    """The attributes of a declaration, in the order in which they are read. Raises `TooFewError`.

    `ended` says that no days come after the span's last.
    """
    windows = model_windows(said, span)
    identity = said.id or MADE_ID
    kept = [seen for seen in look.columns.values() if seen.name not in (said.label, said.came)]
    columns = {seen.name: _column(seen, said) for seen in kept}
    if said.id is None:
        columns = {identity: {"type": "string", "unique": True}, **columns}
    source: dict[str, Any] = {"columns": {seen.name: seen.source for seen in kept if seen.name != seen.source}}
    # That the label is there is said even where its name is ours.
    if said.label:
        source["columns"][said.label] = look.columns[said.label].source
        source["labels_inline"] = True
    if said.came:
        source["ignore"] = [look.columns[said.came].source]
    if said.zone != "UTC":
        source["time_zone"] = said.zone
    if said.id is None:
        source["id_from_row"] = True
    if is_one_series(said):
        # Only what has an entity has a past in windows, and a forecast without its own past is a guess.
        series = "series" if "series" not in look.columns else f"series_of_{said.name}"
        columns[series] = {"type": "string"}
        source["constants"] = {series: said.name}
        said = replace(said, windows_of=(series,))
    labels = _labels(look, said)
    model: dict[str, Any] = {
        "algorithm": "xgboost",
        "hyperparameters": {"n_estimators": 100, "max_depth": 4, "learning_rate": 0.1},
    }
    if said.entities:
        model["entity"] = said.entities[0]
    model["windows"] = windows
    model["gate"] = {"floors": {"auc_roc": 0.6}, "approval": "person"}
    measured, why = ["auc_roc", "average_precision"], "More likely than not."
    foretold = f"How likely it is that {labels['positive']}." if said.label else "How unlike the usual each event is."
    if not said.label:
        model |= {"algorithm": "isolation_forest", "hyperparameters": {"n_estimators": 100}}
        model["gate"] = {"floors": {"separation": 1}, "ceilings": {"exceeding": 0.25}, "approval": "person"}
        measured, why = [], "It was never like this."
    deployment: dict[str, Any] = {}
    if said.number:
        model["algorithm"] = "xgboost_regression"
        model["gate"] = {"floors": {"r2": 0}, "approval": "person"}
        measured, why = ["r2", "mae", "wape"], "As high as the highest tenth was."
        foretold = f"Foretells {look.columns[said.label].source}."
        deployment = {"deployment": {"real_time": None}}
    return {
        "name": said.name,
        "description": foretold,
        "owners": said.owner,
        "dataset": {
            "description": "One event a row.",
            "start": span.first,
            **({"end": span.last} if ended else {}),
            "id": identity,
            "time": said.time,
            **({"quiet_days": True} if quiet_days else {}),
            "columns": columns,
            "sources": {"files": source},
        },
        **({"labels": labels} if labels else {}),
        "quality": {},
        "features": _features(look, said),
        "model": model,
        **deployment,
        "monitoring": {
            "open_loop": {"reference_days": max(7, min(28, span.days // 4))},
            **({"closed_loop": {"metrics": measured}} if measured else {}),
        },
        "decisions": {
            "rules": [
                {
                    "name": "high" if said.number else "likely" if said.label else "strange",
                    "when": f"score >= {span.high}",
                    "decide": "review",
                    "reason": why,
                }
            ],
            "otherwise": "pass",
            "actions": {"pass": "Nothing is done.", "review": "A person looks at it."},
        },
    }


def _labels(look: Look, said: Choices) -> dict[str, Any]:
    """What is declared of the label; nothing where there is none."""
    if not said.label:
        return {}
    words = look.columns[said.label].source if said.number else _words(look.columns[said.label], said.positive)
    labels: dict[str, Any] = {"column": said.label, "positive": words, "delay": duration_name(said.delay)}
    if said.number:
        labels = {"column": said.label, "kind": "number", **labels}
    return labels | ({"positive_values": list(said.positive)} if said.positive else {})


def model_windows(said: Choices, span: Span) -> dict[str, int]:
    """Test days with some thirty positives, and as many days before them to learn from as leave days to live through.

    Raises `TooFewError`.
    """
    usable = span.days - math.ceil(said.delay / timedelta(days=1))
    rate = span.positives / max(1, span.days)
    # A number is judged on whole weeks: a few days on end are too alike to tell a good forecast.
    test = max(7 if said.number else 3, min(90, usable // 3, math.ceil(_POSITIVES_TO_JUDGE_BY / max(rate, 1e-9))))
    if said.one_weekday:  # Other spans would hold more of these days now, and fewer another time.
        test = math.ceil(test / 7) * 7
    train = min(180, usable - test - max(1, usable // 10))
    if not said.label:
        test = max(3, min(14, usable // 4))
        train = min(60, usable - test - max(1, usable // 10))
        if train < 7:
            raise TooFewError(
                f"{span.days} days on end ({span.first} to {span.last}) are too few: a model needs at least 7 to learn "
                "from, and 3 to be judged on. Mend: give more days"
            )
        return {"train_days": train, "gap_days": 0, "test_days": test}
    what = "labels" if said.number else "positive labels"
    if train < 7 or rate * test < _FEWEST_POSITIVES:
        raise TooFewError(
            f"{span.days} days on end ({span.first} to {span.last}) with {span.positives} {what} are too few: "
            f"a model needs at least 7 days to learn from, and test days with {_FEWEST_POSITIVES} positives. Mend: "
            "give more days, or name with --positive what is less rare"
        )
    return {"train_days": train, "gap_days": 0, "test_days": test}


def _column(seen: Seen, said: Choices) -> dict[str, Any]:
    column: dict[str, Any] = {"type": seen.type}
    if seen.name == said.id:
        column["unique"] = True
    elif seen.nulls and seen.name != said.time:
        column["nullable"] = True
    return column


def _words(label: Seen, positive: Sequence[str]) -> str:
    what = label.name.removeprefix("is_").replace("_", " ")
    return f"{what} is {' or '.join(positive)}" if positive else f"{what} holds"


def _features(look: Look, said: Choices) -> dict[str, Any]:
    left_out = {said.time, said.label, said.came, said.id, *said.entities}
    entities = (*said.entities, *said.windows_of)
    free = [seen for seen in look.columns.values() if seen.name not in left_out]
    numbers = [seen for seen in free if seen.type in ("integer", "float")]
    rows: dict[str, str] = {}
    for seen in numbers[:_MOST_NUMBERS]:
        rows[seen.name] = f"coalesce({quoted(seen.name)}, 0)" if seen.nulls else quoted(seen.name)
    for seen in free:
        if seen.type == "boolean":
            rows[seen.name] = f"coalesce({quoted(seen.name)}, false)" if seen.nulls else quoted(seen.name)
        elif seen.type == "string" and 2 <= seen.distinct <= MOST_CLASSES:
            rows |= dict(_classes(seen))
    rows |= _of_the_time(look, said)
    windows = []
    for entity in entities:
        aggregate = {f"{entity}_events": "count"}
        aggregate |= {f"{entity}_mean_{seen.name}": f"mean({quoted(seen.name)})" for seen in numbers[:_MOST_WINDOWED]}
        windows.append({"entity": entity, "windows": ["1d", "7d", "30d"], "aggregate": aggregate})
        if said.number:
            # The number itself, as far as it is known: what any forecast begins with.
            delay = duration_name(timedelta(days=math.ceil(said.delay / timedelta(days=1)) + 1))
            known = {f"{entity}_mean_{said.label}": f"mean({quoted(said.label)})"}
            windows.append({"entity": entity, "windows": ["1d", "7d", "28d"], "delay": delay, "aggregate": known})
    return {"rows": rows} | ({"windows": windows} if windows else {})


def _classes(seen: Seen) -> Iterator[tuple[str, str]]:
    taken: set[str] = set()
    for value in seen.examples:
        word = "".join(c if c.isascii() and c.isalnum() else "_" for c in value.lower()).strip("_") or "other"
        name = f"{seen.name}_{word}"
        if name not in taken:
            taken.add(name)
            text = value.replace("'", "''")
            yield name, f"coalesce({quoted(seen.name)} = '{text}', false)"


def _of_the_time(look: Look, said: Choices) -> dict[str, str]:
    time = quoted(said.time)
    names = set(look.columns)
    made = {"weekday": f"date_part('isodow', {time})", "hour": f"date_part('hour', {time})"}
    if look.columns[said.time].distinct * 2 < look.rows.height or _at_midnight(look, said):
        del made["hour"]
    if _at_midnight(look, said):
        made["month"] = f"date_part('month', {time})"
    return {name: text for name, text in made.items() if name not in names}


def _at_midnight(look: Look, said: Choices) -> bool:
    cells = look.rows[look.columns[said.time].source]
    if cells.dtype == pl.String:
        return not cells.head(1_000).str.contains(":").any()
    return cells.dtype == pl.Date


def quoted(name: str) -> str:
    """A column's name in an expression, in quotes where the language has a use for the word itself."""
    try:
        plain = pl.sql_expr(name).meta.root_names() == [name]
    except pl.exceptions.PolarsError:
        plain = False
    return name if plain else f'"{name}"'
