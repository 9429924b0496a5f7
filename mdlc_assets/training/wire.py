"""Rows as an image wants to be sent them, and scores as it answers: for a batch transform and for an endpoint.

the platform's own   CSV without names; each line is numbered, and the number stays beside the score
built-in, bought     CSV without names in, or RecordIO where that is all it reads; JSON lines out, in the same order
a team's own         Parquet in, Parquet with a column `score` out, rows in the same order
"""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mdlc_assets.resources.sagemaker.requests import TransformPlan
from mdlc_assets.training.algorithms import FeatureError, FittedModel, ModelFileError
from mdlc_assets.training.built_in import BUILT_IN
from mdlc_assets.training.foreign import ForeignModel
from mdlc_assets.training.recordio import CONTENT_TYPE, recordio

_PARQUET, _CSV, _LINES = "application/x-parquet", "text/csv", "application/jsonlines"
BARE_CSV = {"MDLC_CSV_HEADER": "absent"}
"""In the environment of the platform's own image: lines of text/csv come without names, as SageMaker cuts them."""


@dataclass(frozen=True)
class Wire:
    """How rows go out and scores come back."""

    content_type: str
    accept: str
    numbered: bool = False

    @property
    def lines(self) -> bool:
        """Whether a file may be cut into requests between its lines."""
        return self.content_type == _CSV

    def body(self, rows: pl.DataFrame, features: list[str]) -> bytes:
        """Rows to send. Raises `FeatureError` when a feature is not there, or not a finite number."""
        missing = [name for name in features if name not in rows.columns]
        if missing:
            raise FeatureError(f"the rows lack {', '.join(missing)}. Mend: give all features of the model.")
        frame = rows.select(features)
        for name in features:
            if not frame[name].cast(pl.Float64).is_finite().fill_null(False).all():
                raise FeatureError(f"{name} is missing or infinite. Mend: give a finite number.")
        if self.content_type == _PARQUET:
            return parquet_bytes(frame)
        if self.content_type == CONTENT_TYPE:
            return recordio(frame.to_numpy())
        return csv_bytes(frame.cast({pl.Boolean: pl.Int8}).with_row_index("row") if self.numbered else frame)

    def scores(self, answer: bytes, count: int, image: str) -> np.ndarray:
        """The scores of `count` rows. Raises `ModelFileError` for any other number of them, or another order."""
        try:
            found = self._read(answer)
        except (ValueError, KeyError, pl.exceptions.PolarsError) as error:
            raise ModelFileError(f"the answer of {image} cannot be read ({type(error).__name__})") from None
        if len(found) != count:
            raise ModelFileError(f"the image {image} answered {len(found)} scores for {count} rows")
        if not np.isfinite(found).all():
            raise ModelFileError(f"the image {image} answered scores that are no finite numbers")
        return found

    def transform(self, plan: TransformPlan) -> TransformPlan:
        """The plan of a transform with this wire."""
        plan = dataclasses.replace(plan, content_type=self.content_type, accept=self.accept, split=self.lines)
        return dataclasses.replace(plan, input_filter="$[1:]", output_filter="$[0,-1]") if self.numbered else plan

    def _read(self, answer: bytes) -> np.ndarray:
        if self.accept == _PARQUET:
            return pl.read_parquet(answer)["score"].cast(pl.Float64).to_numpy()
        if self.accept == _LINES:
            lines = [json.loads(line) for line in answer.splitlines() if line.strip()]
            return np.array([_score_in(line) for line in lines], dtype=np.float64)
        schema = {"row": pl.Int64, "score": pl.Float64}
        found = pl.read_csv(answer, has_header=False, schema=schema) if answer.strip() else pl.DataFrame(schema=schema)
        if not found["row"].equals(pl.Series("row", range(found.height), dtype=pl.Int64)):
            raise ModelFileError("the answers are not in the order of the rows that were sent. Mend: score again.")
        return found["score"].to_numpy()


OWN = Wire(_CSV, _CSV, numbered=True)
_BARE, _RECORDS, _TEAM = Wire(_CSV, _LINES), Wire(CONTENT_TYPE, _LINES), Wire(_PARQUET, _PARQUET)


def wire_of(model: FittedModel) -> Wire:
    """How the image that serves a model wants its rows."""
    if not isinstance(model, ForeignModel):
        return OWN
    if reads_records_only(model.algorithm):
        return _RECORDS
    return _BARE if is_bare(model.algorithm) else _TEAM


def reads_records_only(algorithm: str) -> bool:
    """Whether its image takes a table as RecordIO only."""
    return algorithm in BUILT_IN and BUILT_IN[algorithm].content_types == (CONTENT_TYPE,)


def is_bare(algorithm: str) -> bool:
    """Whether its image wants rows without names."""
    return algorithm in BUILT_IN or algorithm.startswith("arn:")


def parquet_bytes(rows: pl.DataFrame) -> bytes:
    """A Parquet file."""
    written = io.BytesIO()
    rows.write_parquet(written)
    return written.getvalue()


def csv_bytes(rows: pl.DataFrame) -> bytes:
    """Lines of values, without names."""
    written = io.BytesIO()
    rows.write_csv(written, include_header=False)
    return written.getvalue()


def _score_in(answer: Any) -> float:
    """The score in one line of an answer: a distance is squeezed into 0 to 1, as in this process."""
    if isinstance(answer, int | float):
        return float(answer)
    if "distance_to_cluster" in answer:
        distance = float(answer["distance_to_cluster"])
        return distance / (1 + distance)
    for key in ("score", "predicted_label"):
        if key in answer:
            return float(answer[key])
    raise ModelFileError(f"the image's answer holds no score, only {', '.join(answer)}")
