"""The platform in production: the same definitions, with what they talk to named by the environment.

    dagster api grpc -m mdlc_assets.production

MDLC_LAKE, MDLC_LANDING       s3://bucket/prefix, or a folder that all runs share
MDLC_PAGES                    below it the reports, the catalogue and what was told
MLFLOW_TRACKING_URI           the registry; MDLC_ARTIFACTS is where its new artifacts and the audit trail go
MDLC_ONLINE_TABLE             when it is set, the online store is this DynamoDB table
MDLC_SAGEMAKER_ROLE           when it is set, SageMaker is AWS's, with the settings of docs/sagemaker.md
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from mdlc_assets.definitions import build_definitions, embedded_resources
from mdlc_assets.home import Home
from mdlc_assets.loading import asked_once, kept_for_good
from mdlc_assets.resources.alerts import Alerts
from mdlc_assets.resources.catalogue import Catalogue
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.landing import LandingZone
from mdlc_assets.resources.online_store import OnlineStore
from mdlc_assets.resources.registry import Registry
from mdlc_assets.resources.reports import Reports
from mdlc_assets.resources.sagemaker.client import SageMaker

NEEDED = ("MDLC_LAKE", "MDLC_LANDING", "MDLC_PAGES", "MLFLOW_TRACKING_URI", "MDLC_ARTIFACTS")


class UnsetError(ValueError):
    """Variables that production needs and that are not set."""


def in_production(environment: Mapping[str, str]) -> bool:
    """Whether the environment is meant for production: any of what it needs is there."""
    return any(environment.get(name) for name in NEEDED)


def production_resources(environment: Mapping[str, str]) -> dict[str, Any]:
    """What replaces the embedded resources. Raises `UnsetError` naming all that is missing."""
    missing = [name for name in NEEDED if not environment.get(name)]
    if missing:
        raise UnsetError(f"{', '.join(missing)}: nothing is set. Mend: set them as docs/production.md says.")
    found = {name: environment[name].rstrip("/") for name in NEEDED}
    pages = found["MDLC_PAGES"]
    resources: dict[str, Any] = {
        "lake": Lake(root=found["MDLC_LAKE"]),
        "landing": LandingZone(root=found["MDLC_LANDING"]),
        "catalogue": Catalogue(root=f"{pages}/catalogue"),
        "registry": Registry(tracking_uri=found["MLFLOW_TRACKING_URI"], artifact_root=found["MDLC_ARTIFACTS"]),
        "alerts": Alerts.from_environment(f"{pages}/alerts"),
        "reports": Reports.from_environment(f"{pages}/reports"),
    }
    if environment.get("MDLC_ONLINE_TABLE"):
        resources["online_store"] = OnlineStore(form="dynamodb", table=environment["MDLC_ONLINE_TABLE"])
    if environment.get("MDLC_SAGEMAKER_ROLE"):
        resources["sagemaker"] = SageMaker(form="aws")
    return resources


def resources_here(home: Home, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a process works with that is no Dagster run, such as the decision service. Raises `UnsetError`."""
    return embedded_resources(home) | (production_resources(environment) if in_production(environment) else {})


@dg.definitions
@kept_for_good()
@asked_once()
def defs() -> dg.Definitions:
    found = build_definitions(resource_overrides=production_resources(os.environ))
    found.get_repository_def()
    return found
