"""Backups of a home folder: each file once by its content, and a list of a moment's files, written last.

    <place>/objects/ab/abcd...        a file's bytes under their SHA-256
    <place>/backups/<moment>.json     which file of the home had which content then

A second backup sends only what has changed. One that breaks off leaves contents that no list names, and no backup.
Databases come first, by SQLite's online copy: what they name is written before they name it, so that the files that
are read after them hold at least that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from mdlc_assets.home import Home
from mdlc_assets.resources.storage import Storage, open_storage

FORMAT = 1
_SQLITE = b"SQLite format 3\0"
# Parts of a database that its copy has taken in already.
_BESIDE = ("-wal", "-shm", "-journal")
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}")


class BackupError(ValueError):
    """A backup that cannot be made or brought back."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds: its name, how many files, their bytes, and how many bytes had to be sent."""

    name: str
    files: int
    size: int
    sent: int


def back_up(home: Home, place: str) -> Backup:
    """Copy the home to `place`, a folder or s3://bucket/prefix. The home may be in use."""
    if not home.root.is_dir():
        raise BackupError(f"MDLC_HOME {home.root}: there is no such folder. Mend: name the home with --home.")
    if not place.startswith("s3://") and Path(place).expanduser().absolute().is_relative_to(home.root):
        raise BackupError(f"{place}: lies inside the home {home.root}. Mend: name a place outside of it.")
    storage, now = open_storage(place), datetime.now(UTC)
    found = _files(home.root)
    databases = [name for name in found if _is_database(home.root / name)]
    listed: dict[str, dict[str, Any]] = {}
    sent = 0
    for name in [*databases, *(name for name in found if name not in set(databases))]:
        with _readable(home.root / name, name in databases) as path:
            if path is None:
                continue
            content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if not storage.has(_object(digest)):
            storage.write(_object(digest), content)
            sent += len(content)
        listed[name] = {"sha256": digest, "size": len(content)}
    name = f"{now:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}"
    document = {
        "format": FORMAT,
        "made_by": version("mdlc-assets"),
        "at": now.isoformat(timespec="seconds"),
        "home": str(home.root),
        "files": dict(sorted(listed.items())),
    }
    storage.write(f"backups/{name}.json", json.dumps(document, indent=1).encode())
    return Backup(name, len(listed), sum(one["size"] for one in listed.values()), sent)


def backups_at(place: str) -> list[str]:
    """The names of the backups at `place`, oldest first."""
    names = (PurePosixPath(name).stem for name in open_storage(place).names("backups"))
    return sorted(name for name in names if _NAME.fullmatch(name))


def restore(home: Home, place: str, name: str = "") -> Backup:
    """Bring the backup `name`, or else the newest, back into a home that is empty: wholly, or not at all."""
    there = backups_at(place)
    if not there:
        raise BackupError(f"{place}: no backup is there. Mend: name the place that `mdlc backup` was given.")
    name = name or there[-1]
    if name not in there:
        raise BackupError(f"{place}: no backup {name!r} is there. Mend: choose one of {', '.join(there[-5:])}.")
    storage = open_storage(place)
    document = json.loads(storage.read(f"backups/{name}.json"))
    if document["format"] != FORMAT:
        raise BackupError(
            f"{name}: has format {document['format']}, this version reads {FORMAT}. "
            f"Mend: restore it with mdlc-assets {document['made_by']}, then upgrade."
        )
    if document["home"] != str(home.root):
        # MLflow's database names the files of versions by their whole paths.
        raise BackupError(
            f"{name}: is of the home {document['home']}, not of {home.root}. "
            f"Mend: restore it as mdlc --home {document['home']} restore ..."
        )
    if home.root.exists() and any(home.root.iterdir()):
        raise BackupError(f"MDLC_HOME {home.root}: is not empty. Mend: move it away first.")
    home.root.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{home.root.name}.", dir=home.root.parent))
    try:
        for file, one in document["files"].items():
            _bring(storage, aside, file, one["sha256"])
        if home.root.exists():
            home.root.rmdir()
        aside.replace(home.root)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    size = sum(one["size"] for one in document["files"].values())
    return Backup(name, len(document["files"]), size, 0)


def _bring(storage: Storage, folder: Path, file: str, digest: str) -> None:
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BackupError(f"{file}: leads out of the home. Mend: take another backup; this one was tampered with.")
    try:
        content = storage.read(_object(digest))
    except FileNotFoundError:
        raise BackupError(f"{file}: its content {digest} is gone. Mend: take another backup.") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise BackupError(f"{file}: its content is not what was backed up. Mend: take another backup.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _object(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest}"


def _files(root: Path) -> list[str]:
    """Files by relative path: no half-written ones, which have hidden names, and nothing of a database but itself."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and not _is_beside(path)
    )


def _is_beside(path: Path) -> bool:
    end = next((end for end in _BESIDE if path.name.endswith(end)), "")
    return bool(end) and path.with_name(path.name.removesuffix(end)).is_file()


def _is_database(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
    return False


@contextlib.contextmanager
def _readable(path: Path, database: bool) -> Iterator[Path | None]:
    """The file, or a copy of a database as of one moment; None for a file that is gone meanwhile."""
    if not database:
        yield path if path.is_file() else None
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        opened = contextlib.closing(sqlite3.connect(path, timeout=60)), contextlib.closing(sqlite3.connect(copy))
        with opened[0] as source, opened[1] as target:
            source.backup(target)
        yield copy
