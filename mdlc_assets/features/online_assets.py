"""`online_features`: what a decision in real time reads; `online_consistency`: that it is what the table has."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg

from mdlc_assets import plots
from mdlc_assets.asset_style import asset_key, daily_asset, days_in_run, on_labels, plain_asset, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import StoreAwayError, online_fingerprint
from mdlc_assets.features.online_consistency import Consistency, Freshness, compare_day, freshness
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.online_store import OnlineStore


def online_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """The online half of stage 3."""
    return dg.Definitions(
        assets=[_online_features(lifecycle), _online_consistency(lifecycle)],
        asset_checks=[_fresh(lifecycle), _no_difference(lifecycle)],
    )


def _online_features(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    attributes = [asset_key(lifecycle, feed) for feed in lifecycle.dataset.attributes]

    @dg.asset(
        **plain_asset(lifecycle, "features", "online_features", kinds={"sqlite"}),
        deps=[asset_key(lifecycle, "validated"), *on_labels(lifecycle), *attributes],
        description="For each entity its recent events, from which its features follow at any instant: what a "
        "decision in real time reads. Days of the lake that are new or have changed are brought in, with the labels "
        "that have become known; what no window reaches any more is let go.",
    )
    @read_once
    def online_features(lake: Lake, online_store: OnlineStore) -> dg.MaterializeResult:
        try:
            filling = fill_store(lifecycle, lake, online_store.store_of_runs)
            state = freshness(lifecycle, lake, online_store.store_of_runs)
        except (DayAbsentError, StoreAwayError) as error:
            raise dg.Failure(description=str(error), allow_retries=isinstance(error, StoreAwayError)) from None
        return dg.MaterializeResult(
            metadata={
                "through": filling.through.isoformat(),
                "days brought in": filling.days,
                "events brought in": filling.events,
                "labels brought in": filling.labels,
                "events no longer in the lake": filling.removed,
                "events out of reach": filling.swept,
                "declaration": online_fingerprint(lifecycle),
                "events by day": dg.MetadataValue.md(_freshness_plot(state)),
            }
        )

    return online_features


def _fresh(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(lifecycle, "online_features"),
        name="fresh",
        description="The online store has the events of each day that the lake has. How far it is behind now is said, "
        "and not judged: a lifecycle without a stream is as far behind as its files.",
    )
    @read_once
    def fresh(lake: Lake, online_store: OnlineStore) -> dg.AssetCheckResult:
        try:
            found = freshness(lifecycle, lake, online_store.store_of_runs)
        except StoreAwayError as error:
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(error))
        if found.absent:
            return dg.AssetCheckResult(passed=True, description=f"not judged: {found.absent}")
        late, seconds = found.days_behind, found.behind_now(time.time())
        text = f"lacks events of {', '.join(map(str, late))}. Mend: materialise online_features." if late else ""
        return dg.AssetCheckResult(
            passed=not late,
            severity=dg.AssetCheckSeverity.WARN,
            description=text or "has all that the lake has",
            metadata={
                "days behind the lake": len(late),
                "hours behind now": round(seconds / 3600, 2) if seconds is not None else "no event",
                "through": str(found.through),
                "events by day": dg.MetadataValue.md(_freshness_plot(found)),
            },
        )

    return fresh


def _online_consistency(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    @dg.asset(
        **daily_asset(lifecycle, "features", "online_consistency", kinds={"json"}),
        deps=[asset_key(lifecycle, "features"), asset_key(lifecycle, "online_features")],
        description="A sample of the day's events asked of the online store as decisions ask, as of their own "
        "instants, and held against their rows of `features`.",
    )
    @read_once
    def online_consistency(
        context: dg.AssetExecutionContext, lake: Lake, online_store: OnlineStore
    ) -> dg.MaterializeResult:
        documents = lake.documents(lifecycle.name, "online_consistency")
        compared: list[Consistency] = []
        for day in days_in_run(context):
            try:
                found = compare_day(lifecycle, lake, online_store.store_of_runs, day)
            except (DayAbsentError, StoreAwayError) as error:
                away = isinstance(error, StoreAwayError)
                raise dg.Failure(description=f"{day}: {error}", allow_retries=away) from None
            documents.write_document(day, found.document())
            context.add_asset_metadata(
                {"sampled": found.sampled, "events": found.events, "different": len(found.wrong)},
                partition_key=day.isoformat(),
            )
            compared.append(found)
        return dg.MaterializeResult(
            metadata={
                "sampled": sum(found.sampled for found in compared),
                "days compared": sum(not found.skipped for found in compared),
                "greatest difference": max((d.greatest for c in compared for d in c.features.values()), default=0.0),
                "by feature": dg.MetadataValue.md(_differences_table(compared)),
                "share of events that differ": dg.MetadataValue.md(_differences_plot(compared)),
            }
        )

    return online_consistency


def _no_difference(lifecycle: LifecycleDeclaration) -> dg.AssetChecksDefinition:
    key = asset_key(lifecycle, "online_consistency")

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "no_difference",
                asset=key,
                description="Online, each sampled event has the features of its row: counts exactly, others to 1e-9.",
            )
        ],
        name=f"{lifecycle.name}_online_consistency_checks",
    )
    @read_once
    def no_difference(
        context: dg.AssetCheckExecutionContext, lake: Lake
    ) -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        documents, wrong, skipped = lake.documents(lifecycle.name, "online_consistency"), [], []
        for day in days_in_run(context):
            document = documents.read_document(day)
            parts = [
                f"{name} differs for {one['different']} of {document['sampled']}, by up to {one['greatest']:.3g}"
                for name, one in document["features"].items()
                if one["different"]
            ]
            text = "; ".join(parts)
            skipped += [f"{day}: not compared: {document['skipped']}"] if document["skipped"] else []
            wrong += [f"{day}: {text}. Mend: materialise online_features; then ask the stream's owner."] if text else []
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name="no_difference",
                passed=not text,
                description=text or document["skipped"] or "no difference",
                metadata={"sampled": document["sampled"]},
                partition=day.isoformat(),
            )
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="no_difference",
            passed=not wrong,
            description="\n".join([*wrong, *skipped]) or "no difference",
        )

    return no_difference


def _differences_table(compared: list[Consistency]) -> str:
    lines = ["| feature | held to | events that differ | greatest difference |", "|---|---|---|---|"]
    for name in dict.fromkeys(name for one in compared for name in one.features):
        found = [one.features[name] for one in compared if name in one.features]
        held = "exactly" if found[0].exact else "1e-9"
        different, greatest = sum(d.different for d in found), max(d.greatest for d in found)
        lines.append(f"| `{name}` | {held} | {different} | {greatest:.3g} |")
    lines += [f"\n{one.day}: not compared: {one.skipped}" for one in compared if one.skipped]
    return "\n".join(lines)


def _differences_plot(compared: list[Consistency]) -> str:
    """By feature, worst first; where nothing differs the plot shows that too."""
    sampled = max(sum(one.sampled for one in compared), 1)
    shares: dict[str, float] = {}
    for one in compared:
        for name, found in one.features.items():
            shares[name] = shares.get(name, 0.0) + found.different / sampled
    names = sorted(shares, key=lambda name: shares[name])[-20:]
    figure, axes = plots.new_figure(height=0.8 + 0.2 * len(names))
    axes.barh(names, [shares[name] for name in names], color=plots.RED)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of {sampled:,} sampled events")
    axes.tick_params(axis="y", labelsize=7)
    return plots.as_markdown(figure)


def _freshness_plot(found: Freshness) -> str:
    figure, axes = plots.new_figure()
    days = plots.dates(list(found.days))
    axes.bar(days, [lake for lake, _ in found.days.values()], color=plots.GREY, alpha=0.4, label="lake")
    axes.plot(days, [store for _, store in found.days.values()], ".", color=plots.BLUE, label="online store")
    axes.set_ylabel("events")
    axes.legend(fontsize=8)
    plots.by_day(axes)
    return plots.as_markdown(figure)
