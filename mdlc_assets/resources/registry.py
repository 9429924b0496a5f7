"""The registry: MLflow's tracking and model registry, and the append-only audit trail of approvals.

A registered model has the lifecycle's name. Aliases: `challenger`, the newest candidate; `champion`, the one
that serves. Only an approval moves `champion`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mdlc_assets.resources.audit import AuditTrail, Head, TrailMovedError
from mdlc_assets.resources.registry_client import open_client
from mdlc_assets.resources.registry_faults import refusals_explained
from mdlc_assets.resources.storage import open_storage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.entities.model_registry import ModelVersion


# Without it MLflow's pages take an experiment for one of generative models, and hide its runs.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_HEAD, _PROCESS = "mdlc.audit_head", "mdlc.process"
# What an audit entry repeats of the version's tags.
_ABOUT = (
    "as_of", "digest", "files", "train", "test", "refit", "declaration", "code", "code_digest", "git_commit",
    "environment", "digest_features", "digest_labels", "dagster_run",
)  # fmt: skip
# What MLflow's databases hold of a description.
_LONGEST_DESCRIPTION = 5_000
_PAGE = 1_000
_NO_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_LONGEST_REGISTRATION = timedelta(hours=6)


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
    """What is to be registered: files of the model folder(s) by relative path, and what to say about them.

    `inputs` are the tables it was made from: name to days and digest.
    """

    as_of: str
    digest: str
    files: Mapping[str, bytes]
    features: list[str]
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Registry(dg.ConfigurableResource):
    """MLflow at `tracking_uri`; new artifacts go below `artifact_root` (a folder or s3://...)."""

    tracking_uri: str
    artifact_root: str

    def register(self, name: str, candidate: Candidate) -> Version:
        """Log a run with the candidate's files and register it, unless the same is registered already.

        A killed attempt leaves a run that goes on for ever; the next one closes it. What is registered is whole:
        the version is made last, in one transaction with its tags.
        """
        client = self._client()
        experiment = self._experiment(client, name)
        known = self.versions(name)
        found = next((v for v in known if (v.as_of, v.digest) == (candidate.as_of, candidate.digest)), None)
        self._close_left(client, experiment, {version.run_id for version in known})
        if found is not None:
            return found
        run = client.create_run(experiment, run_name=f"as of {candidate.as_of}", tags=_run_tags(name, candidate))
        run_id = run.info.run_id
        try:
            _log_params(client, run_id, candidate)
            with tempfile.TemporaryDirectory() as folder:
                _put(Path(folder), candidate.files)
                _describe(Path(folder) / "model", run_id, candidate.features)
                with refusals_explained():
                    client.log_artifacts(run_id, folder)
            source = f"{run.info.artifact_uri}/model"
            tags = {
                "mdlc.as_of": candidate.as_of,
                "mdlc.digest": candidate.digest,
                "mdlc.files": files_digest(candidate.files),
                **candidate.tags,
            }
            made = client.create_model_version(name, source, run_id, tags=tags)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id)
        return _version(made)

    def _close_left(self, client: MlflowClient, experiment: str, registered: set[str]) -> None:
        for left in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
            run_id = left.info.run_id
            if run_id in registered:
                # Killed between the last two steps: nothing is missing.
                client.set_terminated(run_id, "FINISHED")
            elif not _at_work(left.data.tags.get(_PROCESS, ""), left.info.start_time):
                client.set_tag(run_id, "mlflow.note.content", "Ended before it was registered; nothing came of it.")
                client.set_terminated(run_id, "FAILED")

    def attach(self, name: str, version: Version, files: Mapping[str, bytes], description: str) -> None:
        """Add files to the run of a version, and say what it is where MLflow's pages show it (Markdown)."""
        client = self._client()
        with tempfile.TemporaryDirectory() as folder:
            _put(Path(folder), files)
            with refusals_explained():
                client.log_artifacts(version.run_id, folder)
        if len(description) > _LONGEST_DESCRIPTION:
            kept = description[: _LONGEST_DESCRIPTION - 100].rsplit("\n", 1)[0]
            description = f"{kept}\n\nThe rest is in the files of the run."
        client.set_tag(version.run_id, "mlflow.note.content", description)
        client.update_model_version(name, str(version.version), description)

    def describe(self, name: str, description: str, tags: Mapping[str, str]) -> None:
        """Say of the model as a whole what it is for and whose it is."""
        client = self._client()
        self._experiment(client, name)
        client.update_registered_model(name, description)
        for key, value in tags.items():
            client.set_registered_model_tag(name, key, value)

    def log_metrics(self, version: Version, metrics: Mapping[str, float]) -> None:
        """Write metrics to the run of a version."""
        from mlflow.entities import Metric

        now = int(datetime.now(UTC).timestamp() * 1000)
        self._client().log_batch(version.run_id, [Metric(key, value, now, 0) for key, value in metrics.items()])

    def versions(self, name: str) -> list[Version]:
        """All versions, oldest first."""
        client, found, token = self._client(), [], None
        while True:
            page = client.search_model_versions(f"name = '{name}'", max_results=_PAGE, page_token=token)
            found += [_version(item) for item in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda version: version.version)

    def version(self, name: str, number: int) -> Version:
        """One version. Raises `UnknownVersionError`."""
        for found in self.versions(name):
            if found.version == int(number):
                return found
        known = ", ".join(str(found.version) for found in self.versions(name))
        mend = f"use one of {known}" if known else f"run the job {name}_train for a day first"
        raise UnknownVersionError(f"{name} has no version {number}. Mend: {mend}.")

    def files(self, version: Version, folder: str = "model") -> dict[str, bytes]:
        """The files of a model folder of a version, by name."""
        from mlflow.artifacts import download_artifacts

        run = self._client().get_run(version.run_id)
        with tempfile.TemporaryDirectory() as target, refusals_explained():
            path = download_artifacts(
                artifact_uri=f"{run.info.artifact_uri}/{folder}", dst_path=target, tracking_uri=self.tracking_uri
            )
            return {file.name: file.read_bytes() for file in sorted(Path(path).iterdir()) if file.is_file()}

    def by_alias(self, name: str, alias: str) -> Version | None:
        """The version that an alias points to; None where there is no such alias or model."""
        from mlflow.exceptions import MlflowException

        try:
            return _version(self._client().get_model_version_by_alias(name, alias))
        except MlflowException as error:
            # A registry that is away is not one without a champion: a candidate would be judged beside none.
            if error.error_code not in _NO_ALIAS:
                raise
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

    def record(
        self,
        name: str,
        action: str,
        version: Version,
        who: str,
        reason: str,
        *,
        behind: Head | None = None,
        **more: Any,
    ) -> Head:
        """Add an entry to the audit trail; what is written is never changed.

        With `behind`, only if the trail still ends there; raises `TrailMovedError` when somebody was quicker. The
        entry says which model it is about by its digests, since MLflow's tags can be changed later.
        """
        trail = self._trail(name)
        about = {key: version.tags[f"mdlc.{key}"] for key in _ABOUT if f"mdlc.{key}" in version.tags}
        entry = {
            "action": action,
            "version": version.version,
            "who": who,
            "reason": reason,
            "model": {"run_id": version.run_id, **about},
            **more,
        }
        while True:
            try:
                head = trail.append(entry, behind or trail.head())
                break
            except TrailMovedError:
                if behind is not None:
                    raise
        self._client().set_registered_model_tag(name, _HEAD, str(head))
        return head

    def audit(self, name: str) -> list[dict[str, Any]]:
        """The audit trail, oldest first."""
        return self._trail(name).entries()

    def audit_head(self, name: str) -> Head:
        """Where the audit trail ends."""
        return self._trail(name).head()

    def audit_problems(self, name: str, noted: str = "") -> list[str]:
        """What is wrong with the trail: its chain, and against the head that MLflow (and `noted`) remembers."""
        from mlflow.exceptions import MlflowException

        try:
            kept = self._client().get_registered_model(name).tags.get(_HEAD, "")
        except MlflowException:
            kept = ""
        trail = self._trail(name)
        return list(dict.fromkeys(text for head in (kept, noted) for text in trail.problems(head)))

    def _trail(self, name: str) -> AuditTrail:
        return AuditTrail(open_storage(self.artifact_root), name)

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
                    if entry["version"] == found.version
                    else f"{entry['at'][:16]} taken out of service by {entry['who']}: {entry['reason']}"
                    for entry in trail
                    if found.version in (entry["version"], entry.get("after"))
                ],
            }
            for found in self.versions(name)
        ]

    def _client(self) -> MlflowClient:
        return open_client(self.tracking_uri)

    def _experiment(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        # A process that was killed between the two, or another one that is quicker, may have made either.
        with contextlib.suppress(MlflowException):
            client.create_registered_model(name)
        with contextlib.suppress(MlflowException):
            return client.create_experiment(name, artifact_location=f"{self.artifact_root}/{name}", tags=_KIND)
        return client.get_experiment_by_name(name).experiment_id  # type: ignore[union-attr]


def files_digest(files: Mapping[str, bytes], folder: str = "model") -> str:
    """SHA-256 in hex over the files of a model folder as they lie in the registry."""
    total = hashlib.sha256()
    for path in sorted(files):
        if path.startswith(f"{folder}/") and not path.endswith("/MLmodel"):
            total.update(path.removeprefix(f"{folder}/").encode() + b"\0" + hashlib.sha256(files[path]).digest())
    return total.hexdigest()


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _log_params(client: MlflowClient, run_id: str, candidate: Candidate) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in candidate.params.items()])
    if candidate.inputs:
        client.log_inputs(run_id, [_dataset(run_id, name, *said) for name, said in candidate.inputs.items()])


def _dataset(run_id: str, name: str, days: str, digest: str) -> DatasetInput:
    """A table of the lake as MLflow shows what a run read; it keeps 36 characters of a digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"table": name, "days": days})
    return DatasetInput(
        Dataset(f"{name}, {days}", digest[:36], "lake", source), [InputTag("mlflow.data.context", "training")]
    )


def _run_tags(name: str, candidate: Candidate) -> dict[str, str]:
    """The candidate's tags, and those by which MLflow's pages name source and commit."""
    commit = candidate.tags.get("mdlc.git_commit", "").rstrip("+")
    return {
        **candidate.tags,
        "mdlc.as_of": candidate.as_of,
        "mdlc.digest": candidate.digest,
        _PROCESS: f"{socket.gethostname()}:{os.getpid()}",
        "mlflow.source.type": "JOB",
        "mlflow.source.name": f"dagster:{name}/candidate_model",
        "mlflow.user": "dagster",
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }


def _at_work(process: str, began_ms: int) -> bool:
    """Whether the process that began a run may still be at it; on another machine only its age can tell."""
    host, _, pid = process.rpartition(":")
    if not pid.isdigit():
        return False
    if host != socket.gethostname():
        return datetime.now(UTC) - datetime.fromtimestamp(began_ms / 1000, UTC) < _LONGEST_REGISTRATION
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
