"""The registry's versions as packages of a SageMaker model package group, for what looks for models there.

MLflow and the audit trail decide; the group follows. Each time it is brought up to them wholly, so that what broke off
the last time is made good.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdlc_assets.deployment.approved import served_archive
from mdlc_assets.resources.registry import Registry, Version
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.jobs import Jobs, Pace
from mdlc_assets.resources.sagemaker.requests import approval_request, package_group_request, package_request

_TOLD = (
    *("algorithm", "train", "test", "refit", "declaration", "code_digest", "git_commit", "environment"),
    *("gate", "owner", "dagster_run"),
)
_DESCRIBED = re.compile(r"Version (\d+) of ")


@dataclass(frozen=True)
class Verdict:
    """What the audit trail says of a version last."""

    approved: bool
    who: str
    reason: str


def verdicts(trail: Iterable[Mapping[str, Any]]) -> dict[int, Verdict]:
    """The verdicts by version. A champion that was rolled back is rejected until somebody approves it again."""
    found: dict[int, Verdict] = {}
    for entry in trail:
        action, version = entry["action"], int(entry["version"])
        if action not in ("approve", "reject", "rollback"):
            continue
        if action == "rollback":
            found[int(entry["after"])] = Verdict(False, entry["who"], f"rolled back: {entry['reason']}")
        found[version] = Verdict(action != "reject", entry["who"], entry["reason"])
    return found


def bring_up(
    sagemaker: SageMaker, registry: Registry, lifecycle: str, group: str, pace: Pace | None = None
) -> list[tuple[int, str, str]]:
    """Make the group and each version that it lacks, and approve or reject as the trail says.

    Gives version, approval status and ARN, oldest first. Raises `ServiceError`.
    """
    jobs = Jobs(sagemaker.client(), pace)
    description = f"Versions of {lifecycle}, as MLflow has them; mdlc keeps this group."
    tagged = {"mdlc:lifecycle": lifecycle}
    if not _has_group(jobs, group):
        jobs.ensure(
            "create_model_package_group", package_group_request(group, description, tagged), taken="already exists"
        )
    there = _packages(jobs, group)
    trail = verdicts(registry.audit(lifecycle))
    found = []
    for version in registry.versions(lifecycle):
        arn, status = there.get(version.version) or (_create(sagemaker, jobs, registry, lifecycle, group, version), "")
        verdict = trail.get(version.version)
        wanted = "PendingManualApproval" if verdict is None else "Approved" if verdict.approved else "Rejected"
        if verdict is not None and status != wanted:
            request = approval_request(arn, approved=verdict.approved, who=verdict.who, reason=verdict.reason)
            jobs.call("update_model_package", request)
        found.append((version.version, wanted, arn))
    return found


def as_table(found: Sequence[tuple[int, str, str]]) -> str:
    """What `bring_up` gives, as Markdown, newest first."""
    lines = [f"| {version} | {status} | {arn} |" for version, status, arn in reversed(found)]
    return "\n".join(["| version | status | package |", "|---|---|---|", *lines])


def _has_group(jobs: Jobs, group: str) -> bool:
    named = jobs.listed("list_model_package_groups", "ModelPackageGroupSummaryList", {"NameContains": group})
    return any(one["ModelPackageGroupName"] == group for one in named)


def _packages(jobs: Jobs, group: str) -> dict[int, tuple[str, str]]:
    """ARN and status of the packages by the registry's version, which their description begins with."""
    listed = jobs.listed("list_model_packages", "ModelPackageSummaryList", {"ModelPackageGroupName": group})
    told = ((_DESCRIBED.match(one.get("ModelPackageDescription", "")), one) for one in listed)
    return {int(match[1]): (one["ModelPackageArn"], one["ModelApprovalStatus"]) for match, one in told if match}


def _create(sagemaker: SageMaker, jobs: Jobs, registry: Registry, lifecycle: str, group: str, version: Version) -> str:
    served = served_archive(registry, sagemaker, lifecycle, version)
    told = {name: version.tags[f"mdlc.{name}"] for name in _TOLD if version.tags.get(f"mdlc.{name}")}
    metadata = {"version": str(version.version), "as_of": version.as_of, "digest": version.digest, **told}
    request = package_request(
        group,
        served.image or sagemaker.own_image(),
        served.artifact,
        description=f"Version {version.version} of {lifecycle}, as of {version.as_of}.",
        metadata={f"mdlc.{name}": value for name, value in metadata.items()},
    )
    # An answer that is lost leads to a second call: the service then gives the package of the first.
    token = hashlib.sha256(f"{group}/{lifecycle}/{version.version}/{version.digest}".encode()).hexdigest()[:36]
    return str(jobs.call("create_model_package", {**request, "ClientToken": token})["ModelPackageArn"])
