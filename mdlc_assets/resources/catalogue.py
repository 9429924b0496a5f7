"""The catalogue: what datasets exist, with schema, owner, freshness and volume, a JSON document for each."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from mdlc_assets.resources.storage import open_storage


class Catalogue(dg.ConfigurableResource):
    """The catalogue at `root`: a folder, or `s3://bucket/prefix`."""

    root: str

    def put(self, lifecycle: str, dataset: str, entry: dict[str, Any]) -> None:
        """Replace what is said about a dataset."""
        text = json.dumps(entry, indent=1, sort_keys=True, default=str)
        open_storage(self.root).write(f"{lifecycle}/{dataset}.json", text.encode())

    def get(self, lifecycle: str, dataset: str) -> dict[str, Any] | None:
        """What is said about a dataset; None when nothing is."""
        try:
            return json.loads(open_storage(self.root).read(f"{lifecycle}/{dataset}.json"))
        except FileNotFoundError:
            return None
