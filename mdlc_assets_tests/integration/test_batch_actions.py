"""What batch decisions set in motion: once for each event, whoever decided it first, and never about history."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.integration.assets import integration_definitions
from mdlc_assets.integration.effects import act_on, acted, decision_id, deliver_due
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.outboxes import Outboxes
from mdlc_assets_tests.integration.decided_days import decide_days
from mdlc_assets_tests.resources.actions.webhooks import far_end


def _acting(
    lifecycle: LifecycleDeclaration, target: dict[str, Any], act_within: str = "100000d"
) -> LifecycleDeclaration:
    """The shipped rules; what they block goes somewhere."""
    declared = lifecycle.decisions.model_dump(mode="json")
    declared["actions"]["block"] = {"words": "Refuse the payment.", "do": [target]}
    declared["act_within"] = act_within
    return lifecycle.model_copy(update={"decisions": Decisions.model_validate(declared)})


def _run(lifecycle: LifecycleDeclaration, lake: Lake, outboxes: Outboxes, day: date) -> dict[str, Any]:
    asset = next(one for one in integration_definitions(lifecycle).assets or () if one.key.path[-1] == "decisions")  # type: ignore[union-attr]
    ran = dg.materialize([asset], partition_key=day.isoformat(), resources={"lake": lake, "outboxes": outboxes})  # type: ignore[list-item]
    (made,) = ran.asset_materializations_for_node(f"{lifecycle.name}__decisions")
    return {name: value.value for name, value in made.metadata.items()}


def test_each_blocked_event_acts_once_across_runs_and_the_service(
    payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    lake, outboxes = Lake(root=str(tmp_path / "lake")), Outboxes(place=str(tmp_path / "{lifecycle}.db"))
    (day,) = decide_days(payments_fraud, lake, 1)
    blocked = lake.table("payments_fraud", "decisions").read_day(day).filter(pl.col("decision") == "block")
    assert blocked.height > 1
    lifecycle = _acting(payments_fraud, {"to": "file", "folder": str(tmp_path / "blocked")})
    # The service was asked about one of them before.
    first = blocked["transaction_id"][0]
    online = acted(
        lifecycle.decisions, decision_id("payments_fraud", first), "block", {"event": first, "from": "online"}
    )
    assert online is not None and outboxes.open("payments_fraud").put([online]) == 1
    said = _run(lifecycle, lake, outboxes, day)
    assert said["decisions set in motion"] == blocked.height - 1
    assert (said["effects due"], said["effects delivered"]) == (0, blocked.height)
    found = [json.loads(file.read_text()) for file in (tmp_path / "blocked").glob("*.json")]
    assert sorted(one["event"] for one in found) == sorted(blocked["transaction_id"])
    assert [one["event"] for one in found if one.get("from") == "online"] == [first]
    assert all(one["versions"]["model"] == 1 for one in found if "versions" in one)
    assert _run(lifecycle, lake, outboxes, day)["decisions set in motion"] == 0, "run again"


def test_history_sets_nothing_in_motion(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lake, outboxes = Lake(root=str(tmp_path / "lake")), Outboxes(place=str(tmp_path / "{lifecycle}.db"))
    (day,) = decide_days(payments_fraud, lake, 1)
    lifecycle = _acting(payments_fraud, {"to": "file", "folder": str(tmp_path / "blocked")}, "2d")
    said = _run(lifecycle, lake, outboxes, day)
    assert said["decisions set in motion"] == 0 and said["decisions too old to be"] > 1
    assert not (tmp_path / "blocked").exists()
    rows, outbox = lake.table("payments_fraud", "decisions").read_day(day), outboxes.open("payments_fraud")
    evening = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=2, hours=12)
    new, old = act_on(lifecycle, outbox, rows, "run", evening)
    assert new > 0 and old > 0, "those of the afternoon are younger than two days"


def test_without_declared_effects_there_is_no_outbox(payments_fraud: LifecycleDeclaration, tmp_path: Path) -> None:
    lake, outboxes = Lake(root=str(tmp_path / "lake")), Outboxes(place=str(tmp_path / "{lifecycle}.db"))
    (day,) = decide_days(payments_fraud, lake, 1)
    assert "effects due" not in _run(payments_fraud, lake, outboxes, day)
    assert list(tmp_path.glob("*.db")) == []


@pytest.mark.parametrize("answer", [503, 400])
def test_what_does_not_arrive_is_said_and_waits_or_ends(
    payments_fraud: LifecycleDeclaration, tmp_path: Path, answer: int
) -> None:
    lake, outboxes = Lake(root=str(tmp_path / "lake")), Outboxes(place=str(tmp_path / "{lifecycle}.db"))
    (day,) = decide_days(payments_fraud, lake, 1)
    with far_end() as far:
        lifecycle = _acting(payments_fraud, {"to": "webhook", "url": far.url})
        far.plan = [answer] * 1000
        said = _run(lifecycle, lake, outboxes, day)
        waiting = "effects due" if answer == 503 else "effects dead"
        assert said[waiting] > 0 and said["effects delivered"] == 0
        far.plan = []
        outbox, before = outboxes.open("payments_fraud"), set(far.keys)
        later = time.time() + 600
        while any(deliver_due(outbox, clock=lambda: later)):
            pass
        assert set(far.keys) == before, "the same keys again"
        assert outbox.counts()["delivered"] == (said[waiting] if answer == 503 else 0)
