"""Features of one event from the state that `online_features` left in the online store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.events import EntityState, EventFeatures
from mdlc_assets.resources.online_store import OnlineStore


class StoredFeatures:
    """Reads an event's entities from the store and computes its features."""

    def __init__(self, lifecycle: LifecycleDeclaration, store: OnlineStore) -> None:
        self.lifecycle, self.store = lifecycle, store
        self.types = {n: pl.Float64() if c.type == "float" else None for n, c in lifecycle.dataset.columns.items()}

    def features_of(self, event: Mapping[str, Any]) -> np.ndarray:
        """Float64, in the order of the lifecycle's features."""
        engine = EventFeatures(self.lifecycle)
        for number, family in enumerate(engine.families):
            entity = event[family.entity]
            found = self.store.get(self.lifecycle.name, number, str(entity)) if entity is not None else None
            if found is not None:
                engine.states[number][entity] = EntityState.of(family, *found)
        frame = pl.DataFrame([dict(event)], schema_overrides={n: t for n, t in self.types.items() if t})
        return engine.features(frame).select(self.lifecycle.features.names()).to_numpy()[0]

    def there(self) -> bool:
        """Whether the store has been filled."""
        return self.store.filled(self.lifecycle.name) is not None
