"""The whole platform on one screen: load the lifecycles, bind the resources.

    dagster dev -m mdlc_assets.definitions

Shipped lifecycles lie in `mdlc_assets/lifecycles`; a team's own in folders that MDLC_LIFECYCLES names, or else in
`lifecycles` where the process was started, each a `defs.yaml` in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from mdlc_assets.declaration.files import lifecycle_files, refuse_one_name
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle, load_lifecycle
from mdlc_assets.loading import asked_once, kept_for_good
from mdlc_assets.resources.alerts import Alerts
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.catalogue import Catalogue
from mdlc_assets.resources.endpoints import Endpoints
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.online_store import OnlineStore
from mdlc_assets.resources.outboxes import Outboxes
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.reports import Reports
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.spark_cluster import spark_from_environment
from mdlc_assets.resources.streams.resource import Streams


def embedded_resources(home: Home) -> dict[str, Any]:
    """Everything on this machine, below one folder."""
    return {
        "lake": Lake(root=str(home.lake)),
        "landing": LandingZone(root=str(home.landing)),
        "catalogue": Catalogue(root=str(home.root / "catalogue")),
        "registry": Registry(tracking_uri=home.mlflow_uri, artifact_root=str(home.mlflow_artifacts)),
        "endpoints": Endpoints(root=str(home.endpoints)),
        "online_store": OnlineStore(path=str(home.root / "online" / "store.db")),
        "captured_decisions": CapturedDecisions.from_environment(home.captured_decisions),
        "outboxes": Outboxes(place=home.outbox("{lifecycle}")),
        "streams": Streams.from_environment(str(home.streams)),
        "alerts": Alerts.from_environment(str(home.root / "alerts")),
        "reports": Reports.from_environment(str(home.reports)),
        "spark_cluster": spark_from_environment(),
        "sagemaker": SageMaker(root=str(home.root / "sagemaker")),
    }


def build_definitions(
    lifecycles: Iterable[ModelLifecycle] | None = None,
    *,
    home: Home | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """Assemble the platform; tests and other deployments pass what they want to be otherwise."""
    if lifecycles is None:
        paths = lifecycle_files()
        lifecycles = [load_lifecycle(path) for path in paths]
        refuse_one_name([lifecycle.declaration.name for lifecycle in lifecycles], paths)
    chosen = list(lifecycles)
    chosen = [*chosen, *_used_by(chosen)]
    resources = embedded_resources(home or Home()) | dict(resource_overrides or {})
    # A step in a process of its own costs some 4 s, in this one 0.1 s.
    bound = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    return dg.Definitions.merge(bound, *(lifecycle.definitions() for lifecycle in chosen))


def _used_by(chosen: Sequence[ModelLifecycle]) -> list[ModelLifecycle]:
    """The lifecycles whose data others use and that are not among them: their assets belong into the graph."""
    there = {lifecycle.declaration.name for lifecycle in chosen}
    sources = {one.declaration.source.name: one.declaration.source for one in chosen}
    return [ModelLifecycle(source) for name, source in sources.items() if name not in there]


@dg.definitions
@kept_for_good()
@asked_once()
def defs() -> dg.Definitions:
    found = build_definitions()
    # Kept there; Dagster asks for it next, with the same questions once more.
    found.get_repository_def()
    return found
