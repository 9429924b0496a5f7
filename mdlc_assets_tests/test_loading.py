"""Loading leaves Dagster as it was, and gives the same definitions as without its shortcuts."""

from __future__ import annotations

import gc
from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core import decorator_utils
from dagster._core.definitions import input as inputs
from dagster._core.definitions.decorators import op_decorator
from dagster._core.types import dagster_type

from mdlc_assets.asset_style import read_once
from mdlc_assets.definitions import build_definitions, defs
from mdlc_assets.loading import asked_once, kept_for_good
from mdlc_assets.resources.lake import Lake


def test_types_are_looked_up_once_and_dagster_is_as_before() -> None:
    plain = dagster_type.resolve_dagster_type
    asked: list[object] = []

    def counted(kind: object) -> object:
        asked.append(kind)
        return plain(kind)

    with pytest.MonkeyPatch.context() as patch:
        for module in (dagster_type, inputs):
            patch.setattr(module, "resolve_dagster_type", counted)
        with pytest.raises(ValueError, match="broke"), asked_once():
            dg.In(dg.Nothing)
            dg.In(dg.Nothing)
            raise ValueError("broke")
        assert asked == [dg.Nothing]
        dg.In(dg.Nothing)
        assert asked == [dg.Nothing] * 2
    assert inputs.resolve_dagster_type is plain


def test_functions_of_one_signature_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = decorator_utils.get_function_params
    asked: list[object] = []

    def counted(function: Callable[..., object]) -> object:
        asked.append(function)
        return plain(function)

    for space in (decorator_utils, op_decorator):
        monkeypatch.setattr(space, "get_function_params", counted)

    def made() -> Callable[..., object]:
        @read_once
        def function(context: dg.OpExecutionContext, lake: Lake) -> None: ...

        return function

    with asked_once():
        ops = [dg.op(name=name)(made()) for name in ("one", "two")]
        looked = len(asked)
        dg.op(name="three")(lambda: None)
        assert len(asked) > looked
    assert looked == 1
    assert [op.required_resource_keys for op in ops] == [{"lake"}] * 2
    assert op_decorator.get_function_params is counted


def test_assets_are_bound_to_what_they_ask_for_and_to_nothing_else() -> None:
    @dg.asset
    def rows(lake: dg.ResourceParam[object]) -> dg.MaterializeResult: ...

    @dg.asset
    def more_rows(lake: dg.ResourceParam[object]) -> dg.MaterializeResult: ...

    @dg.asset
    def model(registry: dg.ResourceParam[object]) -> dg.MaterializeResult: ...

    own = {"lake": dg.ResourceDefinition.hardcoded_resource("its own")}
    files = {"io_manager": dg.mem_io_manager}
    resources = {name: dg.ResourceDefinition.hardcoded_resource(name) for name in ("lake", "registry", "store")} | files
    with asked_once():
        found = [one.with_resources(resources) for one in (rows, more_rows, model)]
        with pytest.raises(dg.DagsterInvalidInvocationError, match="conflicting resource"):
            found[0].with_resources(own)
        with pytest.raises(dg.DagsterInvalidDefinitionError, match="registry"):
            model.with_resources(files | own)
    assert [one.resource_defs for one in found[:2]] == [files | {"lake": resources["lake"]}] * 2
    assert found[2].resource_defs == files | {"registry": resources["registry"]}
    assert [one.key for one in found] == [rows.key, more_rows.key, model.key]
    assert not rows.resource_defs
    assert not hasattr(dg.AssetsDefinition.with_resources, "__wrapped__")


def test_garbage_is_collected_again_after_loading() -> None:
    with kept_for_good():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_dagster_without_that_function_loads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(dagster_type, "resolve_dagster_type")
    with asked_once():
        assert not hasattr(dagster_type, "resolve_dagster_type")


def test_definitions_are_the_same_with_and_without() -> None:
    def told(found: dg.Definitions) -> set[tuple[str, str]]:
        repository = found.get_repository_def()
        graph = repository.asset_graph
        told = {(key.to_user_string(), str(sorted(graph.get(key).parent_keys))) for key in graph.get_all_asset_keys()}
        told |= {
            (key.to_user_string(), str(sorted(graph.get(key).assets_def.resource_defs)))
            for key in graph.get_all_asset_keys()
            if graph.get(key).is_executable
        }
        return told | {(job.name, str(sorted(job.graph.node_dict))) for job in repository.get_all_jobs()}

    assert told(defs()) == told(build_definitions())
