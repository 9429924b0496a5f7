"""The days that the schedule `_online_day` asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from mdlc_assets import ModelLifecycle
from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.definitions import build_definitions, embedded_resources
from mdlc_assets.home import Home


def test_the_newest_day_that_is_over_is_asked_for_and_not_the_one_under_way(
    payments_fraud: LifecycleDeclaration, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    for day in ("2018-05-18", "2018-05-19", "2018-05-20"):
        folder = home.captured_decisions / payments_fraud.name / f"date={day}"
        folder.mkdir(parents=True)
        (folder / "1.jsonl").touch()
    repository = build_definitions([ModelLifecycle(payments_fraud)], home=home).get_repository_def()
    schedule = repository.get_schedule_def("payments_fraud_online_day")
    when = datetime(2018, 5, 20, 10, tzinfo=UTC)
    wanted = ("lake", "captured_decisions", "online_store")
    resources = {name: resource for name, resource in embedded_resources(home).items() if name in wanted}
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance=instance, repository_def=repository, scheduled_execution_time=when, resources=resources
        ) as context,
    ):
        asked = schedule.evaluate_tick(context).run_requests or ()
    assert [one.partition_key for one in asked] == ["2018-05-19"]
    assert all(one.run_key for one in asked), "of several requests Dagster wants keys"
