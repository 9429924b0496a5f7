"""The jobs by which a person refuses a version or takes the champion back; approving materialises `champion`.

In the UI: Jobs, the job's Launchpad, fill in who and why, Launch. `mdlc reject` and `mdlc rollback` run the same.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from mdlc_assets.asset_style import asset_key, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.deployment.packages import bring_up
from mdlc_assets.resources.registry import Registry, UnknownVersionError
from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import ServiceError
from mdlc_assets.training.algorithms import ModelFileError
from mdlc_assets.training.approval import ApprovalError, reject, rollback


class RejectConfig(dg.Config):
    """Which version, who refuses it, and why."""

    version: int = Field(description="The version that shall not serve.")
    approver: str = Field(description="Who decides: name@company.com")
    reason: str = Field(description="Why, for whoever reads it in a year.")


class RollbackConfig(dg.Config):
    """Who takes the champion back, and why; the one before it serves again."""

    approver: str = Field(description="Who decides: name@company.com")
    reason: str = Field(description="Why, for whoever reads it in a year.")


def reject_job(lifecycle: LifecycleDeclaration, name: str) -> dg.JobDefinition:
    """Puts on record that a version shall not serve."""

    @dg.op(name=f"{lifecycle.name}__reject", description="Writes the refusal to the audit trail and to the registry.")
    @read_once
    def refuse(context: dg.OpExecutionContext, config: RejectConfig, registry: Registry, sagemaker: SageMaker) -> None:
        try:
            version = reject(registry, lifecycle, config.version, config.approver, config.reason, context.run_id)
        except (ApprovalError, UnknownVersionError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        metadata: dict[str, Any] = {"rejected version": version.version, "by": config.approver, "reason": config.reason}
        context.log_event(
            dg.AssetObservation(
                asset_key=asset_key(lifecycle, "candidate_model"), partition=version.as_of, metadata=metadata
            )
        )
        _show_at_sagemaker(lifecycle, registry, sagemaker, f"Version {version.version} is rejected")

    @dg.job(
        name=name,
        description="Refuses a version, with who and why in the audit trail. The champion cannot be refused, only "
        "rolled back.",
        tags=_tags(lifecycle, "reject"),
    )
    def job() -> None:
        refuse()

    return job


def rollback_job(lifecycle: LifecycleDeclaration, name: str) -> dg.JobDefinition:
    """Puts the champion before the present one back."""

    @dg.op(
        name=f"{lifecycle.name}__rollback",
        description="Writes the rollback to the audit trail and points `champion` to the one before.",
    )
    @read_once
    def take_back(
        context: dg.OpExecutionContext, config: RollbackConfig, registry: Registry, sagemaker: SageMaker
    ) -> None:
        try:
            version = rollback(registry, lifecycle, config.approver, config.reason, context.run_id)
        except (ApprovalError, UnknownVersionError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from None
        context.log_event(
            dg.AssetMaterialization(
                asset_key=asset_key(lifecycle, "champion"),
                metadata={
                    "version": version.version,
                    "as of": version.as_of,
                    "approved by": config.approver,
                    "reason": f"rollback: {config.reason}",
                    "audit head": str(registry.audit_head(lifecycle.name)),
                },
            )
        )
        _show_at_sagemaker(lifecycle, registry, sagemaker, f"Version {version.version} is the champion again")

    @dg.job(
        name=name,
        description="Takes the champion back: the version approved before it serves again, with who and why in the "
        "audit trail. The endpoint follows by the sensor deploy_approved.",
        tags=_tags(lifecycle, "rollback"),
    )
    def job() -> None:
        take_back()

    return job


def _show_at_sagemaker(lifecycle: LifecycleDeclaration, registry: Registry, sagemaker: SageMaker, decided: str) -> None:
    group = lifecycle.deployment.package_group
    if not group:
        return
    try:
        bring_up(sagemaker, registry, lifecycle.name, group)
    except Exception as error:
        # Whatever it is, the decision is made: who reads of the failure must not take it for undone.
        known = isinstance(error, ServiceError | ModelFileError) or "Mend:" in str(error)
        said = str(error).rstrip(".") if known else f"{type(error).__name__}: {error}"
        again = asset_key(lifecycle, "model_packages").to_user_string()
        raise dg.Failure(
            description=f"{decided}, and the audit trail has it; but the model package group {group} does not show it "
            f"yet: {said}. When that is mended, materialise {again}; nothing is to be decided again.",
            allow_retries=False,
        ) from error


def _tags(lifecycle: LifecycleDeclaration, workflow: str) -> dict[str, str]:
    return {"mdlc/lifecycle": lifecycle.name, "mdlc/workflow": workflow}
