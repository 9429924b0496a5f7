"""What may go behind the endpoint: an approved version, packed as it is served; and the verdict on its rollout."""

from __future__ import annotations

import hashlib

from mdlc_assets.declaration.deployment import RealTime
from mdlc_assets.resources.registry import Registry, Version
from mdlc_assets.resources.sagemaker.archives import packed
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.endpoint_requests import EndpointPlan, Served
from mdlc_assets.resources.sagemaker.multi_model import MultiModelPlan
from mdlc_assets.resources.sagemaker.rollout import RolledOut
from mdlc_assets.training.foreign import FOREIGN_FILE, ForeignModel, load_any_model

_APPROVALS = ("approve", "rollback")
_ACTIONS = {"deployed": "deploy", "rolled back": "deployment_rolled_back", "refused": "deployment_refused"}


class UnapprovedError(RuntimeError):
    """A version that is to serve and that nobody approved."""


def approved_champion(registry: Registry, lifecycle: str) -> Version:
    """The champion, if the audit trail holds its approval. Raises `UnapprovedError`."""
    champion = registry.champion(lifecycle)
    if champion is None:
        raise UnapprovedError(
            f"{lifecycle} has no champion, and nothing serves that was not approved. Mend: `mdlc run {lifecycle} "
            f"train` (the job {lifecycle}_train) makes a version, `mdlc approve <version> --lifecycle {lifecycle} "
            "--reason ...` the champion of it."
        )
    if not any(e["action"] in _APPROVALS and e["version"] == champion.version for e in registry.audit(lifecycle)):
        raise UnapprovedError(
            f"the alias champion of {lifecycle} points to version {champion.version}, but the audit trail has no "
            "approval of it: the alias was moved by other means. Mend: "
            f"`mdlc approve {champion.version} --reason ...`, or point the alias back."
        )
    return champion


def approved_versions(registry: Registry, lifecycle: str) -> set[int]:
    """The versions that the audit trail has an approval of."""
    return {int(e["version"]) for e in registry.audit(lifecycle) if e["action"] in _APPROVALS}


def endpoint_plan(
    registry: Registry, sagemaker: SageMaker, lifecycle: str, declared: RealTime, champion: Version
) -> EndpointPlan:
    """What is wanted of the endpoint; the models' archives are in the bucket afterwards."""
    if declared.multi_model:
        return _multi_model_plan(registry, sagemaker, lifecycle, declared, champion)
    challenger = registry.by_alias(lifecycle, "challenger") if declared.shadow else None
    shadow = challenger if challenger and challenger.version != champion.version else None
    return EndpointPlan(
        lifecycle,
        declared,
        served_archive(registry, sagemaker, lifecycle, champion),
        sagemaker.own_image(),
        sagemaker.role_arn(),
        f"{sagemaker.bucket_address()}/capture/{lifecycle}",
        served_archive(registry, sagemaker, lifecycle, shadow) if shadow else None,
        {"mdlc:lifecycle": lifecycle},
    )


def _multi_model_plan(
    registry: Registry, sagemaker: SageMaker, lifecycle: str, declared: RealTime, champion: Version
) -> MultiModelPlan:
    assert declared.multi_model is not None
    files = registry.files(champion)
    if isinstance(load_any_model(files), ForeignModel):
        raise UnapprovedError(
            f"deployment.real_time.multi_model: version {champion.version} is read by its own image only, and a "
            "multi-model endpoint has the platform's. Mend: leave multi_model out."
        )
    archive = packed({**files, "mdlc_version": str(champion.version).encode()})
    digest = hashlib.sha256(archive).hexdigest()
    folder = f"multi-model/{declared.multi_model.endpoint}"
    storage = sagemaker.storage(folder)
    plan = MultiModelPlan(
        lifecycle,
        declared,
        Served(champion.version, "", digest),
        sagemaker.own_image(),
        sagemaker.role_arn(),
        tagged={"mdlc:multi-model": declared.multi_model.endpoint},
        prefix=f"{sagemaker.bucket_address()}/{folder}",
    )
    if not storage.has(plan.target):
        storage.write(plan.target, archive)
    return plan


def served_archive(registry: Registry, sagemaker: SageMaker, lifecycle: str, version: Version) -> Served:
    """A version with its model.tar.gz, which is in the bucket afterwards."""
    files = registry.files(version)
    model = load_any_model(files) if FOREIGN_FILE in files else None
    archive, image = (model.estimator, model.image) if isinstance(model, ForeignModel) else (packed(files), "")
    digest = hashlib.sha256(archive).hexdigest()
    storage = sagemaker.storage(f"models/{lifecycle}")
    name = f"{version.version}-{digest[:12]}/model.tar.gz"
    if not storage.has(name):
        storage.write(name, archive)
    return Served(version.version, storage.location(name), digest, image)


def put_on_record(registry: Registry, lifecycle: str, version: Version, outcome: RolledOut) -> None:
    """Add the verdict on a rollout to the audit trail; nothing when nothing changed."""
    action = _ACTIONS.get(outcome.verdict)
    if action:
        registry.record(
            lifecycle, action, version, "endpoint", outcome.why, config=outcome.config, config_before=outcome.before
        )


def taken_back(registry: Registry, lifecycle: str, version: int) -> str:
    """Why the last rollout of a version was rolled back, if nobody has approved it again since; else nothing."""
    reason = ""
    for entry in registry.audit(lifecycle):
        if entry["version"] == version:
            if entry["action"] == "deployment_rolled_back":
                reason = entry["reason"]
            elif entry["action"] in _APPROVALS or entry["action"] == "deploy":
                reason = ""
    return reason
