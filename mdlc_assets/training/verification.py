"""Is the record true? The audit trail's chain, and the registry and the model files against it."""

from __future__ import annotations

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.resources.registry import Registry, UnknownVersionError, Version, files_digest
from mdlc_assets.training.approval import served_in_turn

_KEPT = ("digest", "files", "train", "test", "refit", "digest_features", "digest_labels", "declaration")


def record_problems(registry: Registry, lifecycle: LifecycleDeclaration, noted: str = "") -> list[str]:
    """Everything that does not agree, in words: the chain, the champion, each version that was decided about.

    `noted` is a head of the trail (`number:digest`) that somebody wrote down.
    """
    name = lifecycle.name
    wrong = registry.audit_problems(name, noted)
    if wrong:
        # Nothing can be checked against a trail that does not hold.
        return wrong
    trail = registry.audit(name)
    served, champion = served_in_turn(trail), registry.champion(name)
    by_trail, by_alias = served[-1] if served else None, champion.version if champion else None
    if by_trail != by_alias:
        wrong.append(f"the trail says version {by_trail} serves, MLflow's alias champion says {by_alias}")
    entries = {entry["version"]: entry for entry in trail}
    for number, entry in sorted(entries.items()):
        try:
            version = registry.version(name, number)
        except UnknownVersionError:
            wrong.append(f"version {number} is on the trail (entry {entry['number']}) and not in MLflow any more")
            continue
        for key in _KEPT:
            then, now = entry["model"].get(key), version.tags.get(f"mdlc.{key}")
            if then is not None and then != now:
                wrong.append(f"version {number}: {key} was {then} when it was decided about, MLflow says {now}")
        wrong += _file_problems(registry, version)
    return wrong


def _file_problems(registry: Registry, version: Version) -> list[str]:
    registered = version.tags.get("mdlc.files")
    if registered is None:
        return [f"version {version.version} has no digest of its files, so they cannot be checked"]
    try:
        files = {f"model/{name}": content for name, content in registry.files(version).items()}
    except Exception as error:
        return [f"version {version.version}: its files cannot be read ({type(error).__name__})"]
    if files_digest(files) != registered:
        return [f"version {version.version}: its files are not those that were registered"]
    return []
