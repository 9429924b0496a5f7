"""The model folders that an endpoint serves from: its own copies, so that nobody changes them under it."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path

from mdlc_assets.resources.endpoint_state import EndpointState


def stage_model(source: Path, models: Path, version: int) -> Path:
    """A copy of a model folder, `<version>-<digest>`, wholly there or not at all."""
    digest = hashlib.sha256()
    for file in sorted(source.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(source).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    staged = models / f"{version}-{digest.hexdigest()[:12]}"
    if not staged.exists():
        models.mkdir(parents=True, exist_ok=True)
        temporary = models / f".{staged.name}.{uuid.uuid4().hex}"
        try:
            shutil.copytree(source, temporary)
            temporary.replace(staged)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return staged


def clear_models(models: Path, state: EndpointState) -> None:
    """Models that neither serve nor shadow nor served just before are not kept."""
    kept = {state.previous}
    kept |= {one.version for one in (state.serving, state.shadow) if one}
    for model in models.glob("*"):
        version = model.name.partition("-")[0]
        if not version.isdigit() or int(version) not in kept:
            shutil.rmtree(model, ignore_errors=True)
