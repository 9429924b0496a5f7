"""The whole declaration of a lifecycle, and how it is read from its file."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from mdlc_assets.declaration.base import Declared, duration_name, refuse
from mdlc_assets.declaration.dataset import Dataset, Labels
from mdlc_assets.declaration.deployment import Deployment
from mdlc_assets.declaration.errors import DeclarationError, closest, explain, use_one_of
from mdlc_assets.declaration.features import Features
from mdlc_assets.declaration.files import attributes_of, file_of, folders_there, reading
from mdlc_assets.declaration.fingerprint import fingerprint_of, fingerprint_of_texts, texts_of
from mdlc_assets.declaration.model import Model
from mdlc_assets.declaration.monitoring import Monitoring
from mdlc_assets.declaration.owners import Owners
from mdlc_assets.declaration.quality import Quality
from mdlc_assets.declaration.rules import Decisions
from mdlc_assets.declaration.shape import fit_to_labels, refuse_misfits
from mdlc_assets.declaration.stream import Stream
from mdlc_assets.declaration.uses import (
    STAGES,
    TABLES,
    may_be_used,
    refuse_absent_entity,
    refuse_what_needs_own_data,
    with_parts_of,
)

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,40}$")
_SAME_ANSWER = {"features": {"engine", "spark_above"}}


class LifecycleDeclaration(Declared):
    """Everything a team says about one model, from raw files to decisions."""

    # Dagster and editors judge the YAML by the schema, before what is used has been put in.
    model_config = ConfigDict(json_schema_extra=may_be_used)

    name: str
    description: str
    owners: Owners
    uses: str = Field(
        default="",
        description="Another lifecycle whose dataset, labels, quality and features are this one's too. They are "
        "computed once, there; which of the features a model learns from is said under model.features.",
    )
    dataset: Dataset
    labels: Labels = Labels(kind="none")
    quality: Quality = Quality()
    features: Features
    model: Model
    deployment: Deployment = Deployment()
    monitoring: Monitoring = Monitoring()
    decisions: Decisions
    stream: Stream | None = None
    _source: LifecycleDeclaration | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _with_parts_of_the_used(cls, said: Any) -> Any:
        if not isinstance(said, dict) or not said.get("uses"):
            return said
        return with_parts_of(said, _used(str(said["uses"]), str(said.get("name", ""))))

    @model_validator(mode="after")
    def _belongs_to_the_used(self) -> LifecycleDeclaration:
        if self.uses:
            refuse_what_needs_own_data(self)
            self._source = _used(self.uses, self.name)
            refuse_absent_entity(self, self._source)
            theirs = {stage: getattr(self._source.owners, stage) for stage in STAGES}
            object.__setattr__(self, "owners", self.owners.model_copy(update=theirs))
        return self

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

    @property
    def source(self) -> LifecycleDeclaration:
        """The lifecycle whose data these are: the one it `uses`, or itself."""
        return self._source or self

    def place(self, table: str) -> tuple[str, str]:
        """The lifecycle that keeps a table (or document, or asset), and the table's name: `lake.table(*place)`."""
        shared = table in TABLES or table in self.dataset.attributes
        return (self.uses or self.name) if shared else self.name, table

    def days(self, first: date, last: date) -> list[date]:
        """The days from `first` to `last`, both included, that lie inside the dataset's own span."""
        first = max(first, self.dataset.start)
        last = min(last, self.dataset.end) if self.dataset.end else last
        return [first + timedelta(days=i) for i in range((last - first).days + 1)]

    def fingerprint(self, *parts: str) -> str:
        """Twelve hex digits that change whenever the named parts (all, when none) say something else.

        Which engine computes the features makes no difference, since all give the same.
        """
        return fingerprint_of(self.model_dump(mode="json", include=set(parts) or None, exclude=_SAME_ANSWER))

    def fingerprints(self, parts: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        """The fingerprints of several choices of parts, by the choice's name, in one go."""
        named = {part for chosen in parts.values() for part in chosen}
        texts = texts_of(self.model_dump(mode="json", include=named, exclude=_SAME_ANSWER))
        return {
            choice: fingerprint_of_texts({part: texts[part] for part in chosen if part in texts})
            for choice, chosen in parts.items()
        }


def read_declaration(path: Path | str) -> LifecycleDeclaration:
    """Read a lifecycle from a component file (`type:` and `attributes:`) or from its bare attributes.

    Raises `DeclarationError` with every problem found: file, field, value and mend.
    """
    path = Path(path)
    content = attributes_of(path)
    try:
        with reading(path):
            return LifecycleDeclaration.model_validate(content)
    except ValidationError as error:
        raise DeclarationError(path, explain(error, LifecycleDeclaration)) from None


def _used(name: str, by: str) -> LifecycleDeclaration:
    """The lifecycle `name`, as its own file declares it."""
    path = file_of(name) if name != by else None
    if path is None:
        wrong = "a lifecycle cannot use itself" if name == by else f"no lifecycle is declared as {name!r}"
        close = closest(name, sorted({*folders_there()} - {by}))
        instead = f"write {close!r}" if close else "name another"
        mend = f"{instead}, in a folder beside this one or in one of MDLC_LIFECYCLES"
        raise refuse(wrong, mend, field="uses", value=name)
    try:
        return _read_once(path, path.stat().st_mtime_ns)
    except DeclarationError as error:
        raise refuse(
            f"the declaration of {name} is wrong itself: {error.problems[0]}",
            f"mend it first; `mdlc validate {path}` checks it",
            field="uses",
            value=name,
        ) from None


@functools.lru_cache(maxsize=64)
def _read_once(path: Path, _changed: int) -> LifecycleDeclaration:
    said = attributes_of(path)
    # Before it is read: two that use one another would be read for ever.
    if others := said.get("uses"):
        name = str(said["name"])
        raise refuse(f"{name} itself uses {others}", f"write `uses: {others}`", field="uses", value=name)
    return read_declaration(path)
