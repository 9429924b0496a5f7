"""Ticks as a code server makes them: resources once in a process, without an instance of Dagster's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._grpc.impl import get_external_sensor_execution

from mdlc_assets.definitions import build_definitions
from mdlc_assets.home import Home
from mdlc_assets.lifecycle import ModelLifecycle
from mdlc_assets.workflows.ticks import lasting_sensor


class Counted(dg.ConfigurableResource):
    """A resource whose set-up can be seen."""

    name: str


@lasting_sensor(name="looks", target="*")
def looks(context: dg.SensorEvaluationContext, counted: Counted):  # type: ignore[no-untyped-def]
    return dg.SkipReason(f"{counted.name} {id(counted)}")


def tick(definitions: dg.Definitions, root: Path) -> Any:
    reference = InstanceRef.from_dir(str(root))
    repository = definitions.get_repository_def()
    return lambda: get_external_sensor_execution(repository, None, reference, "looks", None, None, None, None, None)


def test_a_code_server_makes_resources_once_and_opens_no_instance(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("opened an instance")

    monkeypatch.setattr(dg.DagsterInstance, "from_ref", refuse)
    again = tick(dg.Definitions(sensors=[looks], resources={"counted": Counted(name="ann")}), tmp_path)
    first, second = again().skip_message, again().skip_message
    assert first.startswith("ann ") and first == second


def test_another_code_location_has_resources_of_its_own(tmp_path):
    ann = tick(dg.Definitions(sensors=[looks], resources={"counted": Counted(name="ann")}), tmp_path)
    bob = tick(dg.Definitions(sensors=[looks], resources={"counted": Counted(name="bob")}), tmp_path)
    assert [ann().skip_message[:3], bob().skip_message[:3]] == ["ann", "bob"]


def test_a_resource_that_nobody_binds_is_named(tmp_path):
    answer = tick(dg.Definitions(sensors=[looks]), tmp_path)()
    assert "binds no resource counted" in answer.error.to_string()


def test_a_test_hands_its_own_over():
    with dg.build_sensor_context(resources={"counted": Counted(name="carol")}) as context:
        assert looks.evaluate_tick(context).skip_message.startswith("carol")


def test_no_shipped_sensor_opens_an_instance_to_find_nothing(tmp_path, monkeypatch, payments_fraud):
    """An instance takes 75 ms to open, all the rest of a tick one: it is opened where something failed."""

    def refuse(*_: object) -> None:
        raise AssertionError("opened an instance")

    definitions = build_definitions([ModelLifecycle(payments_fraud)], home=Home(tmp_path / "home"))
    repository, reference = definitions.get_repository_def(), InstanceRef.from_dir(str(tmp_path))
    monkeypatch.setattr(dg.DagsterInstance, "from_ref", refuse)
    for sensor in repository.sensor_defs:
        answer = get_external_sensor_execution(repository, None, reference, sensor.name, None, None, None, None, None)
        assert answer.skip_message, sensor.name
