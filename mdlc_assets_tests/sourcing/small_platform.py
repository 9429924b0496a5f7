"""Stages 1 and 2 on real folders: a landing zone to put files into, and Dagster runs over them."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

import mdlc_assets
from mdlc_assets.asset_style import days_of
from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.quality.assets import quality_definitions
from mdlc_assets.resources.catalogue import Catalogue
from mdlc_assets.resources.lake import Lake, LakeDocuments, LakeTable
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.storage import open_storage
from mdlc_assets.sourcing.assets import sourcing_definitions

DAY = date(2018, 4, 1)


@cache
def shipped() -> LifecycleDeclaration:
    """The payments declaration as shipped."""
    return read_declaration(Path(mdlc_assets.__file__).parent / "lifecycles" / "payments_fraud" / "defs.yaml")


def days_from(first: date, count: int) -> list[date]:
    return [first + timedelta(days=i) for i in range(count)]


def payments(day: date, rows: int = 480, *, first_id: int | None = None) -> pl.DataFrame:
    """Good payments of a day under the declared names, spread evenly, without account ages; no two days are equal."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    base = (day - DAY).days * 100_000 if first_id is None else first_id
    return pl.DataFrame(
        {
            "transaction_id": [base + i for i in range(rows)],
            "event_time": [start + timedelta(seconds=i * (86_400 // rows)) for i in range(rows)],
            "customer_id": [i % 40 for i in range(rows)],
            "terminal_id": [i % 7 for i in range(rows)],
            "amount": [(100 + base // 100_000 + 37 * i % 9_000) / 100 for i in range(rows)],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )


def with_ages(frame: pl.DataFrame, age: int) -> pl.DataFrame:
    return frame.with_columns(pl.lit(age, pl.Int64).alias("account_age_days"))


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


@dataclass
class Platform:
    """A landing zone, a lake and a catalogue below `root`; runs share one Dagster instance."""

    root: str
    lifecycle: LifecycleDeclaration = field(default_factory=shipped)
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    @property
    def landing(self) -> LandingZone:
        return LandingZone(root=f"{self.root}/landing")

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(root=f"{self.root}/catalogue")

    def table(self, name: str) -> LakeTable:
        return Lake(root=f"{self.root}/lake").table(self.lifecycle.name, name)

    def report(self, day: date) -> dict[str, Any]:
        return self.documents().read_document(day)

    def documents(self) -> LakeDocuments:
        return Lake(root=f"{self.root}/lake").documents(self.lifecycle.name, "quality_report")

    def put(self, name: str, content: bytes | pl.DataFrame, feed: str = "transactions") -> None:
        data = parquet(content) if isinstance(content, pl.DataFrame) else content
        open_storage(f"{self.root}/landing").write(f"{self.lifecycle.name}/{feed}/{name}", data)

    def put_days(self, days: list[date]) -> None:
        for day in days:
            self.put(f"{day}.parquet", payments(day))

    def run(
        self, first: date, last: date | None = None, *assets: str, checks_only: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Stages 1 and 2 (or some assets, or the checks alone) over a range of days in one run."""
        keys = [dg.AssetKey([self.lifecycle.name, name]) for name in assets]
        chosen: dg.AssetSelection = dg.AssetSelection.assets(*keys) if keys else dg.AssetSelection.all()
        chosen = dg.AssetSelection.all_asset_checks() if checks_only else chosen
        definitions = dg.Definitions.merge(
            sourcing_definitions(self.lifecycle),
            quality_definitions(self.lifecycle),
            dg.Definitions(
                assets=[_downstream(self.lifecycle)],
                jobs=[dg.define_asset_job("days", selection=chosen)],
                resources={
                    "lake": Lake(root=f"{self.root}/lake"),
                    "landing": self.landing,
                    "catalogue": self.catalogue,
                },
            ),
        )
        return definitions.resolve_job_def("days").execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            tags={
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": (last or first).isoformat(),
            },
        )

    def contents(self) -> dict[str, bytes]:
        """Every file of the lake and the catalogue, by name."""
        found = {}
        for part in ("lake", "catalogue"):
            storage = open_storage(f"{self.root}/{part}")
            for name in storage.names(self.lifecycle.name):
                found[f"{part}/{name}"] = storage.read(name)
        return found


def _downstream(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    """Stands for the next stage: it runs only when nothing blocks it."""

    @dg.asset(
        key=dg.AssetKey([lifecycle.name, "next_stage"]),
        deps=[dg.AssetKey([lifecycle.name, "quality_report"])],
        partitions_def=days_of(lifecycle),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def next_stage() -> None: ...

    return next_stage


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step says."""
    texts = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            failure = data.user_failure_data
            texts.append((failure.description if failure else None) or str(data.error))
    return "\n".join(texts)


def ran(result: dg.ExecuteInProcessResult, asset: str) -> bool:
    """Whether the run materialised the asset for any day."""
    return any(event.asset_key.path[-1] == asset for event in _materialised(result) if event.asset_key)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str, day: date) -> dict[str, Any]:
    """Metadata values of a materialised day."""
    for event in _materialised(result):
        if event.asset_key and event.asset_key.path[-1] == asset and event.partition == day.isoformat():
            return {name: value.value for name, value in event.materialization.metadata.items()}
    raise AssertionError(f"{asset} of {day} was not materialised")


def verdicts(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], tuple[bool, str]]:
    """(check, day) to whether it passed, and why."""
    found = {}
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            data: Any = event.event_specific_data
            if data.partition:
                found[data.check_name, data.partition] = (data.passed, data.description)
    return found


def _materialised(result: dg.ExecuteInProcessResult) -> list[dg.DagsterEvent]:
    return [event for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"]
