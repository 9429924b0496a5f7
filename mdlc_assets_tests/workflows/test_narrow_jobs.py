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
        assert made.get_job_snapshot_id() == expected.get_job_snapshot_id(), job.name


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
