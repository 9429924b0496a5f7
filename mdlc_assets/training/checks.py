"""The gate as a check of `evaluation`."""

from collections.abc import Iterator

import dagster as dg

from mdlc_assets.asset_style import asset_key, days_in_run, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.lake import Lake
from mdlc_assets.training.model_card import verdict_text


def gate_check(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    """What the declared gate says of each as-of day, with its reasons."""
    name, key = lifecycle.name, asset_key(lifecycle, "evaluation")

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "gate",
                asset=key,
                # A candidate that is not good enough is an answer, not a failure of the run that found it out:
                # `champion` approves nothing that its gate refused.
                blocking=False,
                description="The declared floors, ceilings and slices, and no worse than the champion. What fails is "
                "not approved; the champion stays.",
            )
        ],
        name=f"{name}_gate",
    )
    @read_once
    def gate(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        refused = []
        for day in days_in_run(context):
            document = lake.documents(name, "evaluation").read_document(day)
            text = verdict_text(lifecycle, document, day)
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name="gate",
                passed=document["passed"],
                severity=dg.AssetCheckSeverity.WARN,
                description=text,
                metadata={"reasons": dg.MetadataValue.md(text), "version": document["version"]},
                partition=day.isoformat(),
            )
            refused += [] if document["passed"] else [text]
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="gate",
            passed=not refused,
            severity=dg.AssetCheckSeverity.WARN,
            description="\n".join(refused) or "passed",
        )

    return gate
