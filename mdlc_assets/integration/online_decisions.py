"""Captured decisions as a table of the lake, and held against what the batch path gives for the same events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.sourcing.cells import INSTANT, TYPES

CLOSE = 1e-9
_EXAMPLES = 5
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_ANSWER: dict[str, Any] = {
    "decision_id": pl.String(),
    "request_id": pl.String(),
    "decided_at": INSTANT,
    "repeat": pl.Int64(),
    "score": pl.Float64(),
    "decision": pl.String(),
    "rule": pl.String(),
    "degraded": pl.String(),
    "model_version": pl.Int64(),
    "rules_version": pl.String(),
}
_ORDER = ("decided_at", "decision_id", "request_id")


def table_schema(lifecycle: LifecycleDeclaration) -> dict[str, Any]:
    """The event, its features, and what was answered."""
    columns = {name: TYPES[column.type] for name, column in lifecycle.dataset.columns.items()}
    first = {name: columns[name] for name in (lifecycle.dataset.id, lifecycle.dataset.time)}
    features = dict.fromkeys(lifecycle.features.names(), pl.Float64())
    # As in rules, a feature stands before the column it is called as.
    return {**columns, **features, **_ANSWER, **first}


def read_captured(lifecycle: LifecycleDeclaration, lines: Iterable[bytes]) -> tuple[pl.DataFrame, int]:
    """The decisions of captured lines, and how many lines cannot be read, as one that a full disk cut off."""
    schema, names = table_schema(lifecycle), lifecycle.features.names()
    columns = {name: column.type for name, column in lifecycle.dataset.columns.items()}
    rows, broken = [], 0
    for line in lines:
        try:
            found = orjson.loads(line)
            event, vector = found["event"], found["features"] or [None] * len(names)
            values = {n: _instant(event.get(n)) if kind == "timestamp" else event.get(n) for n, kind in columns.items()}
            values |= dict(zip(names, vector, strict=True))
            values |= {
                name: found[name] for name in ("decision_id", "request_id", "score", "decision", "rule", "degraded")
            }
            values["decided_at"] = _instant(found["decided_at"])
            values["model_version"], values["rules_version"] = found["versions"]["model"], found["versions"]["rules"]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            broken += 1
            continue
        rows.append([values.get(name) for name in schema])
    plain = {name: pl.Int64() if kind == INSTANT else kind for name, kind in schema.items()}
    return pl.DataFrame(rows, schema=plain, orient="row", strict=False).cast(schema), broken  # type: ignore[arg-type]


def _instant(text: str | None) -> int | None:
    return None if text is None else (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


def merge(before: pl.DataFrame | None, captured: pl.DataFrame) -> pl.DataFrame:
    """What the lake has and what was captured, each decision once: captured files may be gone by now.

    Of an event that was decided several times `repeat` counts from 0: the first is the one that acted.
    """
    rows = captured
    if before is not None and before.schema == captured.schema:
        rows = pl.concat([before, captured])
    rows = rows.unique(_ORDER, keep="first").sort(_ORDER)
    repeat = pl.int_range(pl.len()).over("decision_id").cast(pl.Int64).alias("repeat")
    return rows.with_columns(repeat)


@dataclass
class Agreement:
    """Online scores beside those of the batch path, of events that both scored with the same version."""

    compared: int = 0
    different: int = 0
    greatest: float = 0.0
    examples: list[Any] = field(default_factory=list)


def agreement(lifecycle: LifecycleDeclaration, online: pl.DataFrame, batch: pl.DataFrame | None) -> Agreement:
    """Of one day. Without a batch of the day nothing is compared."""
    identity = lifecycle.dataset.id
    if batch is None:
        return Agreement()
    scored = online.filter((pl.col("degraded") == "") & pl.col("score").is_not_null())
    pairs = scored.select(identity, "score", "model_version").join(
        batch.select(identity, "model_version", pl.col("score").alias("batch")), on=[identity, "model_version"]
    )
    apart = pairs.with_columns((pl.col("score") - pl.col("batch")).abs().alias("apart"))
    wrong = apart.filter(pl.col("apart") > CLOSE)
    greatest = apart["apart"].max()
    return Agreement(
        pairs.height,
        wrong.height,
        float(greatest) if greatest is not None else 0.0,  # type: ignore[arg-type]
        wrong[identity].unique(maintain_order=True)[:_EXAMPLES].to_list(),
    )
