"""Jobs resolved among a lifecycle's own assets are those that Dagster finds among all."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from mdlc_assets.definitions import build_definitions
from mdlc_assets.workflows.narrow_jobs import NarrowJob


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions().get_repository_def()


def test_each_job_is_what_dagster_makes_of_it_among_all_assets(repository: dg.RepositoryDefinition) -> None:
    jobs = [job for job in build_definitions().jobs or [] if isinstance(job, NarrowJob)]
    assert len(jobs) > 30
    graph = repository.asset_graph
    resources = repository.get_top_level_resources()
    for job in jobs:
        wide = UnresolvedAssetJobDefinition(
            job.name, job.selection, config=job.config, description=job.description, tags=job.tags
        )
        expected, made = (one.resolve(graph, resource_defs=resources) for one in (wide, job))
        assert set(made.graph.node_dict) == set(expected.graph.node_dict), job.name
        assert made.graph.dependencies == expected.graph.dependencies, job.name
        scoped, wider = made.asset_layer.asset_graph, expected.asset_layer.asset_graph
        assert scoped.executable_asset_keys == wider.executable_asset_keys, job.name
        assert scoped.get_all_asset_keys() == wider.get_all_asset_keys(), job.name
        assert scoped.asset_check_keys == wider.asset_check_keys, job.name
        assert dict(made.resource_defs).items() <= dict(expected.resource_defs).items(), job.name
        needed = {need.key for node in made.nodes for need in node.get_resource_requirements(made.asset_layer)}
        assert needed <= set(made.resource_defs), job.name


def test_a_job_shows_the_resources_that_it_uses_and_no_others(repository: dg.RepositoryDefinition) -> None:
    used = {
        name: set(repository.get_job(f"payments_fraud_{name}").resource_defs) - {"io_manager"}
        for name in ("labels", "approve", "batch_inference")
    }
    assert used["labels"] == {"lake", "landing", "catalogue"}
    assert "registry" in used["approve"]
    assert "lake" in used["batch_inference"]
    assert not used["batch_inference"] & {"spark", "online_store", "streams"}


def test_where_assets_are_not_bound_a_job_has_all_resources_that_are_given() -> None:
    @dg.asset(key=["shop", "raw"])
    def raw(lake: dg.ResourceParam[object]) -> dg.MaterializeResult: ...

    resources = {name: dg.ResourceDefinition.hardcoded_resource(name) for name in ("lake", "registry")}
    job = NarrowJob("shop_raw", dg.AssetSelection.all(), tags={"mdlc/lifecycle": "shop"})
    made = job.resolve(AssetGraph.from_assets([raw]), resource_defs=resources)
    assert set(made.resource_defs) >= {"lake", "registry"}


def test_no_job_looks_at_another_lifecycles_assets(
    repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[set[str]] = []
    plain = UnresolvedAssetJobDefinition.resolve

    def watched(job: NarrowJob, asset_graph: AssetGraph, **named: object) -> dg.JobDefinition:
        looked.append({key.path[0] for key in asset_graph.get_all_asset_keys()})
        return plain(job, asset_graph, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(UnresolvedAssetJobDefinition, "resolve", watched)
    for job in (job for job in build_definitions().jobs or [] if isinstance(job, NarrowJob)):
        job.resolve(repository.asset_graph)
    assert looked
    assert all(len(lifecycles) == 1 for lifecycles in looked)
