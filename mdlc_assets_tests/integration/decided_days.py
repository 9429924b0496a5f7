"""Days that were scored and decided, in a lake: what the tests of this room start from."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.table import feature_table
from mdlc_assets.integration.rules import RuleSet, side_by_side
from mdlc_assets.resources.lake import Lake
from mdlc_assets.simulator.world import Simulator


def decide_days(lifecycle: LifecycleDeclaration, lake: Lake, days: int) -> list[date]:
    """So many days from the first one: events, features, made-up scores, labels that follow them, decisions."""
    world, rules = Simulator(start=lifecycle.dataset.start, customers=80, terminals=20), RuleSet(lifecycle.decisions)
    found = [lifecycle.dataset.start + timedelta(days=i) for i in range(days)]
    for day in found:
        events = world.transactions(day).sort("event_time", "transaction_id")
        features = feature_table(lifecycle, events, None, day, day)
        generator = np.random.default_rng(day.toordinal())
        scores = features.select("transaction_id", "event_time", "customer_id").with_columns(
            pl.Series("score", generator.beta(0.5, 1, features.height)), pl.lit(1, pl.Int64).alias("model_version")
        )
        fraud = (generator.random(features.height) < scores["score"].to_numpy()).astype(np.int8)
        labels = scores.select(
            "transaction_id", pl.Series("is_fraud", fraud), pl.lit(None, pl.Datetime("us", "UTC")).alias("known_at")
        )
        decided = rules.decide_all(side_by_side(scores, features, events, on="transaction_id"))
        rows = pl.concat([scores.select("transaction_id", "event_time", "score"), decided], how="horizontal")
        rows = rows.with_columns(
            scores["model_version"], pl.lit(lifecycle.fingerprint("decisions")).alias("rules_version")
        )
        for name, frame in {
            "validated": events,
            "features": features,
            "batch_predictions": scores,
            "labels": labels,
            "decisions": rows,
        }.items():
            lake.table(lifecycle.name, name).write_day(day, frame)
    return found
