"""model.tar.gz: written the same from the same files, read without trusting it."""

from __future__ import annotations

import gzip
import io
import tarfile
import uuid
from pathlib import Path

_LARGEST = 10 * 1024**3


class ArchiveError(ValueError):
    """An archive that cannot be read, or that holds what no model holds."""


def pack(folder: Path, target: Path) -> None:
    """Write the files below `folder` to a tar.gz, whole or not at all; same files, same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as raw:
            _write(raw, {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()})
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def packed(files: dict[str, bytes]) -> bytes:
    """A tar.gz of files by name; same files, same bytes."""
    raw = io.BytesIO()
    _write(raw, dict(sorted(files.items())))
    return raw.getvalue()


def unpacked(content: bytes) -> dict[str, bytes]:
    """The files of a tar.gz by name. Raises `ArchiveError`; nothing is written anywhere."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                name = member.name.removeprefix("./")
                if name.startswith("/") or ".." in name.split("/") or member.size > _LARGEST:
                    raise ArchiveError(f"the archive holds {member.name!r}, which is no file of a model")
                file = archive.extractfile(member)
                found[name] = file.read() if file else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArchiveError(f"the archive cannot be read ({error}). Mend: train or upload the model again.") from None
    return found


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a tar.gz below `folder`. Raises `ArchiveError`."""
    for name, content in unpacked(archive.read_bytes()).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _write(raw: io.BufferedIOBase | io.BufferedWriter, files: dict[str, bytes] | dict[str, Path]) -> None:
    # No times and no owners: an archive's bytes are those of its content.
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="", compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
