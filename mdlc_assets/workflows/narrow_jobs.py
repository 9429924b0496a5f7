"""Jobs over a lifecycle's own assets, looked for among those alone and not among all of a code location."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


class NarrowJob(UnresolvedAssetJobDefinition):
    """An asset job over assets whose keys begin with the lifecycle's name, which is its tag `mdlc/lifecycle`.

    Dagster looks through all assets of the code location for each job. With hundreds of lifecycles that have a dozen
    jobs each, it takes minutes until a code server answers. It also gives each job all resources of the code location,
    whose options are half of what the webserver fetches about a job, and stand in its launchpad without any effect.
    """

    def resolve(
        self,
        asset_graph: AssetGraph,
        default_executor_def: dg.ExecutorDefinition | None = None,
        resource_defs: Mapping[str, dg.ResourceDefinition] | None = None,
    ) -> dg.JobDefinition:
        """As Dagster's own, over the lifecycle's assets, their checks, and what these depend on.

        Its resources are those that its assets and checks are bound to, or, where none is, all that are given.
        """
        lifecycle = (self.tags or {})["mdlc/lifecycle"]
        own, bound = _graphs(asset_graph)[lifecycle]
        given = None if bound else resource_defs
        return super().resolve(own, default_executor_def=default_executor_def, resource_defs=given)


@functools.lru_cache(maxsize=1)
def _graphs(asset_graph: AssetGraph) -> Mapping[str, tuple[AssetGraph, bool]]:
    """A graph for each lifecycle, and whether all in it are bound to their resources.

    The last code location's are kept, since its jobs are resolved one after another.
    """
    own: dict[str, set[dg.AssetsDefinition]] = defaultdict(set)
    for definition in asset_graph.assets_defs:
        keys = [*definition.keys, *(check.asset_key for check in definition.check_keys)]
        for name in {key.path[0] for key in keys}:
            own[name].add(definition)
            own[name] |= {asset_graph.get(key).assets_def for key in definition.dependency_keys if asset_graph.has(key)}
    return {name: (AssetGraph.from_assets(found), all(map(_is_bound, found))) for name, found in own.items()}


def _is_bound(definition: dg.AssetsDefinition) -> bool:
    return not definition.is_executable or definition.required_resource_keys <= set(definition.resource_defs)
