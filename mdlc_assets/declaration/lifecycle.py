"""The whole declaration of a lifecycle, and how it is read from its file."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from mdlc_assets.declaration.base import Declared, duration_name, refuse
from mdlc_assets.declaration.dataset import Dataset, Labels
from mdlc_assets.declaration.deployment import Deployment
from mdlc_assets.declaration.errors import DeclarationError, explain, use_one_of
from mdlc_assets.declaration.features import Features
from mdlc_assets.declaration.fingerprint import fingerprint_of
from mdlc_assets.declaration.model import Model
from mdlc_assets.declaration.monitoring import Monitoring
from mdlc_assets.declaration.owners import Owners
from mdlc_assets.declaration.quality import Quality
from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.declaration.shape import fit_to_labels, refuse_misfits
from mdlc_assets.declaration.stream import Stream
from mdlc_assets.declaration.yaml_file import read_yaml

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,40}$")


class LifecycleDeclaration(Declared):
    """Everything a team says about one model, from raw files to decisions."""

    name: str
    description: str
    owners: Owners
    dataset: Dataset
    labels: Labels = Labels(kind="none")
    quality: Quality = Quality()
    features: Features
    model: Model
    deployment: Deployment = Deployment()
    monitoring: Monitoring = Monitoring()
    decisions: Decisions
    stream: Stream | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> LifecycleDeclaration:
        if not _NAME.match(self.name):
            raise refuse(
                f"{self.name!r} cannot be a key prefix",
                "use 2 to 41 lower-case letters, digits and underscores, a letter first",
                field="name",
                value=self.name,
            )
        if not self.model.entity:
            # Frozen for everyone else: from here on nobody has to ask whether there is an entity.
            object.__setattr__(self, "model", self.model.model_copy(update={"entity": self.dataset.id}))
        if self.labels.kind != "event":
            model, monitoring = fit_to_labels(self.labels, self.model, self.monitoring)
            object.__setattr__(self, "model", model)
            object.__setattr__(self, "monitoring", monitoring)
        refuse_misfits(self.labels, self.model, self.monitoring, self.features.names())
        if self.deployment.package_group and self.model.algorithm.startswith("arn:"):
            raise refuse(
                "a Marketplace algorithm's models have packages of their own already",
                "leave package_group out",
                field="deployment.package_group",
                value=self.deployment.package_group,
            )
        self._refuse_unknown([*self.dataset.columns, *self.labels.columns])
        return self

    def _refuse_unknown(self, columns: list[str]) -> None:
        named = [(f"features.windows.{i}.entity", w.entity) for i, w in enumerate(self.features.windows)]
        named += [(f"quality.entities.{i}.entity", r.entity) for i, r in enumerate(self.quality.entities)]
        named += [(f"quality.entities.{i}.column", r.column) for i, r in enumerate(self.quality.entities)]
        named.append(("model.entity", self.model.entity))
        if self.stream is not None and self.stream.key is not None:
            named.append(("stream.key", self.stream.key))
        for source, mapping in self.dataset.sources.items():
            named += [(f"dataset.sources.{source}.columns", name) for name in mapping.columns]
        for field, name in named:
            if name not in columns:
                raise refuse(
                    "the dataset has no such column",
                    use_one_of(name, columns),
                    field=field,
                    value=name,
                )
        self._refuse_wrong_windows([*self.dataset.validated_columns, *self.labels.columns])

    def _refuse_wrong_windows(self, columns: list[str]) -> None:
        uses_label = re.compile(rf"\b{re.escape(self.labels.column)}\b")
        for i, family in enumerate(self.features.windows):
            for column in family.columns():
                if column.name in columns:
                    raise refuse(
                        f"feature {column.name!r} is called as a column of the dataset",
                        "give the aggregation another name",
                        field=f"features.windows.{i}.aggregate",
                        value=column.name,
                    )
                if not self.labels.column or not uses_label.search(f"{column.value} {column.where}"):
                    continue
                if column.delay < self.labels.delay:
                    raise refuse(
                        f"feature {column.name!r} uses the label {self.labels.column!r} before it is known",
                        "give its family a delay of at least the label's delay",
                        field=f"features.windows.{i}.delay",
                        value=duration_name(column.delay),
                    )
                if column.window < timedelta(days=1):
                    raise refuse(
                        f"feature {column.name!r} has a window shorter than the grain of its delay: labels become "
                        "known day by day",
                        "use windows of at least 1d where the label is aggregated",
                        field=f"features.windows.{i}.windows",
                        value=duration_name(column.window),
                    )

    def days(self, first: date, last: date) -> list[date]:
        """The days from `first` to `last`, both included, that lie inside the dataset's own span."""
        first = max(first, self.dataset.start)
        last = min(last, self.dataset.end) if self.dataset.end else last
        return [first + timedelta(days=i) for i in range((last - first).days + 1)]

    def fingerprint(self, *parts: str) -> str:
        """Twelve hex digits that change whenever the named parts (all, when none) say something else.

        Which engine computes the features makes no difference, since all give the same.
        """
        how = {"features": {"engine", "spark_above"}}
        content = self.model_dump(mode="json", include=set(parts) or None, exclude=how)
        return fingerprint_of(content)


def read_declaration(path: Path | str) -> LifecycleDeclaration:
    """Read a lifecycle from a component file (`type:` and `attributes:`) or from its bare attributes.

    Raises `DeclarationError` with every problem found: file, field, value and mend.
    """
    path = Path(path)
    content: Any = read_yaml(path)
    if "attributes" in content:
        content = content["attributes"]
    try:
        return LifecycleDeclaration.model_validate(content)
    except ValidationError as error:
        raise DeclarationError(path, explain(error, LifecycleDeclaration)) from None
