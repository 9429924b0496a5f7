"""What a lifecycle takes from another one: `uses` names it, and these parts are then declared and computed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mdlc_assets.declaration.base import refuse
from mdlc_assets.declaration.monitoring import Monitoring
from mdlc_assets.declaration.service import Service

if TYPE_CHECKING:
    from mdlc_assets.declaration.lifecycle import LifecycleDeclaration

PARTS = ("dataset", "labels", "quality", "features")
STAGES = ("sourcing", "quality", "features")
TABLES = frozenset(
    {
        *("raw", "labels", "validated", "quarantine", "daily_metrics", "quality_report"),
        *("feature_state", "features", "drift_profile"),
    }
)
"""What the used lifecycle keeps for all, beside the feeds of its attributes."""

WORKFLOWS = ("labels", "history", "rebuild", "online_fill", "online_day", "stream_lag")
"""What the used lifecycle does for all, and what goes with the events."""


def may_be_used(schema: dict[str, Any]) -> None:
    """In the JSON schema: what is always needed may be another's."""
    own = [part for part in schema["required"] if part in PARTS]
    schema["required"] = [part for part in schema["required"] if part not in PARTS]
    schema["anyOf"] = [{"required": own}, {"required": ["uses"]}]


def with_parts_of(said: Mapping[str, Any], source: LifecycleDeclaration) -> dict[str, Any]:
    """The declaration as it was written, with the parts of the lifecycle that it uses."""
    taken = dict(said)
    for part in PARTS:
        theirs = getattr(source, part)
        # A declaration that was read and written out again says the same as the other, which is no contradiction.
        if taken.get(part) is not None and type(theirs).model_validate(taken[part]) != theirs:
            raise refuse(
                f"{part} is that of {source.name} already",
                f"leave `{part}` out, or leave `uses` out and declare all of {', '.join(PARTS)}"
                + ("; features to learn from are chosen under model.features" if part == "features" else ""),
                field=part,
                value="...",
            )
        taken[part] = theirs
    return taken


def refuse_absent_entity(lifecycle: LifecycleDeclaration, source: LifecycleDeclaration) -> None:
    """The feature table keeps the entities of its own lifecycle; the used one does not know of others."""
    kept = {source.dataset.id, source.model.entity, *(family.entity for family in source.features.windows)}
    if lifecycle.model.entity and lifecycle.model.entity not in kept:
        raise refuse(
            f"the features of {source.name} do not keep this column",
            f"use one of {', '.join(sorted(kept))}",
            field="model.entity",
            value=lifecycle.model.entity,
        )


def refuse_what_needs_own_data(lifecycle: LifecycleDeclaration) -> None:
    """The stream and the online store belong to the lifecycle whose events they hold."""
    for field, declared in (
        ("stream", lifecycle.stream is not None),
        ("deployment.service", lifecycle.deployment.service != Service()),
        ("monitoring.online", lifecycle.monitoring.online != Monitoring().online),
    ):
        if declared:
            raise refuse(
                f"this goes with the events, which are those of {lifecycle.uses}",
                f"leave it out; the decision service runs for {lifecycle.uses}, real_time serves this one's model",
                field=field,
                value="...",
            )
