"""Loading leaves Dagster as it was, and gives the same definitions as without its shortcuts."""

from __future__ import annotations

import gc

import dagster as dg
import pytest
from dagster._core.definitions import input as inputs
from dagster._core.types import dagster_type

from mdlc_assets.definitions import build_definitions, defs
from mdlc_assets.loading import kept_for_good, types_resolved_once


def test_types_are_looked_up_once_and_dagster_is_as_before() -> None:
    plain = dagster_type.resolve_dagster_type
    asked: list[object] = []

    def counted(kind: object) -> object:
        asked.append(kind)
        return plain(kind)

    with pytest.MonkeyPatch.context() as patch:
        for module in (dagster_type, inputs):
            patch.setattr(module, "resolve_dagster_type", counted)
        with pytest.raises(ValueError, match="broke"), types_resolved_once():
            dg.In(dg.Nothing)
            dg.In(dg.Nothing)
            raise ValueError("broke")
        assert asked == [dg.Nothing]
        dg.In(dg.Nothing)
        assert asked == [dg.Nothing] * 2
    assert inputs.resolve_dagster_type is plain


def test_garbage_is_collected_again_after_loading() -> None:
    with kept_for_good():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_dagster_without_that_function_loads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(dagster_type, "resolve_dagster_type")
    with types_resolved_once():
        assert not hasattr(dagster_type, "resolve_dagster_type")


def test_definitions_are_the_same_with_and_without() -> None:
    def told(found: dg.Definitions) -> set[tuple[str, str]]:
        repository = found.get_repository_def()
        graph = repository.asset_graph
        told = {(key.to_user_string(), str(sorted(graph.get(key).parent_keys))) for key in graph.get_all_asset_keys()}
        return told | {(job.name, str(sorted(job.graph.node_dict))) for job in repository.get_all_jobs()}

    assert told(defs()) == told(build_definitions())
