"""A day through the stream, the store and the decision service: what decides is what the feature table has, row by row.

The days before lie in the lake and fill the store, as in life. The day itself is put into the stream and read by
`mdlc stream`, and asked of a service process over HTTP; the vectors are those that the service captured.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online_filling import fill_store
from mdlc_assets.features.table import days_needed, feature_table
from mdlc_assets.home import Home
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets.simulator.world import Simulator
from mdlc_assets_tests.conftest import PAYMENTS, handbook_day
from mdlc_assets_tests.realtime.parts import approve, register
from mdlc_assets_tests.realtime.streaming import Place

DAY = date(2018, 5, 20)
_MDLC = str(Path(sys.executable).parent / "mdlc")
_AT_ONCE = 500
_PATIENCE = 180.0
Days = Callable[[date], tuple[pl.DataFrame, pl.DataFrame]]


def _simulated(day: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A small world with fraud at many terminals, so that shares of fraud are not all zero."""
    world = Simulator(start=date(2018, 4, 1), customers=60, terminals=40)
    fraud = (pl.col("transaction_id") % 7 == 0).cast(pl.Int8).alias("is_fraud")
    return world.transactions(day), world.labels(day).with_columns(fraud)


_needs_payments = pytest.mark.skipif(not PAYMENTS.exists(), reason="the shared payments are not beside this checkout")


@pytest.mark.slow
@pytest.mark.parametrize(
    "days",
    [pytest.param(_simulated, id="simulated"), pytest.param(handbook_day, id="handbook", marks=_needs_payments)],
)
def test_each_vector_of_a_replayed_day_is_the_tables_row(
    tmp_path: Path, payments_fraud: LifecycleDeclaration, days: Days
) -> None:
    place = Place(tmp_path, payments_fraud)
    before, labels = _fill(place, days)
    events = days(DAY)[0].sort("event_time", "transaction_id")
    file = tmp_path / f"{DAY}.parquet"
    if days is handbook_day:
        file = PAYMENTS / file.name
    else:
        events.write_parquet(file)
    assert f"{events.height:,} records" in _mdlc(place.home, "stream", "put", "payments_fraud", str(file))
    said = _mdlc(place.home, "stream", "payments_fraud", "--until-empty")
    assert f"{events.height:,} events landed, {events.height:,} learnt; put aside: none" in said
    # `raw` has the day once, whole, as it was sent.
    raw = place.raw(DAY).sort("event_time", "transaction_id").select(events.columns)
    assert raw.equals(events.cast(dict(raw.schema)))  # type: ignore[arg-type]

    with _service(place.home) as address:
        _ask(address, events.sample(fraction=1.0, shuffle=True, seed=1))
    table = feature_table(payments_fraud, pl.concat([before, events]), labels, DAY, DAY)
    _same(payments_fraud, table, _captured(place.home, payments_fraud))


def _fill(place: Place, days: Days) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The days before, from the lake into the store; their events, and the labels known when the day begins."""
    lifecycle = place.lifecycle
    lake, known = Lake(root=str(place.home.root / "lake")), DAY - timedelta(days=7)
    events, labels = [], []
    for day in days_needed(lifecycle, DAY, DAY)[:-1]:
        of_day, truth = days(day)
        events.append(of_day.sort("event_time", "transaction_id"))
        lake.table(lifecycle.name, "validated").write_day(day, events[-1])
        if day <= known:
            labels.append(truth)
            lake.table(lifecycle.name, "labels").write_day(day, truth)
    filled = fill_store(lifecycle, lake, place.online().store)
    assert filled.events == sum(frame.height for frame in events) > 1_000
    registry = Registry(tracking_uri=place.home.mlflow_uri, artifact_root=str(place.home.mlflow_artifacts))
    approve(registry, lifecycle, register(registry, lifecycle, 1))
    return pl.concat(events), pl.concat(labels)


def _mdlc(home: Home, *words: str) -> str:
    ran = CliRunner().invoke(main, ["--home", str(home.root), *words])
    assert ran.exit_code == 0, ran.output
    return ran.output


@contextmanager
def _service(home: Home) -> Iterator[str]:
    """The address of `mdlc serve` as a process."""
    with (home.root / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [_MDLC, "--home", str(home.root), "serve", "payments_fraud"], stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        found = re.search(rb"http://127.0.0.1:\d+", process.stdout.readline())
        assert found, (home.root / "service.log").read_text()
        yield found.group().decode()
    finally:
        process.terminate()
        process.wait(60)


def _ask(address: str, events: pl.DataFrame) -> None:
    """Each event until it was decided with its features: on a busy machine the store may be found too slow for some."""
    until = time.monotonic() + _PATIENCE
    with httpx.Client(base_url=address, timeout=_PATIENCE) as client:
        while not events.is_empty():
            degraded: list[bool] = []
            for part in events.iter_slices(_AT_ONCE):
                answer = client.post("/decisions", content=part.write_json().encode())
                assert answer.status_code == 200, answer.text
                degraded += [bool(one["degraded"]) for one in answer.json()["decisions"]]
            events = events.filter(pl.Series(degraded))
            assert time.monotonic() < until, f"{events.height} events are still decided without features"


def _captured(home: Home, lifecycle: LifecycleDeclaration) -> pl.DataFrame:
    """What the service decided by: identity and features."""
    rows = []
    for file in sorted(home.captured_decisions.rglob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            kept = json.loads(line)
            if kept["degraded"]:
                continue
            rows.append([kept["event"][lifecycle.dataset.id], *kept["features"]])
    names = [lifecycle.dataset.id, *lifecycle.features.names()]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")


def _same(lifecycle: LifecycleDeclaration, table: pl.DataFrame, found: pl.DataFrame) -> None:
    """Every row: counts to the last bit, means and shares to 1e-9, nothing where there is nothing."""
    identity, names = lifecycle.dataset.id, lifecycle.features.names()
    table, found = table.sort(identity), found.sort(identity)
    assert found[identity].cast(pl.Int64).to_list() == table[identity].to_list()
    counts = [column.name for column in lifecycle.features.window_columns() if column.value is None]
    assert len(counts) == 6
    for name in names:
        ours = found[name].fill_null(np.nan).to_numpy()
        theirs = table[name].fill_null(np.nan).to_numpy()
        slack = 0.0 if name in counts else 1e-9
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=slack, err_msg=name)
    assert table["terminal_fraud_share_30d"].max() > 0  # type: ignore[operator]
