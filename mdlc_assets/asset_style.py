"""How every asset of the platform presents itself: key, group, owners, kinds, partitions, column schema."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import CodeType
from typing import Any, TypeVar, get_type_hints

import dagster as dg
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.owners import Stage

# Single-run backfills, look-back mappings (beta) and checks by partition (preview) hold where we use them in
# Dagster 1.13, by our tests; the warnings would be said once for each asset.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

F = TypeVar("F", bound=Callable[..., Any])
# Numbers first, so that the UI, which sorts groups by name, shows the stages in their order.
_STAGE_NUMBERS: Mapping[Stage, int] = {
    "sourcing": 1,
    "quality": 2,
    "features": 3,
    "model": 4,
    "training": 5,
    "deployment": 6,
    "monitoring": 7,
    "integration": 8,
}

_DAYS_WITH_OWN_EVENTS = 100

# What of a declaration a stage's assets follow from: only a change there makes them stale.
_STAGE_PARTS: Mapping[str, tuple[str, ...]] = {
    "sourcing": ("dataset", "labels"),
    "quality": ("dataset", "quality"),
    "features": ("dataset", "labels", "features"),
    "model": ("model",),
    "training": ("features", "labels", "model"),
    "deployment": ("deployment",),
    "monitoring": ("monitoring",),
    "integration": ("decisions",),
}


def asset_key(lifecycle: LifecycleDeclaration, name: str) -> dg.AssetKey:
    """The key of a lifecycle's asset: its name under the lifecycle's, or under that of the one whose data it uses."""
    return dg.AssetKey(lifecycle.place(name))


def group_name(lifecycle: LifecycleDeclaration, stage: Stage) -> str:
    """The group of a lifecycle's stage, such as `bakery_demand_1_sourcing`."""
    return f"{lifecycle.name}_{_STAGE_NUMBERS[stage]}_{stage}"


def days_of(lifecycle: LifecycleDeclaration) -> dg.DailyPartitionsDefinition:
    """The daily partitions of a lifecycle, in UTC."""
    return _days_between(lifecycle.dataset.start, lifecycle.dataset.end)


@functools.cache
def _days_between(start: date, end: date | None) -> dg.DailyPartitionsDefinition:
    return dg.DailyPartitionsDefinition(
        start_date=start.isoformat(),
        end_date=(end + timedelta(days=1)).isoformat() if end else None,
        timezone="UTC",
    )


def daily_asset(
    lifecycle: LifecycleDeclaration, stage: Stage, name: str, *, kinds: set[str] | None = None
) -> dict[str, Any]:
    """Options for `@dg.asset` of a daily asset that takes any range of days in a single run."""
    return {
        **plain_asset(lifecycle, stage, name, kinds=kinds),
        "partitions_def": days_of(lifecycle),
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }


def plain_asset(
    lifecycle: LifecycleDeclaration, stage: Stage, name: str, *, kinds: set[str] | None = None
) -> dict[str, Any]:
    """Options for `@dg.asset` of an asset without partitions."""
    return {
        "key": asset_key(lifecycle, name),
        "group_name": group_name(lifecycle, stage),
        "owners": [getattr(lifecycle.owners, stage)],
        "kinds": kinds or {"polars", "parquet"},
        "tags": {"mdlc/lifecycle": lifecycle.name, "mdlc/stage": stage},
        "code_version": _code_versions(lifecycle)[stage],
    }


class _Newest:
    """The lifecycle that was asked about last, with its answers: a stage has several assets, made one after another."""

    lifecycle: LifecycleDeclaration | None = None
    versions: Mapping[str, str] = {}


def _code_versions(lifecycle: LifecycleDeclaration) -> Mapping[str, str]:
    if _Newest.lifecycle is not lifecycle:
        _Newest.versions = lifecycle.fingerprints(_STAGE_PARTS)
        _Newest.lifecycle = lifecycle
    return _Newest.versions


_READ: dict[tuple[str, CodeType], tuple[dict[str, Any], inspect.Signature]] = {}


def read_once(function: F) -> F:
    """Below `@dg.asset` and its like: keeps the function's types and signature with it.

    Dagster asks for them some seventeen times for each function, a seventh of the time that definitions take to load.
    What the next lifecycle makes of the same lines of code has the same ones.
    """
    code = function.__code__
    if (known := _READ.get((code.co_filename, code))) is None:
        function.__annotations__ = get_type_hints(function)
        known = _READ[code.co_filename, code] = function.__annotations__, inspect.signature(function)
    function.__annotations__, function.__signature__ = known  # type: ignore[attr-defined]
    return function


def days_before(first: int, last: int = 0) -> dg.TimeWindowPartitionMapping:
    """Depends on the upstream days from `first` to `last` days before each day, both included."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-first, end_offset=-last, allow_nonexistent_upstream_partitions=True
    )


def on_labels(lifecycle: LifecycleDeclaration, mapping: dg.PartitionMapping | None = None) -> list[dg.AssetDep]:
    """What depends on the labels, for `deps`: nothing where there are none."""
    if not lifecycle.labels.column:
        return []
    return [dg.AssetDep(asset_key(lifecycle, "labels"), partition_mapping=mapping)]


def days_in_run(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[date]:
    """The days that this run materialises, whether one or a range, sorted."""
    if isinstance(context, dg.AssetCheckExecutionContext):
        context = context.op_execution_context  # type: ignore[assignment]
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def has_own_event(passed: bool, days: Sequence[date]) -> bool:
    """Whether a check's verdict on one of the run's days is an event of its own.

    An event costs some 10 ms in Dagster's SQLite, and a dozen rules over a year are thousands: beyond a hundred days
    only those that break a rule have one, and the summary of the run speaks for the others. The UI then says "Skipped"
    of such a check for as long as one of those days has no later run.
    """
    return not passed or len(days) <= _DAYS_WITH_OWN_EVENTS


def column_schema(columns: Iterable[tuple[str, str, str]]) -> dg.TableSchema:
    """Dagster's column schema from (name, type, description)."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, type_, description=text or None) for name, type_, text in columns]
    )


def frame_schema(frame: pl.DataFrame, descriptions: Mapping[str, str] | None = None) -> dg.TableSchema:
    """Dagster's column schema of a frame."""
    texts = descriptions or {}
    return column_schema((name, str(dtype), texts.get(name, "")) for name, dtype in frame.schema.items())


def end_of(day: date) -> datetime:
    """The first instant after `day`, in UTC: what was known before it is known as of the day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
