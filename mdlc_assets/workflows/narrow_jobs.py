"""Jobs over a lifecycle's own assets, looked for among those alone and not among all of a code location."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


class NarrowJob(UnresolvedAssetJobDefinition):
    """An asset job over assets whose keys begin with the lifecycle's name, which is its tag `mdlc/lifecycle`.

    Dagster looks through all assets of the code location for each job. With hundreds of lifecycles that have a dozen
    jobs each, it takes minutes until a code server answers.
    """

    def resolve(self, asset_graph: AssetGraph, *given: Any, **named: Any) -> dg.JobDefinition:
        """As Dagster's own, over the lifecycle's assets, their checks, and what these depend on."""
        lifecycle = (self.tags or {})["mdlc/lifecycle"]
        return super().resolve(_graphs(asset_graph)[lifecycle], *given, **named)


@functools.lru_cache(maxsize=1)
def _graphs(asset_graph: AssetGraph) -> Mapping[str, AssetGraph]:
    """A graph for each lifecycle. The last code location's is kept, since its jobs are resolved one after another."""
    own: dict[str, set[dg.AssetsDefinition]] = defaultdict(set)
    for definition in asset_graph.assets_defs:
        keys = [*definition.keys, *(check.asset_key for check in definition.check_keys)]
        for name in {key.path[0] for key in keys}:
            own[name].add(definition)
            own[name] |= {asset_graph.get(key).assets_def for key in definition.dependency_keys if asset_graph.has(key)}
    return {name: AssetGraph.from_assets(definitions) for name, definitions in own.items()}
