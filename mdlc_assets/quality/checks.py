"""Blocking asset checks: what is stored fits its schema, little is in quarantine, each day rule holds."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import dagster as dg

from mdlc_assets.asset_style import asset_key, days_in_run, days_of, has_own_event, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.quality import Severity
from mdlc_assets.quality.history import NOT_JUDGED, History
from mdlc_assets.quality.metrics import refused_by_rule, shown_reasons
from mdlc_assets.quality.quarantined import much_refused_before
from mdlc_assets.quality.report import DayRule, day_rules, result_of
from mdlc_assets.quality.volume import QUARANTINED_SHARE, judge_quarantined
from mdlc_assets.resources.lake import Lake

# What was validated fits; so what does not fit was changed afterwards, by hand or by another version of the rules.
_CHANGED = "The stored rows are not those that were checked. Mend: run validated and quarantine again for the day."

CheckEvent = dg.AssetCheckEvaluation | dg.AssetCheckResult


def validated_checks(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    """`schema` and `quarantined_share` on `validated`, day by day."""
    key = asset_key(lifecycle, "validated")
    most = lifecycle.quality.max_quarantined
    rules = [
        DayRule("schema", "stop", "What is stored fits the declared schema (Pandera); ids are unique."),
        DayRule(
            QUARANTINED_SHARE,
            "stop",
            f"At most {most:.1%} of the day's rows are in quarantine, and none is lost: validated and "
            "quarantined rows together are all rows of raw.",
        ),
    ]

    @dg.multi_asset_check(
        name=f"{lifecycle.name}__validated_checks",
        specs=[
            _spec(
                lifecycle,
                key,
                rule,
                [asset_key(lifecycle, "raw"), asset_key(lifecycle, "quarantine")]
                if rule.name == QUARANTINED_SHARE
                else [],
            )
            for rule in rules
        ],
    )
    @read_once
    def check_validated(context: dg.AssetCheckExecutionContext, lake: Lake) -> Iterator[CheckEvent]:
        # Pandera brings pandas with it, which would have to be there before definitions load.
        from mdlc_assets.quality.schemas import complaints, stored_schema

        tables = {name: lake.table(lifecycle.name, name) for name in ("raw", "validated", "quarantine")}
        failed: dict[str, list[str]] = {rule.name: [] for rule in rules}
        days = days_in_run(context)
        for day in days:
            stored = tables["validated"].read_day(day)
            refused = tables["quarantine"].read_day(day, ["rule", "reason"])
            arrived = tables["raw"].read_day(day, ["_source_row"]).height
            against = complaints(stored_schema(lifecycle, day), stored)
            share = judge_quarantined(most, stored.height, refused_by_rule(refused), day, History())
            if not share.passed:
                history, examples = much_refused_before(lifecycle, lake, day), shown_reasons(lifecycle, refused)
                share = judge_quarantined(most, stored.height, refused_by_rule(refused), day, history, examples)
            lost = arrived - stored.height - refused.height
            text = share.text
            if lost:
                text = (
                    f"{text.rstrip('.')}. Raw has {arrived:,} rows, {abs(lost):,} {'more' if lost > 0 else 'fewer'} "
                    "than validated and quarantine together. Mend: run validated and quarantine again for the day."
                )
            fits = f"{stored.height:,} rows fit the schema" if not against else f"{'; '.join(against)}. {_CHANGED}"
            for name, passed, words, observed in (
                ("schema", not against, fits, None),
                (QUARANTINED_SHARE, share.passed and not lost, text, share.observed),
            ):
                if not passed:
                    failed[name].append(f"{day}: {words}")
                if has_own_event(passed, days):
                    yield _evaluation(key, name, passed, words, day.isoformat(), "stop", observed)
        for rule in rules:
            yield _summary(key, rule, failed[rule.name], len(days))

    return check_validated


def report_checks(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    """One check on `quality_report` for each day rule; those of severity stop block what follows."""
    key = asset_key(lifecycle, "quality_report")
    rules = day_rules(lifecycle)

    @dg.multi_asset_check(
        name=f"{lifecycle.name}__quality_report_checks",
        specs=[_spec(lifecycle, key, rule) for rule in rules],
    )
    @read_once
    def check_report(context: dg.AssetCheckExecutionContext, lake: Lake) -> Iterator[CheckEvent]:
        reports = lake.documents(lifecycle.name, "quality_report")
        failed: dict[str, list[str]] = {rule.name: [] for rule in rules}
        unjudged: dict[str, list[str]] = {rule.name: [] for rule in rules}
        worst = {rule.name: rule.severity for rule in rules}
        days = days_in_run(context)
        for day in days:
            document = reports.read_document(day)
            for rule in rules:
                result = result_of(document, rule.name)
                passed = result is not None and result.passed
                text = result.text if result else "the report is older than the rule. Mend: run it again"
                if not passed:
                    failed[rule.name].append(f"{day}: {text}")
                if passed and text.startswith(NOT_JUDGED):
                    unjudged[rule.name].append(f"{day}: {text}")
                observed = result.observed if result else None
                severity = result.severity if result else rule.severity
                worst[rule.name] = "stop" if severity == "stop" and not passed else worst[rule.name]
                if has_own_event(passed, days):
                    yield _evaluation(key, rule.name, passed, text, day.isoformat(), severity, observed)
        for rule in rules:
            yield _summary(
                key, replace(rule, severity=worst[rule.name]), failed[rule.name], len(days), unjudged[rule.name]
            )

    return check_report


def _spec(
    lifecycle: LifecycleDeclaration,
    key: dg.AssetKey,
    rule: DayRule,
    also_reads: Iterable[dg.AssetKey] = (),
) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        rule.name,
        asset=key,
        description=rule.description,
        blocking=rule.severity == "stop" or rule.may_stop,
        additional_deps=list(also_reads),
        partitions_def=days_of(lifecycle),
    )


def _level(severity: Severity) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if severity == "warn" else dg.AssetCheckSeverity.ERROR


def _evaluation(
    key: dg.AssetKey,
    name: str,
    passed: bool,
    text: str,
    partition: str,
    severity: Severity,
    observed: float | None = None,
) -> dg.AssetCheckEvaluation:
    metadata: dict[str, dg.MetadataValue] = {"reason": dg.MetadataValue.text(text)}
    if observed is not None:
        metadata["observed"] = dg.MetadataValue.float(observed)
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=name,
        passed=passed,
        metadata=metadata,
        severity=_level(severity),
        description=text,
        blocking=severity == "stop",
        partition=partition,
    )


def _summary(
    key: dg.AssetKey, rule: DayRule, failed: list[str], days: int, unjudged: Sequence[str] = ()
) -> dg.AssetCheckResult:
    words = f"holds on all {days} days" if days > 1 else "holds"
    if unjudged:
        # One of them for all: they mostly say the same.
        words = f"{words}, {len(unjudged)} not judged. {unjudged[0]}" if days > 1 else unjudged[0].partition(": ")[2]
    if failed:
        words = f"broken on {len(failed)} of {days} days. " if days > 1 else "broken. "
    return dg.AssetCheckResult(
        check_name=rule.name,
        asset_key=key,
        passed=not failed,
        severity=_level(rule.severity),
        # Each line begins with its day.
        description=words + "\n".join(failed[:10]),
    )
