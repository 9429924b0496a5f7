"""Where bytes lie: a folder or an S3 prefix behind one small interface, each write whole or absent."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol


class Storage(Protocol):
    """Named byte strings. Names are relative, with `/` between parts."""

    def read(self, name: str) -> bytes:
        """The bytes under `name`; raises FileNotFoundError."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put `content` under `name`: afterwards all of it is there, or what was there before."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """As `write`, but only if nothing is there: of several at once, one is told True."""
        ...

    def delete(self, name: str) -> None:
        """Remove `name`; nothing happens where it does not exist."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is something under `name`."""
        ...

    def names(self, prefix: str) -> list[str]:
        """All names below the folder `prefix`, sorted."""
        ...

    def marks(self, prefix: str) -> dict[str, str]:
        """For each name below `prefix` a text that changes when its content is replaced; reads no content."""
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """The bytes of each name below `prefix`; reads no content."""
        ...

    def modified(self, name: str) -> float:
        """When `name` was last written, in seconds since 1970; raises FileNotFoundError."""
        ...

    def location(self, name: str) -> str:
        """What a person opens or a query engine reads: a path or an s3:// address."""
        ...


class FolderStorage:
    """Files in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        with self._written_aside(name, content) as temporary:
            temporary.replace(self.root / name)

    def create(self, name: str, content: bytes) -> bool:
        with self._written_aside(name, content) as temporary:
            try:
                # Unlike a rename, a link never replaces what is there.
                os.link(temporary, self.root / name)
            except FileExistsError:
                return False
        return True

    @contextlib.contextmanager
    def _written_aside(self, name: str, content: bytes) -> Iterator[Path]:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A hidden name, so that a reader of the folder never takes a half-written file for data.
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def names(self, prefix: str) -> list[str]:
        folder = self.root / prefix
        return sorted(
            path.relative_to(self.root).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )

    def marks(self, prefix: str) -> dict[str, str]:
        found = {name: (self.root / name).stat() for name in self.names(prefix)}
        return {name: f"{stat.st_size} {stat.st_mtime_ns}" for name, stat in found.items()}

    def sizes(self, prefix: str) -> dict[str, int]:
        return {name: (self.root / name).stat().st_size for name in self.names(prefix)}

    def modified(self, name: str) -> float:
        return (self.root / name).stat().st_mtime

    def location(self, name: str) -> str:
        return str(self.root / name)


class S3Storage:
    """Objects below an S3 prefix. A put is atomic there, so a reader sees the old object or the new."""

    def __init__(self, root: str, client: Any = None) -> None:
        from mdlc_assets.resources.aws import aws_client

        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        self.bucket, self.prefix = bucket, prefix.strip("/")
        self.client = client or aws_client("s3")

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def read(self, name: str) -> bytes:
        from mdlc_assets.resources.aws import whole_body

        try:
            return whole_body(lambda: self.client.get_object(Bucket=self.bucket, Key=self._key(name)))
        except self.client.exceptions.NoSuchKey:
            raise FileNotFoundError(self.location(name)) from None

    def write(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content)

    def create(self, name: str, content: bytes) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content, IfNoneMatch="*")
        except ClientError as error:
            # 412: it is there. 409: another one is writing it at this moment, and may win.
            if error.response["Error"]["Code"] in {"PreconditionFailed", "ConditionalRequestConflict"}:
                return False
            raise
        return True

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def has(self, name: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.head_object(Bucket=self.bucket, Key=self._key(name))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                return False
            raise
        return True

    def names(self, prefix: str) -> list[str]:
        return sorted(self.marks(prefix))

    def marks(self, prefix: str) -> dict[str, str]:
        return {name: item["ETag"] for name, item in self._listed(prefix).items()}

    def sizes(self, prefix: str) -> dict[str, int]:
        return {name: item["Size"] for name, item in self._listed(prefix).items()}

    def _listed(self, prefix: str) -> dict[str, Any]:
        start = self._key(prefix.rstrip("/")) + "/"
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
        cut = len(self.prefix) + 1 if self.prefix else 0
        found = {item["Key"][cut:]: item for page in pages for item in page.get("Contents", [])}
        return {name: item for name, item in found.items() if not PurePosixPath(name).name.startswith(".")}

    def modified(self, name: str) -> float:
        from botocore.exceptions import ClientError

        try:
            return self.client.head_object(Bucket=self.bucket, Key=self._key(name))["LastModified"].timestamp()
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                raise FileNotFoundError(self.location(name)) from None
            raise

    def location(self, name: str) -> str:
        return f"s3://{self.bucket}/{self._key(name)}"


def open_storage(root: str) -> Storage:
    """The storage at `root`: `s3://bucket/prefix`, or else a folder."""
    return S3Storage(root) if root.startswith("s3://") else FolderStorage(Path(root).expanduser().absolute())
