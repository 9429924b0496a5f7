"""Approving, rejecting and taking back: what the command line and Dagster's jobs both call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.audit import Head, TrailMovedError
from mdlc_assets.resources.registry import Registry, Version

GATE_TAG = "mdlc.gate"
COMPARED_TAG = "mdlc.compared_with"


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
    dagster_run: str = "",
) -> Version:
    """Make a version the champion. What failed its gate needs `override`, and always a reason.

    Raises `ApprovalError` and `UnknownVersionError`.
    """
    _named(approver, reason)
    head = _settled(registry, lifecycle)
    chosen = registry.version(lifecycle.name, version)
    before = registry.champion(lifecycle.name)
    verdict = chosen.tags.get(GATE_TAG, "not judged")
    if before is not None and before.version == chosen.version:
        return chosen
    if verdict != "passed" and not override:
        refused = verdict.startswith("refused")
        mend = (
            "train on more days or other features (model.windows, features)"
            if refused
            else "materialise its `evaluation`"
        )
        raise ApprovalError(
            f"version {version} of {lifecycle.name} has not passed its gate ({verdict}). Mend: {mend}, or approve with "
            "--override and a reason that can be read in a year."
        )
    compared = chosen.tags.get(COMPARED_TAG)
    if before is not None and compared not in (None, str(before.version)) and not override:
        beside = "no champion" if compared == "none" else f"version {compared}"
        raise ApprovalError(
            f"version {version} of {lifecycle.name} was judged beside {beside}, and version {before.version} serves "
            f"now. Mend: materialise `evaluation` as of {chosen.as_of} again, or approve with --override and a reason."
        )
    _write(
        registry,
        lifecycle,
        "approve",
        chosen,
        approver,
        reason,
        head,
        override=override,
        gate=verdict,
        replaces=before.version if before else None,
        dagster_run=dagster_run,
    )
    registry.tag(lifecycle.name, chosen, {"mdlc.approved_by": approver, "mdlc.approved_because": reason})
    return chosen


def reject(
    registry: Registry, lifecycle: LifecycleDeclaration, version: int, approver: str, reason: str, dagster_run: str = ""
) -> Version:
    """Put on record that a version shall not serve. The champion cannot be rejected, only rolled back."""
    _named(approver, reason)
    head = _settled(registry, lifecycle)
    chosen = registry.version(lifecycle.name, version)
    champion = registry.champion(lifecycle.name)
    if champion is not None and champion.version == chosen.version:
        raise ApprovalError(f"version {version} serves. Mend: `mdlc rollback` puts the one before it back.")
    gate = chosen.tags.get(GATE_TAG, "not judged")
    _write(registry, lifecycle, "reject", chosen, approver, reason, head, gate=gate, dagster_run=dagster_run)
    registry.tag(lifecycle.name, chosen, {GATE_TAG: "rejected", "mdlc.rejected_by": approver})
    return chosen


def rollback(
    registry: Registry, lifecycle: LifecycleDeclaration, approver: str, reason: str, dagster_run: str = ""
) -> Version:
    """Put the champion before the present one back. Raises `ApprovalError` when there was none."""
    _named(approver, reason)
    head = _settled(registry, lifecycle)
    champion = registry.champion(lifecycle.name)
    served = served_in_turn(registry.audit(lifecycle.name))
    if champion is None or len(served) < 2:
        raise ApprovalError(
            f"{lifecycle.name} has no earlier champion to go back to. Mend: approve another version (`mdlc history` "
            "shows them), or `mdlc stop` the endpoint."
        )
    chosen = registry.version(lifecycle.name, served[-2])
    _write(
        registry, lifecycle, "rollback", chosen, approver, reason, head, after=champion.version, dagster_run=dagster_run
    )
    return chosen


def approve_by_policy(registry: Registry, lifecycle: LifecycleDeclaration, dagster_run: str = "") -> Version:
    """Approve the challenger if it passed its gate and is newer than the champion; else keep the champion.

    What was rolled back stays out, and what its gate refused leaves the champion where it is.
    Raises `ApprovalError` when nothing can serve.
    """
    challenger = registry.version(lifecycle.name, newest_candidate(registry, lifecycle))
    champion = registry.champion(lifecycle.name)
    if champion is not None and challenger.as_of <= champion.as_of:
        return champion
    if champion is not None and challenger.version in _taken_back(registry.audit(lifecycle.name)):
        # A person has rolled it back: only a person, or a newer candidate, puts an end to that.
        return champion
    verdict = challenger.tags.get(GATE_TAG, "")
    if champion is not None and verdict.startswith(("refused", "rejected")):
        return champion
    reason = f"passed its gate as of {challenger.as_of}; the declaration says `approval: policy`"
    return approve(registry, lifecycle, challenger.version, "policy", reason, dagster_run=dagster_run)


def newest_candidate(registry: Registry, lifecycle: LifecycleDeclaration) -> int:
    """The version that was trained as of the newest day. Raises `ApprovalError` when there is none."""
    challenger = registry.by_alias(lifecycle.name, "challenger")
    if challenger is None:
        raise ApprovalError(f"{lifecycle.name} has no candidate. Mend: run {lifecycle.name}_train for a day.")
    return challenger.version


def served_in_turn(trail: Sequence[Mapping[str, Any]]) -> list[int]:
    """The versions that a rollback would go through, the champion last; rejected ones are left out."""
    served: list[int] = []
    for entry in trail:
        version = entry["version"]
        if entry["action"] == "approve":
            served.append(version)
        elif entry["action"] == "rollback":
            served = served[:-1]
        elif entry["action"] == "reject":
            served = [other for other in served if other != version]
    return served


def _taken_back(trail: Sequence[Mapping[str, Any]]) -> set[int]:
    """Versions that a rollback took out of service and that nobody has approved since."""
    out: set[int] = set()
    for entry in trail:
        if entry["action"] == "rollback":
            out.add(entry["after"])
        if entry["action"] in {"approve", "rollback"}:
            out.discard(entry["version"])
    return out


def _settled(registry: Registry, lifecycle: LifecycleDeclaration) -> Head:
    """Where the trail ends, after MLflow's alias was made to agree with it.

    The trail is written first. A process that was killed between the two left an alias behind; one that was
    overtaken may have pointed it to its own version late, so everybody looks again after pointing.
    """
    while True:
        head = registry.audit_head(lifecycle.name)
        served = served_in_turn(registry.audit(lifecycle.name))
        champion = registry.champion(lifecycle.name)
        if not served or (champion is not None and champion.version == served[-1]):
            return head
        registry.point(lifecycle.name, "champion", registry.version(lifecycle.name, served[-1]))


def _write(
    registry: Registry,
    lifecycle: LifecycleDeclaration,
    action: str,
    chosen: Version,
    who: str,
    reason: str,
    head: Head,
    **more: Any,
) -> None:
    """Put a decision on the trail, if nobody has decided anything since `head`, and let the alias follow."""
    try:
        registry.record(lifecycle.name, action, chosen, who, reason, behind=head, **more)
    except TrailMovedError:
        newest = registry.audit(lifecycle.name)[-1]
        raise ApprovalError(
            f"{newest['who']} was quicker: {newest['action']} of version {newest['version']} ({newest['reason']}). "
            "Mend: look at `mdlc history` and decide again."
        ) from None
    _settled(registry, lifecycle)


def _named(approver: str, reason: str) -> None:
    if not approver.strip():
        raise ApprovalError("nobody is named as approver. Mend: --approver name@company.com")
    if not reason.strip():
        raise ApprovalError("no reason is given. Mend: --reason and a sentence for whoever reads it in a year")
