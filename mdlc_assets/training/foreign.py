"""Models that only their own image can read: kept as the archive the image wrote, scored by a batch transform.

AWS's built-in algorithms, Marketplace algorithms and a team's own container write what they like. Such a model
is registered, judged and approved as any other; transform jobs and endpoints run its image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.training.algorithms import FeatureError, FittedModel, ModelFileError, load_model

FOREIGN_FILE = "foreign.json"
_ARCHIVE = "model.tar.gz"
Scorer = Callable[["ForeignModel", pl.DataFrame], np.ndarray]


@dataclass(frozen=True)
class ForeignModel(FittedModel):
    """An archive and the image that reads it. `estimator` is the archive's bytes."""

    image: str = ""
    scorer: Scorer | None = None

    def score(self, rows: pl.DataFrame) -> np.ndarray:
        """As any model's, by a job on SageMaker. Raises `ModelFileError` where no scorer was given."""
        missing = [name for name in self.features if name not in rows.columns]
        if missing:
            raise FeatureError(f"the rows lack {', '.join(missing)}. Mend: give all features of the model.")
        if self.scorer is None:
            return self.score_array(rows.select(self.features).to_numpy())
        return self.scorer(self, rows)

    def score_array(self, values: np.ndarray) -> np.ndarray:
        """Raises `ModelFileError`: no process of ours can read the model."""
        raise ModelFileError(
            f"a model of {self.algorithm} is read by its own image {self.image} only. "
            "Mend: score it by a batch transform, serve it by an endpoint of SageMaker."
        )

    def files(self) -> dict[str, bytes]:
        """The archive as it was written, and what it is."""
        about = {"algorithm": self.algorithm, "features": self.features, "image": self.image}
        return {FOREIGN_FILE: json.dumps(about, indent=1).encode(), _ARCHIVE: self.estimator}

    def digest(self) -> str:
        """SHA-256 in hex over the files."""
        total = hashlib.sha256()
        for name, content in sorted(self.files().items()):
            total.update(f"{name}\0".encode())
            total.update(content)
        return total.hexdigest()


def load_any_model(files: Mapping[str, bytes], scorer: Scorer | None = None) -> FittedModel:
    """A model of ours, or a foreign one with who scores it. Raises `ModelFileError`."""
    if FOREIGN_FILE not in files:
        return load_model(files)
    try:
        about: dict[str, Any] = json.loads(files[FOREIGN_FILE])
        return ForeignModel(about["algorithm"], about["features"], files[_ARCHIVE], image=about["image"], scorer=scorer)
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"the model's files cannot be read ({error}). Mend: register it again.") from None
