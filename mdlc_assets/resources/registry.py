"""The registry: MLflow's tracking and model registry, and the append-only audit trail of approvals.

A registered model has the lifecycle's name. Aliases: `challenger`, the newest candidate; `champion`, the one
that serves. Only an approval moves `champion`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mdlc_assets.resources.storage import open_storage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class UnknownVersionError(LookupError):
    """A version that the registry does not have."""


@dataclass(frozen=True)
class Version:
    """A registered version. `as_of` is the day (ISO) as of which it was trained."""

    version: int
    run_id: str
    as_of: str
    digest: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Candidate:
    """What is to be registered: files of the model folder(s) by relative path, and what to say about them."""

    as_of: str
    digest: str
    files: Mapping[str, bytes]
    features: list[str]
    params: Mapping[str, Any]
    tags: Mapping[str, str]


class Registry(dg.ConfigurableResource):
    """MLflow at `tracking_uri`; new artifacts go below `artifact_root` (a folder or s3://...)."""

    tracking_uri: str
    artifact_root: str

    def register(self, name: str, candidate: Candidate) -> Version:
        """Log a run with the candidate's files and register it, unless the same is registered already.

        A run that an earlier, killed attempt left behind is closed as failed.
        """
        for found in self.versions(name):
            if (found.as_of, found.digest) == (candidate.as_of, candidate.digest):
                return found
        client = self._client()
        experiment = self._experiment(client, name)
        for left in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
            client.set_terminated(left.info.run_id, "FAILED")
        run = client.create_run(experiment, run_name=f"as of {candidate.as_of}", tags=dict(candidate.tags))
        run_id = run.info.run_id
        for key, value in candidate.params.items():
            client.log_param(run_id, key, value)
        with tempfile.TemporaryDirectory() as folder:
            for path, content in candidate.files.items():
                target = Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            _describe(Path(folder) / "model", run_id, candidate.features)
            client.log_artifacts(run_id, folder)
        source = f"{run.info.artifact_uri}/model"
        tags = {"mdlc.as_of": candidate.as_of, "mdlc.digest": candidate.digest, **candidate.tags}
        made = client.create_model_version(name, source, run_id, tags=tags)
        client.set_terminated(run_id)
        return _version(made)

    def log_metrics(self, version: Version, metrics: Mapping[str, float]) -> None:
        """Write metrics to the run of a version."""
        for key, value in metrics.items():
            self._client().log_metric(version.run_id, key, value)

    def versions(self, name: str) -> list[Version]:
        """All versions, oldest first."""
        found = self._client().search_model_versions(f"name = '{name}'", max_results=1000)
        return sorted((_version(item) for item in found), key=lambda version: version.version)

    def version(self, name: str, number: int) -> Version:
        """One version. Raises `UnknownVersionError`."""
        for found in self.versions(name):
            if found.version == int(number):
                return found
        known = ", ".join(str(found.version) for found in self.versions(name)) or "none"
        raise UnknownVersionError(f"{name} has no version {number}. Mend: use one of {known}.")

    def files(self, version: Version, folder: str = "model") -> dict[str, bytes]:
        """The files of a model folder of a version, by name."""
        from mlflow.artifacts import download_artifacts

        run = self._client().get_run(version.run_id)
        with tempfile.TemporaryDirectory() as target:
            path = download_artifacts(
                artifact_uri=f"{run.info.artifact_uri}/{folder}", dst_path=target, tracking_uri=self.tracking_uri
            )
            return {file.name: file.read_bytes() for file in sorted(Path(path).iterdir()) if file.is_file()}

    def by_alias(self, name: str, alias: str) -> Version | None:
        """The version that an alias points to."""
        from mlflow.exceptions import MlflowException

        try:
            return _version(self._client().get_model_version_by_alias(name, alias))
        except MlflowException:
            return None

    def champion(self, name: str) -> Version | None:
        """The approved version that serves; None before the first approval."""
        return self.by_alias(name, "champion")

    def point(self, name: str, alias: str, version: Version) -> None:
        """Let an alias point to a version."""
        self._client().set_registered_model_alias(name, alias, str(version.version))

    def tag(self, name: str, version: Version, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""
        for key, value in tags.items():
            self._client().set_model_version_tag(name, str(version.version), key, value)

    def record(self, name: str, action: str, version: Version, who: str, reason: str, **more: Any) -> None:
        """Add a line to the audit trail; what is written is never changed."""
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        entry = {"at": at, "action": action, "version": version.version, "who": who, "reason": reason, **more}
        name_of_file = f"audit/{name}/{at.replace(':', '')}-{action}.json"
        open_storage(self.artifact_root).write(name_of_file, json.dumps(entry, sort_keys=True).encode())

    def audit(self, name: str) -> list[dict[str, Any]]:
        """The audit trail, oldest first."""
        storage = open_storage(self.artifact_root)
        return [json.loads(storage.read(file)) for file in storage.names(f"audit/{name}")]

    def history(self, name: str) -> list[dict[str, Any]]:
        """Each version with what it was trained on, what the gate said, and what was done with it."""
        trail = self.audit(name)
        champion = self.champion(name)
        return [
            {
                "version": found.version,
                "as_of": found.as_of,
                "serves": champion is not None and champion.version == found.version,
                **{key.removeprefix("mdlc."): value for key, value in sorted(found.tags.items())},
                "audit": [
                    f"{entry['at'][:16]} {entry['action']} by {entry['who']}: {entry['reason']}"
                    for entry in trail
                    if entry["version"] == found.version
                ],
            }
            for found in self.versions(name)
        ]

    def _client(self) -> MlflowClient:
        # MLflow draws a bar for each small file, and tells of each table it makes.
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        if self.tracking_uri.startswith("sqlite:///"):
            Path(self.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.tracking_uri, self.tracking_uri)

    def _experiment(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        # A process that was killed between the two, or another one that is quicker, may have made either.
        with contextlib.suppress(MlflowException):
            client.create_registered_model(name)
        with contextlib.suppress(MlflowException):
            return client.create_experiment(name, artifact_location=f"{self.artifact_root}/{name}")
        return client.get_experiment_by_name(name).experiment_id  # type: ignore[union-attr]


def _describe(folder: Path, run_id: str, features: list[str]) -> None:
    """Write MLflow's own description (MLmodel with the signature) beside the model's files."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec("double", feature) for feature in features]),
        outputs=Schema([ColSpec("double", "score")]),
    )
    about = Model(artifact_path="model", run_id=run_id, signature=signature)
    about.add_flavor("mdlc_assets", model="model.json")
    about.save(str(folder / "MLmodel"))


def _version(item: ModelVersion) -> Version:
    tags = dict(item.tags)
    return Version(int(item.version), item.run_id or "", tags.get("mdlc.as_of", ""), tags.get("mdlc.digest", ""), tags)
