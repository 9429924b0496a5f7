"""Features of attributes through the whole platform, and a file of changes that comes late."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.evaluation import Evaluation
from mdlc_assets.declaration.features import Features
from mdlc_assets.demo.feed import SimulatedFeed
from mdlc_assets.demo.loop import Loop, open_loop
from mdlc_assets.features.days import Days
from mdlc_assets.features.engines import compute_features
from mdlc_assets.features.events import EventFeatures
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle
from mdlc_assets_tests.sourcing.test_attributes import declared

_FEATURES = {
    "rows": {
        "is_gold": "CASE WHEN segment = 'gold' THEN 1 ELSE 0 END",
        "of_limit": "amount / (coalesce(credit_limit, 0) + 1)",
    },
    "windows": [
        {
            "entity": "terminal_id",
            "windows": ["1d", "3d"],
            "where": "segment = 'gold'",
            "aggregate": {"gold_payments": "count", "gold_limit": "mean(credit_limit)"},
        },
        {"entity": "customer_id", "windows": ["3d"], "aggregate": {"segments": "distinct_count(segment)"}},
    ],
}
_TABLES = ("customers", "validated", "feature_state", "features")


def _platform(root: Path) -> tuple[Loop, SimulatedFeed]:
    home, lifecycle = Home(root), _lifecycle()
    loop, feed = open_loop(ModelLifecycle(lifecycle), home), SimulatedFeed(home.landing, lifecycle, 8)
    for day in feed.days:
        feed.deliver(day)
        feed.deliver_labels(day)
    assert loop.run("labels", feed.days[0]).success
    customers = feed.simulator.transactions(feed.days[0])["customer_id"].unique().sort()
    _change(feed, feed.days[0], customers, "gold")
    return loop, feed


def _lifecycle() -> LifecycleDeclaration:
    lifecycle = declared()
    # Slices and rules name features of their own; this test ends at the features.
    closed_loop = lifecycle.monitoring.closed_loop.model_copy(update={"slices": {}})
    return lifecycle.model_copy(
        update={
            "features": Features.model_validate(_FEATURES),
            "model": lifecycle.model.model_copy(update={"evaluation": Evaluation()}),
            "monitoring": lifecycle.monitoring.model_copy(update={"closed_loop": closed_loop}),
            "decisions": lifecycle.decisions.model_copy(update={"rules": []}),
        }
    )


def _change(feed: SimulatedFeed, day: date, customers: pl.Series, segment: str) -> None:
    frame = pl.DataFrame({"customer_id": customers}).with_columns(
        pl.lit(f"{day} 12:00:00").alias("known_at"),
        pl.lit(segment).alias("segment"),
        (pl.col("customer_id") % 7 * 100.25).alias("credit_limit"),
    )
    path = feed.folder / "customers" / f"{day}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[tuple[Loop, SimulatedFeed]]:
    loop, feed = _platform(tmp_path / "late")
    ran = loop.run("history", feed.days[0], feed.days[-1])
    assert ran.success, ran.error
    yield loop, feed
    loop.instance.dispose()


def test_changes_that_come_late_are_made_good(platform: tuple[Loop, SimulatedFeed], tmp_path: Path) -> None:
    loop, feed = platform
    features = _table(loop, "features")
    assert features["is_gold"].n_unique() == 2 and features["gold_limit_1d"].max() > 0
    assert set(features["segments_3d"].unique()) == {0.0, 1.0}
    assert loop.tick() == [], "what the backfill brought in is not news"

    late, customers = feed.days[3], pl.Series([0, 1, 2])
    _change(feed, late, customers, "silver")
    ran = loop.tick()
    assert [(run.workflow, run.partition) for run in ran] == [
        ("batch_inference", str(late)),
        ("history", f"{feed.days[4]}...{feed.days[-1]}"),
    ]
    assert "has no champion" in ran[0].error and ran[1].success, ran[1].error
    assert loop.tick() == []

    fresh, other = _platform(tmp_path / "fresh")
    _change(other, late, customers, "silver")
    assert fresh.run("history", feed.days[0], feed.days[-1]).success
    for table in _TABLES:
        assert _digests(loop, table) == _digests(fresh, table), table
    assert not _table(loop, "features").equals(features)
    fresh.instance.dispose()


def test_state_gives_what_bulk_gives(platform: tuple[Loop, SimulatedFeed]) -> None:
    loop, feed = platform
    bulk = loop.resources["lake"].table(loop.lifecycle.name, "features").read_day(feed.days[-1])
    ((found, engine),) = compute_features(loop.lifecycle, loop.resources["lake"], [feed.days[-1]])
    assert engine == "incremental"
    assert found[feed.days[-1]].equals(bulk)

    engine = EventFeatures(loop.lifecycle)
    events = Days(loop.lifecycle, loop.resources["lake"])
    engine.fill(pl.concat(events.events(day) for day in feed.days[:-1]))  # type: ignore[misc]
    today = events.events(feed.days[-1])
    assert today is not None and engine.features(today).equals(bulk)
    with pytest.raises(ValueError, match=r"no column credit_limit\. Mend: join attributes"):
        engine.features(today.drop("credit_limit"))


def _table(loop: Loop, name: str) -> pl.DataFrame:
    table = loop.resources["lake"].table(loop.lifecycle.name, name)
    return table.read(table.days())


def _digests(loop: Loop, name: str) -> dict[str, str]:
    table = loop.resources["lake"].table(loop.lifecycle.name, name)
    return {str(day): hashlib.sha256(table.storage.read(table.name_of(day))).hexdigest() for day in table.days()}
