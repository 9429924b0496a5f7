"""A lake with days of features, a registry and a local SageMaker, on which the assets of stage 6 run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl

import mdlc_assets
from mdlc_assets.asset_style import asset_key
from mdlc_assets.declaration import LifecycleDeclaration, read_declaration
from mdlc_assets.deployment.assets import deployment_definitions
from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Candidate, Registry
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.training.algorithms import FittedModel

SHIPPED = Path(mdlc_assets.__file__).parent / "lifecycles" / "payments_fraud" / "defs.yaml"
LIFECYCLE = read_declaration(SHIPPED)
NAME = LIFECYCLE.name
DAYS = [date(2018, 5, day) for day in (1, 2, 3)]


@dataclass
class Platform:
    lake: Lake
    registry: Registry
    endpoints: Endpoints
    sagemaker: SageMaker
    models: dict[int, FittedModel] = field(default_factory=dict)
    lifecycle: LifecycleDeclaration = LIFECYCLE

    @classmethod
    def below(
        cls, root: Path, lifecycle: LifecycleDeclaration = LIFECYCLE, commands: dict[str, list[str]] | None = None
    ) -> Platform:
        """Everything below a folder, with the days' features in the lake."""
        registry = Registry(tracking_uri=f"sqlite:///{root}/mlflow/mlflow.db", artifact_root=str(root / "artifacts"))
        sagemaker = SageMaker(root=str(root / "sagemaker"), commands=commands or {})
        endpoints = Endpoints(root=str(root / "sagemaker" / "endpoints"))
        platform = cls(Lake(root=str(root / "lake")), registry, endpoints, sagemaker, lifecycle=lifecycle)
        for day in DAYS:
            platform.lake.table(lifecycle.name, "features").write_day(day, feature_rows(day))
        return platform

    def register(self, as_of: str, model: FittedModel) -> int:
        """The version that a model becomes."""
        files = {f"model/{name}": content for name, content in model.files().items()}
        candidate = Candidate(as_of, model.digest(), files, model.features, {}, {})
        return self.registry.register(self.lifecycle.name, candidate).version

    def resources(self) -> dict[str, object]:
        return {
            "lake": self.lake,
            "registry": self.registry,
            "endpoints": self.endpoints,
            "sagemaker": self.sagemaker,
        }

    def approve(self, version: int) -> None:
        name = self.lifecycle.name
        chosen = self.registry.version(name, version)
        self.registry.record(name, "approve", chosen, "ann", "good enough")
        self.registry.point(name, "champion", chosen)

    def run(
        self,
        *assets: str,
        days: list[date] | None = None,
        fails: bool = False,
        selection: dg.AssetSelection | None = None,
    ) -> dg.ExecuteInProcessResult:
        wanted = selection or dg.AssetSelection.assets(*(asset_key(self.lifecycle, name) for name in assets))
        definitions = dg.Definitions.merge(
            deployment_definitions(self.lifecycle),
            dg.Definitions(
                resources=self.resources(),
                jobs=[dg.define_asset_job("wanted", wanted)],
            ),
        )
        tags = {}
        if days:
            tags = {
                "dagster/asset_partition_range_start": days[0].isoformat(),
                "dagster/asset_partition_range_end": days[-1].isoformat(),
            }
        job = definitions.resolve_job_def("wanted")
        result = job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), tags=tags, raise_on_error=False)
        assert result.success is not fails
        return result


def feature_rows(day: date, rows: int = 50) -> pl.DataFrame:
    generator = np.random.default_rng(day.day)
    began = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return pl.DataFrame(
        {
            "transaction_id": pl.Series(range(day.day * 1000, day.day * 1000 + rows), dtype=pl.Int64),
            "event_time": pl.Series(
                [began + timedelta(minutes=i) for i in range(rows)], dtype=pl.Datetime("us", "UTC")
            ),
            "customer_id": pl.Series(generator.integers(0, 9, rows), dtype=pl.Int64),
            "terminal_id": pl.Series(generator.integers(0, 9, rows), dtype=pl.Int64),
            **{name: generator.normal(size=rows) for name in LIFECYCLE.features.names()},
        }
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    return result.all_events[-1].message + "".join(
        event.step_failure_data.error.to_string()
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data.error
    )
