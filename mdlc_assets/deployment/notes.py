"""Files of JSON lines that a server process writes beside its answers: captured traffic, shadow comparisons.

<folder>/capture/<version>/<yyyy>/<mm>/<dd>/<hh>/<process>.jsonl     as SageMaker's data capture writes them
<folder>/shadow/<version>/<yyyy>/<mm>/<dd>/<hh>/<process>.jsonl      scores of both, no inputs
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

_ENCODINGS = {"application/json": "JSON", "text/csv": "CSV"}
_LONGEST_FILE = 256 * 1024 * 1024


class Notes:
    """Appends lines to the file of this process and hour; nothing is kept back for longer than `flush` waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, tuple[Path, BinaryIO]] = {}

    def write(self, kind: str, version: int, content: dict[str, Any]) -> None:
        """Add a line. A file that has grown too long takes no more until the next hour."""
        hour = datetime.now(UTC).strftime("%Y/%m/%d/%H")
        path = self.folder / kind / str(version) / hour / f"{os.getpid()}.jsonl"
        known = self._open.get(kind)
        if known is None or known[0] != path:
            if known:
                known[1].close()
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            known = self._open[kind] = (path, path.open("ab"))
        if known[1].tell() < _LONGEST_FILE:
            known[1].write(json.dumps(content).encode() + b"\n")

    def flush(self) -> None:
        """Hand what was written to the system."""
        for _, file in self._open.values():
            file.flush()


def captured(body: bytes, content_type: str, answer: bytes, answer_type: str, request_id: str) -> dict[str, Any]:
    """A request and its answer in the form of SageMaker's data capture; `inferenceId` joins late labels."""
    kind = content_type.partition(";")[0].strip().lower()

    def side(mode: str, media: str, data: bytes) -> dict[str, str]:
        encoding = _ENCODINGS.get(media, "BASE64")
        text = base64.b64encode(data).decode() if encoding == "BASE64" else data.decode(errors="replace")
        return {"observedContentType": media, "mode": mode, "data": text, "encoding": encoding}

    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "captureData": {
            "endpointInput": side("INPUT", kind, body),
            "endpointOutput": side("OUTPUT", answer_type, answer),
        },
        "eventMetadata": {"eventId": str(uuid.uuid4()), "inferenceId": request_id, "inferenceTime": at},
        "eventVersion": "0",
    }


def compared(request_id: str, versions: tuple[int, int], scores: Sequence[float], shadow: Sequence[float]) -> dict:
    """A line of a shadow comparison."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    serving, shadowing = versions
    return {
        "at": at,
        "request_id": request_id,
        "version": serving,
        "shadow_version": shadowing,
        "scores": list(scores),
        "shadow_scores": list(shadow),
    }
