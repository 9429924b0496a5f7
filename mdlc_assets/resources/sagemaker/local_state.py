"""What the local form of SageMaker remembers: a folder with one JSON document for each thing.

    <root>/<kind>/<name>.json     a training job, a model, an endpoint ...: the request and what became of it
    <root>/work/<kind>/<name>/    where its processes work and log
    <root>/s3/<bucket>/<key>      what s3:// addresses mean here

Documents are written whole or not at all, and changed under a lock, so several processes can share a root.
Instants are stored as seconds since 1970; members called `...Time` become datetimes in answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from mdlc_assets.resources.storage import FolderStorage

ACCOUNT = "000000000000"
Document = dict[str, Any]


def refusal(code: str, message: str, operation: str = "", status: int = 400) -> ClientError:
    """The error boto3 raises when the service refuses: `code` is one of AWS's, such as ValidationException."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


class LocalState:
    """The folder `root`, and what each handler needs of it. `commands` stand in for images, by their address."""

    def __init__(
        self,
        root: Path | str,
        region: str = "us-east-1",
        commands: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        self.region = region
        self.commands = dict(commands or {})

    def arn(self, kind: str, name: str) -> str:
        """The address of a thing; `kind` as AWS writes it: training-job, model, model-package ..."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{kind}/{name}"

    def read(self, kind: str, name: str) -> Document | None:
        """The document of a thing, or None."""
        try:
            return json.loads(self._path(kind, name).read_bytes())
        except FileNotFoundError:
            return None

    def write(self, kind: str, name: str, document: Document) -> None:
        """Put a document in place of what was there. Hold the lock of `kind` when it depends on what was."""
        FolderStorage(self.root).write(f"{kind}/{name}.json", json.dumps(document, indent=1).encode())

    def add(self, kind: str, name: str, document: Document, refused: ClientError) -> None:
        """Write what must be new; raises `refused` when the name is taken."""
        with self.locked(kind):
            if self._path(kind, name).exists():
                raise refused
            self.write(kind, name, document)

    def change(self, kind: str, name: str, alter: Callable[[Document], None]) -> Document | None:
        """Alter a document in place, alone, and return it; None when there is none."""
        with self.locked(kind):
            document = self.read(kind, name)
            if document is not None:
                alter(document)
                self.write(kind, name, document)
            return document

    def delete(self, kind: str, name: str) -> bool:
        """Remove a document; says whether it was there."""
        with self.locked(kind):
            there = self._path(kind, name).exists()
            self._path(kind, name).unlink(missing_ok=True)
            return there

    def documents(self, kind: str) -> list[Document]:
        """All of a kind, by name."""
        found = (self.read(kind, path.stem) for path in sorted((self.root / kind).glob("*.json")))
        return [document for document in found if document is not None]

    def work(self, kind: str, name: str) -> Path:
        """The folder in which the processes of a thing work; made when it is not there."""
        folder = self.root / "work" / kind / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def s3_path(self, address: str) -> Path:
        """The file or folder that an s3:// address means here."""
        parts = address.removeprefix("s3://").split("/")
        if not address.startswith("s3://") or ".." in parts or not parts[0]:
            raise refusal("ValidationException", f"{address} is not an S3 address. Mend: s3://bucket/key.")
        return self.root.joinpath("s3", *(part for part in parts if part))

    @contextlib.contextmanager
    def locked(self, kind: str) -> Iterator[None]:
        """One process (and thread) at a time for a kind; the kernel lets go when the process dies."""
        (self.root / kind).mkdir(parents=True, exist_ok=True)
        with (self.root / kind / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def expect_fault(self, operation: str, code: str, times: int = 1) -> None:
        """Let the next `times` calls of an operation (CreateTrainingJob) fail with `code` (ThrottlingException)."""
        with self.locked("faults"):
            self.write("faults", uuid.uuid4().hex, {"operation": operation, "code": code, "times": times})

    def take_fault(self, operation: str) -> str | None:
        """The code of a fault that was asked for, once for each time."""
        if not (self.root / "faults").exists():
            return None
        with self.locked("faults"):
            for path in sorted((self.root / "faults").glob("*.json")):
                fault = json.loads(path.read_bytes())
                if fault["operation"] == operation:
                    fault["times"] -= 1
                    if fault["times"] > 0:
                        self.write("faults", path.stem, fault)
                    else:
                        path.unlink()
                    return fault["code"]
        return None

    def _path(self, kind: str, name: str) -> Path:
        return self.root / kind / f"{name}.json"


class LocalBuckets(FolderStorage):
    """Storage below an s3:// address whose bytes lie in the state's folder."""

    def __init__(self, state: LocalState, address: str) -> None:
        super().__init__(state.s3_path(address))
        self.address = address.rstrip("/")

    def location(self, name: str) -> str:
        return f"{self.address}/{name}"


def page(
    documents: Sequence[Document], request: Mapping[str, Any], name: str, kind: str = ""
) -> tuple[list[Document], str | None]:
    """The page that a List... request asks for, and the token of the next; `name` is the key of their names."""
    found = [document for document in documents if request.get("NameContains", "") in document[name]]
    for asked, key in (("StatusEquals", f"{kind}Status"), ("ModelApprovalStatus", "ModelApprovalStatus")):
        if asked in request:
            found = [document for document in found if document.get(key) == request[asked]]
    by_name = request.get("SortBy") == "Name"
    found.sort(
        key=lambda document: (document[name] if by_name else document.get("CreationTime", 0), document[name]),
        # Newest first, unless the request says otherwise; names from A on.
        reverse=request.get("SortOrder", "Ascending" if by_name else "Descending") == "Descending",
    )
    start, size = int(request.get("NextToken", 0)), int(request.get("MaxResults", 10))
    following = str(start + size) if len(found) > start + size else None
    return found[start : start + size], following


def now() -> float:
    """This instant as documents keep it."""
    return round(time.time(), 3)


def environment_without_aws() -> dict[str, str]:
    """This process's environment for one that runs model code: without credentials it has no need of."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
