"""Checks of stage 7: they warn, and stop nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from mdlc_assets.asset_style import asset_key, days_in_run, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.lake import Lake


def monitoring_checks(lifecycle: LifecycleDeclaration) -> list[dg.AssetChecksDefinition]:
    """`no_drift` on the open loop, `as_promised` on the closed one."""
    said = "Inputs, scores and decisions are as on healthy days."
    checks = [_warn(lifecycle, "open_loop_report", "no_drift", said, _drift)]
    if lifecycle.labels.column:
        said = "The model keeps what the gate saw."
        checks.append(_warn(lifecycle, "closed_loop_report", "as_promised", said, _promise(lifecycle)))
    return checks


def online_checks(lifecycle: LifecycleDeclaration) -> list[dg.AssetChecksDefinition]:
    """The same on what the decision service answered. A day without decisions is none to judge."""
    said = "Online, inputs, scores and decisions are as on the batch path's healthy days."
    checks = [_warn(lifecycle, "online_open_loop_report", "no_drift", said, _drift, may_lack=True)]
    if lifecycle.labels.column:
        said = "Online too, the model keeps what the gate saw."
        promise = _promise(lifecycle)
        checks.append(_warn(lifecycle, "online_closed_loop_report", "as_promised", said, promise, may_lack=True))
    return checks


def _drift(document: dict[str, Any]) -> str:
    return "; ".join(document["reasons"]) if document["alarm"] else ""


def _promise(lifecycle: LifecycleDeclaration) -> Callable[[dict[str, Any]], str]:
    declared = lifecycle.monitoring.retrain

    def promise(document: dict[str, Any]) -> str:
        promised = (document["promised"] or {}).get(declared.metric)
        recent, sure = document["recent"]["metrics"].get(declared.metric), document["recent"]["interval"]
        if promised is None or recent is None or recent >= promised - declared.drop:
            return ""
        if sure and sure[1] >= promised:
            return ""
        return f"{declared.metric} {recent:.3f} over {document['recent']['days']} days, promised {promised:.3f}"

    return promise


def _warn(
    lifecycle: LifecycleDeclaration,
    asset: str,
    check: str,
    said: str,
    fault: Callable[[dict[str, Any]], str],
    *,
    may_lack: bool = False,
) -> dg.AssetChecksDefinition:
    key = asset_key(lifecycle, asset)

    @dg.multi_asset_check(
        specs=[dg.AssetCheckSpec(check, asset=key, description=said)], name=f"{lifecycle.name}_{asset}_checks"
    )
    @read_once
    def checks(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        found, documents = [], lake.documents(lifecycle.name, asset)
        for day in days_in_run(context):
            lacks = may_lack and not documents.has(day)
            text = "" if lacks else fault(documents.read_document(day))
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=check,
                passed=not text,
                description=text or said,
                metadata={},
                severity=dg.AssetCheckSeverity.WARN,
                partition=day.isoformat(),
            )
            found += [f"{day}: {text}"] if text else []
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check,
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description="\n".join(found) or said,
        )

    return checks
