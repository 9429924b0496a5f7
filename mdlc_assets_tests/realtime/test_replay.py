"""A day of real payments through the stream into the store and the service: the features are the offline ones."""

from __future__ import annotations

import asyncio
import io
import json
import os
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.table import feature_table
from mdlc_assets.realtime.capture import Capture
from mdlc_assets.realtime.stream_producer import entries_of_file
from mdlc_assets.realtime.stream_worker import Pace
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.conftest import PAYMENTS, handbook_day
from mdlc_assets_tests.realtime.parts import approve, caller, new_state, register
from mdlc_assets_tests.realtime.streaming import Place

_DAY = date(2018, 5, 10)
_BEFORE = 38
# One terminal in so many, with all its payments. MDLC_REPLAY_PART=1 takes them all, which takes minutes.
_PART = int(os.environ.get("MDLC_REPLAY_PART", "20"))


@pytest.mark.skipif(not PAYMENTS.exists(), reason="the handbook's files are not here")
@pytest.mark.slow
def test_a_day_through_the_stream_has_the_offline_features(
    tmp_path: Path, payments_fraud: LifecycleDeclaration
) -> None:
    place, names = Place(tmp_path, payments_fraud, shards=2), payments_fraud.features.names()
    days = [_DAY - timedelta(days=i) for i in range(_BEFORE, -1, -1)]
    found = [handbook_day(day) for day in days]
    events = pl.concat(events for events, _ in found).filter(pl.col("terminal_id") % _PART == 0)
    events = events.with_columns(pl.lit(None, pl.Int64).alias("account_age_days"))
    labels = pl.concat(labels for _, labels in found).join(events, on="transaction_id", how="semi")
    of_day = pl.col("event_time").dt.date() == _DAY
    online = place.online()
    online.learn(events.filter(~of_day))
    online.learn_labels(labels)

    file = io.BytesIO()
    pl.read_parquet(PAYMENTS / f"{_DAY}.parquet").filter(pl.col("TERMINAL_ID") % _PART == 0).write_parquet(file)
    sent = entries_of_file(payments_fraud, f"{_DAY}.parquet", file.getvalue())
    place.stream().put(sent)
    done = place.worker(pace=Pace(batch=100, idle=0.01)).run(until_empty=True)
    today = events.filter(of_day)
    assert done.landed == done.learnt == len(sent) == today.height > 300

    # What landed is what the batch path gets from the file itself.
    raw = place.raw(_DAY).select(today.columns).sort("transaction_id")
    assert raw.equals(today.sort("transaction_id"))
    expected = feature_table(payments_fraud, events, labels, _DAY, _DAY)
    _compare(expected, online.features(today), names)

    served = _decide(tmp_path, payments_fraud, today, online)
    _compare(expected, served, names)


def _compare(expected: pl.DataFrame, found: pl.DataFrame, names: list[str]) -> None:
    """All rows: counts and other whole numbers exactly, everything else to 1e-9."""
    expected, found = expected.sort("transaction_id"), found.sort("transaction_id")
    assert found["transaction_id"].equals(expected["transaction_id"])
    for name in names:
        ours, theirs = (frame[name].cast(pl.Float64).fill_nan(None) for frame in (found, expected))
        assert (ours.is_null() == theirs.is_null()).all(), name
        difference = (ours - theirs).abs().max()
        assert difference is None or difference <= (0 if expected[name].dtype.is_integer() else 1e-9), name  # type: ignore[operator]


def _decide(root: Path, lifecycle: LifecycleDeclaration, events: pl.DataFrame, online: object) -> pl.DataFrame:
    """The features that the decision service took for each event, out of its capture."""
    registry = Registry(tracking_uri=f"sqlite:///{root}/mlflow.db", artifact_root=str(root / "artifacts"))
    approve(registry, lifecycle, register(registry, lifecycle, 1))
    names = lifecycle.features.names()
    capture = Capture(root / "captured", lifecycle.dataset.time, names)
    state = new_state(lifecycle, registry, online, capture=capture)
    asked = events.drop("account_age_days").with_columns(pl.col("event_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))

    async def ask() -> int:
        decided = 0
        async with caller(state) as client:
            for part in asked.iter_slices(200):
                answer = await client.post("/decisions", json=part.to_dicts())
                assert answer.status_code == 200, answer.text
                decisions = answer.json()["decisions"]
                assert not any(one["degraded"] for one in decisions)
                decided += len(decisions)
        return decided

    assert asyncio.run(ask()) == events.height
    capture.close()
    lines = [
        json.loads(line) for file in (root / "captured").rglob("*.jsonl") for line in file.read_text().splitlines()
    ]
    rows = [[line["event"]["transaction_id"], *line["features"]] for line in lines]
    schema = {"transaction_id": pl.Int64} | dict.fromkeys(names, pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")
