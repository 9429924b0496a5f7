"""`online_features`: what a decision in real time reads, kept up with the lake."""

from __future__ import annotations

import dagster as dg

from mdlc_assets.asset_style import asset_key, plain_asset, read_once
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import StoreAwayError, online_fingerprint
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.resources.lake import DayAbsentError, Lake
from mdlc_assets.resources.online_store import OnlineStore


def online_definitions(lifecycle: LifecycleDeclaration) -> dg.Definitions:
    """The online half of stage 3."""
    return dg.Definitions(assets=[_online_features(lifecycle)])


def _online_features(lifecycle: LifecycleDeclaration) -> dg.AssetsDefinition:
    attributes = [asset_key(lifecycle, feed) for feed in lifecycle.dataset.attributes]

    @dg.asset(
        **plain_asset(lifecycle, "features", "online_features", kinds={"sqlite"}),
        deps=[asset_key(lifecycle, "validated"), asset_key(lifecycle, "labels"), *attributes],
        description="For each entity its recent events, from which its features follow at any instant: what a "
        "decision in real time reads. Days of the lake that are new or have changed are brought in, with the labels "
        "that have become known; what no window reaches any more is let go.",
    )
    @read_once
    def online_features(lake: Lake, online_store: OnlineStore) -> dg.MaterializeResult:
        try:
            filling = fill_store(lifecycle, lake, online_store.store)
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
            }
        )

    return online_features
