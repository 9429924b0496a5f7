"""From events posted to a real service to what the monitors say of online traffic, and what the policy does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
import numpy as np
import polars as pl
import pytest
import uvicorn

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.integration.online_assets import online_decisions_definitions
from mdlc_assets.monitoring.assets import monitoring_definitions
from mdlc_assets.monitoring.online_assets import online_monitoring_definitions
from mdlc_assets.monitoring.online_loop import thinned
from mdlc_assets.monitoring.online_record import CLOSED, OPEN
from mdlc_assets.monitoring.problems import Figures, problems_of
from mdlc_assets.monitoring.record import Record
from mdlc_assets.monitoring.report import Surroundings, render
from mdlc_assets.monitoring.retrain_policy import OnlineDays, decide
from mdlc_assets.monitoring.sketch import sketch
from mdlc_assets.realtime.capture import Capture
from mdlc_assets.realtime.service import create_service
from mdlc_assets.resources.captured import CapturedDecisions
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.registry import Registry
from mdlc_assets_tests.monitoring.test_retrain_policy import _BAD, _POLICY, _WELL
from mdlc_assets_tests.realtime.parts import PlainFeatures, approve, fit_model, new_registry, new_state, register

_HEALTHY, _ROWS, _ONLINE = 14, 2_000, 300
_FIRST = date(2018, 6, 1)
_QUIET, _SHIFTED = _FIRST + timedelta(days=_HEALTHY), _FIRST + timedelta(days=_HEALTHY + 1)


def _amounts(day: date, rows: int) -> np.ndarray:
    return np.random.default_rng(day.toordinal() * 10 + rows).gamma(2, 40, rows).round(2)


def _events(day: date, factor: float) -> list[dict[str, object]]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [
        {
            "transaction_id": day.toordinal() * 10_000 + i,
            "event_time": (start + timedelta(minutes=i)).isoformat(),
            "customer_id": i % 70,
            "terminal_id": i % 50,
            "amount": float(amount * factor),
        }
        for i, amount in enumerate(_amounts(day, _ONLINE))
    ]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, payments_fraud: LifecycleDeclaration
) -> tuple[Lake, Path, Registry]:
    """Fourteen healthy days in the lake, then a quiet and a shifted one that a real service decided over HTTP."""
    root, name = tmp_path_factory.mktemp("online"), payments_fraud.name
    lake, registry = Lake(root=str(root / "lake")), new_registry(root)
    approve(registry, payments_fraud, register(registry, payments_fraud, 1))
    model, record, names = fit_model(payments_fraud, 1), Record(payments_fraud, lake), payments_fraud.features.names()
    for i in range(_HEALTHY):
        day = _FIRST + timedelta(days=i)
        rows = pl.DataFrame({column: np.zeros(_ROWS) for column in names})
        rows = rows.with_columns(pl.Series("amount", _amounts(day, _ROWS)))
        lake.table(name, "features").write_day(day, rows)
        scored = pl.DataFrame({"score": model.score(rows), "model_version": [1] * _ROWS})
        lake.table(name, "batch_predictions").write_day(day, scored)
        record.outputs(day)
        calm = {"marked": [], "alarmed": [], "model_version": 1}
        lake.documents(name, "open_loop_report").write_document(day, calm)
    capture = Capture(root / "captured" / name, payments_fraud.dataset.time, names)
    state = new_state(payments_fraud, registry, PlainFeatures(payments_fraud), capture=capture)

    async def serve() -> None:
        server = uvicorn.Server(uvicorn.Config(create_service(state), host="127.0.0.1", port=0, log_level="warning"))
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for day, factor in ((_QUIET, 1.0), (_SHIFTED, 3.0)):
                for event in _events(day, factor):
                    answer = await client.post("/decisions", json=event)
                    assert answer.status_code == 200, answer.text
        server.should_exit = True
        await running

    asyncio.run(serve())
    capture.close()
    labels = pl.DataFrame(
        {
            "transaction_id": [event["transaction_id"] for event in _events(_QUIET, 1.0)],
            "is_fraud": pl.Series([amount > 100 for amount in _amounts(_QUIET, _ONLINE)]).cast(pl.Int8),
            "known_at": [datetime(2018, 6, 23, tzinfo=UTC)] * _ONLINE,
        }
    )
    lake.table(name, "labels").write_day(_QUIET, labels)
    return lake, root / "captured", registry


def _run(lifecycle: LifecycleDeclaration, world: tuple[Lake, Path, Registry], day: date) -> dict[str, tuple[bool, str]]:
    lake, captured, registry = world
    parts = [online_decisions_definitions(lifecycle), online_monitoring_definitions(lifecycle)]
    defs = dg.Definitions.merge(*parts)
    ran = dg.materialize(
        [*(defs.assets or ()), *(defs.asset_checks or ())],  # type: ignore[list-item]
        partition_key=day.isoformat(),
        resources={"lake": lake, "registry": registry, "captured_decisions": CapturedDecisions(root=str(captured))},
    )
    assert ran.success
    keyed = {f"{one.asset_key.path[1]}.{one.check_name}": one for one in ran.get_asset_check_evaluations()}
    return {name: (one.passed, one.description or "") for name, one in keyed.items()}


def test_quiet_online_traffic_is_quiet_and_is_held_against_its_labels(
    payments_fraud: LifecycleDeclaration, world: tuple[Lake, Path, Registry]
) -> None:
    said = _run(payments_fraud, world, _QUIET)
    assert said[f"{OPEN}.no_drift"][0], said
    document = world[0].documents(payments_fraud.name, OPEN).read_document(_QUIET)
    assert (document["traffic"], document["judged"], document["model_version"]) == ("online", _ONLINE, 1)
    assert document["marked"] == [] and {"amount", "score"} <= set(document["columns"])
    closed = world[0].documents(payments_fraud.name, CLOSED).read_document(_QUIET)
    positives = int((_amounts(_QUIET, _ONLINE) > 100).sum())
    assert (closed["rows"], closed["positives"], closed["learnt"]) == (_ONLINE, positives, False)
    assert closed["metrics"]["auc_roc"] > 0.95 and closed["lateness"]["without_label"] == 0
    assert 0.7 < closed["calibration"] < 1.4


def test_shifted_traffic_fails_the_check_with_the_reason_in_words(
    payments_fraud: LifecycleDeclaration, world: tuple[Lake, Path, Registry]
) -> None:
    _run(payments_fraud, world, _QUIET)
    said = _run(payments_fraud, world, _SHIFTED)
    passed, text = said[f"{OPEN}.no_drift"]
    assert not passed
    assert text.startswith(f"{_SHIFTED}: ") and "amount moved: mean" in text and "score moved: mean" in text
    assert said[f"{CLOSED}.as_promised"][0], "its labels have not come"
    lake, name = world[0], payments_fraud.name
    assert not lake.documents(name, CLOSED).has(_SHIFTED)
    online = Record(payments_fraud, lake).documents(OPEN, _SHIFTED, 28)
    found = Figures(
        day=_SHIFTED + timedelta(days=1),
        quality={},
        open_loop={},
        closed_loop={},
        retrain={},
        model={"version": 1, "trained": None, "refit": ""},
        sketches={},
        online_open=online,
        online_closed=Record(payments_fraud, lake).documents(CLOSED, _SHIFTED, 28),
    )
    problems = problems_of(payments_fraud, found)
    assert {problem.key for problem in problems} == {"online_scores", "online_inputs"}
    assert all(problem.what.startswith("Online, ") and str(_SHIFTED) in problem.what for problem in problems)
    page = render(payments_fraud, found, problems, Surroundings("", ""))
    assert "<td>batch</td>" in page and "<td>online</td>" in page
    late = replace(found, day=_SHIFTED + timedelta(days=3))
    assert problems_of(payments_fraud, late) == [], "what is three days old says nothing of today"


def test_a_handful_of_events_is_not_judged(
    payments_fraud: LifecycleDeclaration, world: tuple[Lake, Path, Registry]
) -> None:
    online = payments_fraud.monitoring.online.model_copy(update={"fewest_events": _ONLINE + 1})
    strict = payments_fraud.model_copy(
        update={"monitoring": payments_fraud.monitoring.model_copy(update={"online": online})}
    )
    assert _run(strict, world, _SHIFTED)[f"{OPEN}.no_drift"][0]
    document = world[0].documents(payments_fraud.name, OPEN).read_document(_SHIFTED)
    assert document["reasons"] == [f"{_ONLINE} events to judge, {_ONLINE + 1} are needed"]


def test_a_thinned_day_is_as_one_of_so_few_rows() -> None:
    values = pl.Series([None, *np.random.default_rng(1).normal(5, 2, 9_999)])
    few = thinned(sketch(values), 500, seed=3)
    assert few.rows == 500 and few.weights.sum() + few.missing == pytest.approx(1)
    assert few.mean == pytest.approx(5, abs=0.4) and few.deviation == pytest.approx(2, abs=0.3)
    assert thinned(sketch(values), 20_000, seed=3).rows == 10_000


def test_the_policy_acts_on_online_traffic_only_where_it_is_declared_to() -> None:
    assert decide(_POLICY, _WELL).verdict == "none"
    acted = decide(_POLICY, replace(_WELL, online=OnlineDays(labelled=_BAD.labelled)))
    assert (acted.verdict, acted.open, acted.online) == ("retrain", True, True)
    assert acted.reasons[0].startswith("online, average_precision 0.300 over 3 days")
    assert acted.as_dict()["online"] is True and "online" not in decide(_POLICY, _BAD).as_dict()
    both = decide(_POLICY, replace(_BAD, online=OnlineDays(labelled=_BAD.labelled)))
    assert both.verdict == "retrain" and not both.online
    # What holds the policy back holds here too.
    stopped = replace(_WELL, online=OnlineDays(labelled=_BAD.labelled), stopped_days=[_WELL.today])
    assert decide(_POLICY, stopped).verdict == "stop"


@pytest.mark.parametrize("declared", [True, False])
def test_the_day_s_verdict_reads_online_reports_where_it_is_declared_to(
    payments_fraud: LifecycleDeclaration, tmp_path: Path, declared: bool
) -> None:
    online = payments_fraud.monitoring.online.model_copy(update={"retrain": declared})
    lifecycle = payments_fraud.model_copy(
        update={"monitoring": payments_fraud.monitoring.model_copy(update={"online": online})}
    )
    lake, name, metric = Lake(root=str(tmp_path)), lifecycle.name, lifecycle.monitoring.retrain.metric
    today = date(2018, 6, 20)
    lake.table(name, "batch_predictions").write_day(today, pl.DataFrame({"score": [0.1], "model_version": [1]}))
    made = {"version": 1, "mdlc.refit": "2018-05-01 to 2018-05-20"}
    lake.documents(name, "candidate_model").write_document(date(2018, 5, 25), made)
    for back in range(10):
        report = {
            "model_version": 1,
            "metrics": {metric: 0.1},
            "promised": {metric: 0.6},
            "promised_interval": [0.5, 0.7],
            "recent": {"metrics": {metric: 0.1}, "days": 7, "interval": [0.05, 0.2]},
        }
        lake.documents(name, CLOSED).write_document(today - timedelta(days=7 + back), report)
    defs = monitoring_definitions(lifecycle)
    (asset,) = [one for one in defs.assets or () if one.key.path[1] == "retrain_decision"]  # type: ignore[union-attr]
    assert (dg.AssetKey([name, CLOSED]) in asset.dependency_keys) == declared  # type: ignore[union-attr]
    ran = dg.materialize([asset], partition_key=today.isoformat(), resources={"lake": lake})  # type: ignore[list-item]
    assert ran.success
    said = lake.documents(name, "retrain_decision").read_document(today)
    assert said["verdict"] == ("retrain" if declared else "none")
    assert said["reasons"][0].startswith("online, ") == declared and said.get("online", False) == declared
