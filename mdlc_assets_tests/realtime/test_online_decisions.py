"""From the service's capture into the lake: whole, once, beside the batch path, and found by the audit."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from mdlc_assets.cli import main
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.home import Home
from mdlc_assets.integration.online_assets import online_decisions_definitions
from mdlc_assets.integration.online_decisions import agreement, read_captured, table_schema
from mdlc_assets.realtime.capture import Capture
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.realtime.parts import (
    START,
    PlainFeatures,
    an_event,
    approve,
    caller,
    fit_model,
    new_state,
    register,
)

DAY = START.date()
_EVENTS = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, payments_fraud: LifecycleDeclaration) -> Home:
    """Forty events that a real service decided, one of them twice, and one without the store."""
    home = Home(tmp_path_factory.mktemp("home"))
    registry = Registry(tracking_uri=home.mlflow_uri, artifact_root=str(home.mlflow_artifacts))
    (home.root / "mlflow").mkdir(parents=True)
    approve(registry, payments_fraud, register(registry, payments_fraud, 1))
    source = PlainFeatures(payments_fraud)
    capture = Capture(
        home.captured_decisions / payments_fraud.name, payments_fraud.dataset.time, payments_fraud.features.names()
    )
    state = new_state(payments_fraud, registry, source, capture=capture)

    async def call() -> None:
        async with caller(state) as client:
            for number in [*range(_EVENTS), 3]:
                await client.post("/decisions", json=an_event(number, 10.0 * number))
            source.away = True
            await client.post("/decisions", json=an_event(_EVENTS, 1.0), headers={"x-request-id": "degraded-one"})

    asyncio.run(call())
    capture.close()
    return home


def _lake(home: Home, lifecycle: LifecycleDeclaration, change: float = 0.0) -> Lake:
    """A lake with the batch path's scores of the same events; `change` is added to one of them."""
    names = lifecycle.features.names()
    rows = pl.DataFrame({name: [0.0] * _EVENTS for name in names})
    rows = rows.with_columns(pl.Series("amount", [10.0 * number for number in range(_EVENTS)]))
    scores = pl.Series("score", fit_model(lifecycle, 1).score(rows))
    scores[7] += change
    batch = pl.DataFrame({"transaction_id": range(_EVENTS), "score": scores, "model_version": [1] * _EVENTS})
    lake = Lake(root=str(home.lake))
    lake.table(lifecycle.name, "batch_predictions").write_day(DAY, batch)
    return lake


def _run(lifecycle: LifecycleDeclaration, lake: Lake, root: Path, day: date = DAY) -> dict[str, tuple[bool, str]]:
    """Materialise the day and give what its checks say."""
    defs = online_decisions_definitions(lifecycle)
    ran = dg.materialize(
        [*(defs.assets or ()), *(defs.asset_checks or ())],  # type: ignore[list-item]
        partition_key=day.isoformat(),
        resources={"lake": lake, "captured_decisions": CapturedDecisions(root=str(root))},
    )
    assert ran.success
    return {one.check_name: (one.passed, one.description or "") for one in ran.get_asset_check_evaluations()}


def test_what_was_captured_is_in_the_lake_and_as_in_batch(payments_fraud: LifecycleDeclaration, home: Home) -> None:
    lake = _lake(home, payments_fraud)
    said = _run(payments_fraud, lake, home.captured_decisions)
    assert said == {"as_in_batch": (True, "all is well"), "not_degraded": (True, "all is well")}
    rows = lake.table("payments_fraud", "online_decisions").read_day(DAY)
    assert dict(rows.schema) == table_schema(payments_fraud)
    assert rows.height == _EVENTS + 2
    assert rows.filter(pl.col("transaction_id") == 3)["repeat"].to_list() == [0, 1]
    assert set(rows["model_version"]) == {1}
    (lost,) = rows.filter(pl.col("degraded") != "").iter_rows(named=True)
    assert (lost["degraded"], lost["score"], lost["terminal_payments_1d"]) == ("store", None, None)
    assert (
        agreement(payments_fraud, rows, lake.table("payments_fraud", "batch_predictions").read_day(DAY)).compared == 41
    )
    # Run again it changes nothing, and stays when the capture's files have gone.
    digest = lake.table("payments_fraud", "online_decisions").digest([DAY])
    _run(payments_fraud, lake, home.captured_decisions)
    _run(payments_fraud, lake, home.root / "nothing")
    assert lake.table("payments_fraud", "online_decisions").digest([DAY]) == digest


def test_a_score_that_is_not_the_batch_path_s_is_found(payments_fraud: LifecycleDeclaration, home: Home) -> None:
    passed, text = _run(payments_fraud, _lake(home, payments_fraud, change=1e-6), home.captured_decisions)[
        "as_in_batch"
    ]
    assert not passed
    assert "1 of 41 scores differ, by up to 1e-06" in text


def test_too_many_degraded_ones_are_said(payments_fraud: LifecycleDeclaration, home: Home, tmp_path: Path) -> None:
    lines = list(CapturedDecisions(root=str(home.captured_decisions)).lines("payments_fraud", DAY))
    folder = tmp_path / "payments_fraud" / f"date={DAY}"
    folder.mkdir(parents=True)
    (folder / "1.jsonl").write_bytes(b"\n".join([*lines[-5:], lines[0][:50], b"[]", b""]))
    lake = Lake(root=str(tmp_path / "lake"))
    passed, text = _run(payments_fraud, lake, tmp_path)["not_degraded"]
    assert not passed
    assert "20.0% of 5 decisions were degraded: store 1" in text
    found, broken = read_captured(payments_fraud, CapturedDecisions(root=str(tmp_path)).lines("payments_fraud", DAY))
    assert (found.height, broken) == (5, 2)


def test_a_day_without_decisions_stays_absent(payments_fraud: LifecycleDeclaration, home: Home, tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path / "lake"))
    assert all(passed for passed, _ in _run(payments_fraud, lake, home.captured_decisions, date(2018, 7, 1)).values())
    assert lake.table("payments_fraud", "online_decisions").days() == []


@pytest.mark.parametrize("brought_in", [False, True])
def test_the_audit_finds_which_model_decided_and_who_approved_it(
    payments_fraud: LifecycleDeclaration, home: Home, brought_in: bool
) -> None:
    lake = Lake(root=str(home.lake))
    table: Any = lake.table("payments_fraud", "online_decisions")
    if brought_in:
        _run(payments_fraud, _lake(home, payments_fraud), home.captured_decisions)
    else:
        table.delete_day(DAY)
    lake.table("payments_fraud", "batch_predictions").delete_day(DAY)
    said = CliRunner().invoke(main, ["--home", str(home.root), "audit", "--event", "7"]).output
    assert f"decision service, {DAY}: version 1 of payments_fraud" in said
    assert "decision_id" in said and "approve version 1 by ann: good" in said
    assert said.count("decision service, ") == 1
    degraded = CliRunner().invoke(main, ["--home", str(home.root), "audit", "--event", "degraded-one"]).output
    assert "degraded" in degraded and "store" in degraded
