"""Approving, rejecting and taking back: what the command line and Dagster's jobs both call."""

from __future__ import annotations

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.registry import Registry, Version

GATE_TAG = "mdlc.gate"


class ApprovalError(ValueError):
    """An approval that the rules do not allow; the message says what would."""


def approve(
    registry: Registry,
    lifecycle: LifecycleDeclaration,
    version: int,
    approver: str,
    reason: str,
    *,
    override: bool = False,
) -> Version:
    """Make a version the champion. What failed its gate needs `override`, and always a reason.

    Raises `ApprovalError` and `UnknownVersionError`.
    """
    _named(approver, reason)
    chosen = registry.version(lifecycle.name, version)
    verdict = chosen.tags.get(GATE_TAG, "not judged")
    if verdict != "passed" and not override:
        raise ApprovalError(
            f"version {version} of {lifecycle.name} has not passed its gate ({verdict}). Mend: materialise its "
            "`evaluation`, or approve with --override and a reason that can be read in a year."
        )
    before = registry.champion(lifecycle.name)
    if before is not None and before.version == chosen.version:
        return chosen
    registry.record(
        lifecycle.name,
        "approve",
        chosen,
        approver,
        reason,
        override=override,
        gate=verdict,
        replaces=before.version if before else None,
    )
    registry.tag(lifecycle.name, chosen, {"mdlc.approved_by": approver, "mdlc.approved_because": reason})
    registry.point(lifecycle.name, "champion", chosen)
    return chosen


def reject(registry: Registry, lifecycle: LifecycleDeclaration, version: int, approver: str, reason: str) -> Version:
    """Put on record that a version shall not serve. The champion cannot be rejected, only rolled back."""
    _named(approver, reason)
    chosen = registry.version(lifecycle.name, version)
    champion = registry.champion(lifecycle.name)
    if champion is not None and champion.version == chosen.version:
        raise ApprovalError(f"version {version} serves. Mend: `mdlc rollback` puts the one before it back.")
    registry.record(lifecycle.name, "reject", chosen, approver, reason)
    registry.tag(lifecycle.name, chosen, {GATE_TAG: "rejected", "mdlc.rejected_by": approver})
    return chosen


def rollback(registry: Registry, lifecycle: LifecycleDeclaration, approver: str, reason: str) -> Version:
    """Put the champion before the present one back. Raises `ApprovalError` when there was none."""
    _named(approver, reason)
    champion = registry.champion(lifecycle.name)
    replaced = {
        entry["version"]: entry["replaces"]
        for entry in registry.audit(lifecycle.name)
        if entry["action"] in {"approve", "rollback"}
    }
    if champion is None or replaced.get(champion.version) is None:
        raise ApprovalError(f"{lifecycle.name} has no earlier champion to go back to")
    chosen = registry.version(lifecycle.name, replaced[champion.version])
    earlier = next(
        (
            entry["replaces"]
            for entry in registry.audit(lifecycle.name)
            if entry["action"] == "approve" and entry["version"] == chosen.version
        ),
        None,
    )
    registry.record(lifecycle.name, "rollback", chosen, approver, reason, replaces=earlier, after=champion.version)
    registry.point(lifecycle.name, "champion", chosen)
    return chosen


def approve_by_policy(registry: Registry, lifecycle: LifecycleDeclaration) -> Version:
    """Approve the challenger if it passed its gate and is newer than the champion; else keep the champion.

    Raises `ApprovalError` when nothing can serve.
    """
    challenger = registry.by_alias(lifecycle.name, "challenger")
    champion = registry.champion(lifecycle.name)
    if challenger is None:
        raise ApprovalError(f"{lifecycle.name} has no candidate. Mend: run {lifecycle.name}_train for a day.")
    if champion is not None and challenger.as_of <= champion.as_of:
        return champion
    reason = f"passed its gate as of {challenger.as_of}; the declaration says `approval: policy`"
    return approve(registry, lifecycle, challenger.version, "policy", reason)


def _named(approver: str, reason: str) -> None:
    if not approver.strip():
        raise ApprovalError("nobody is named as approver. Mend: --approver name@company.com")
    if not reason.strip():
        raise ApprovalError("no reason is given. Mend: --reason and a sentence for whoever reads it in a year")
