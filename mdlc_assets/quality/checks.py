"""Blocking asset checks of stage 2: a day that breaks a rule goes no further."""

from collections.abc import Callable, Iterator
from datetime import date

import dagster as dg

from mdlc_assets.asset_style import asset_key, days_in_run
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.quarantine import schema_failures
from mdlc_assets.quality.rules import rule_names
from mdlc_assets.resources.lake import Lake

Verdict = tuple[str, bool, str]
"""Name of the check, whether it passed, and why in words."""


def quality_checks(lifecycle: LifecycleDeclaration) -> list[dg.AssetChecksDefinition]:
    """The checks on `validated` and on `quality_report`."""
    name, dataset, quality = lifecycle.name, lifecycle.dataset, lifecycle.quality

    def judge_rows(lake: Lake, day: date) -> list[Verdict]:
        good = lake.table(name, "validated").read_day(day)
        bad = lake.table(name, "quarantine").read_day(day, ["rule"])
        failures = schema_failures(dataset, quality, day, good)
        share = bad.height / max(1, good.height + bad.height)
        rules = ", ".join(f"{count} by {rule}" for rule, count in bad["rule"].value_counts(sort=True).iter_rows())
        said = f"{share:.2%} of the rows are in quarantine ({rules or 'none'})"
        limit = f", and {quality.max_quarantined:.2%} is allowed. Mend: look at `quarantine`, correct the file"
        within = share <= quality.max_quarantined
        return [
            (
                "schema",
                not failures,
                "; ".join(f"{n} rows: {text}" for text, n in failures) or "all rows fit",
            ),
            ("quarantined_share", within, said if within else said + limit),
        ]

    def judge_days(lake: Lake, day: date) -> list[Verdict]:
        report = lake.documents(name, "quality_report").read_document(day)
        return [(rule["rule"], rule["passed"], rule["text"]) for rule in report["rules"]]

    return [
        _by_day(lifecycle, "validated", {"schema": "stop", "quarantined_share": "stop"}, judge_rows),
        _by_day(lifecycle, "quality_report", rule_names(quality), judge_days),
    ]


def _by_day(
    lifecycle: LifecycleDeclaration,
    asset: str,
    severities: dict[str, str],
    judge: Callable[[Lake, date], list[Verdict]],
) -> dg.AssetChecksDefinition:
    key = asset_key(lifecycle, asset)
    specs = [dg.AssetCheckSpec(check, asset=key, blocking=severity == "stop") for check, severity in severities.items()]

    @dg.multi_asset_check(specs=specs, name=f"{lifecycle.name}_{asset}_checks")
    def checks(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        failed: dict[str, list[str]] = {check: [] for check in severities}
        days = days_in_run(context)
        for day in days:
            for check, passed, text in judge(lake, day):
                yield dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=check,
                    passed=passed,
                    description=text,
                    metadata={"reason": text},
                    severity=_severity(severities[check]),
                    partition=day.isoformat(),
                )
                if not passed:
                    failed[check].append(f"{day}: {text}")
        for check, reasons in failed.items():
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=check,
                passed=not reasons,
                severity=_severity(severities[check]),
                description="\n".join(reasons) or f"{len(days)} days are well",
                metadata={"days": len(days), "failed days": len(reasons)},
            )

    return checks


def _severity(declared: str) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if declared == "stop" else dg.AssetCheckSeverity.WARN
