"""The audit trail: who decided what about which version, and why. It only grows, and shows if it was changed.

    <root>/audit/<model>/00000007.json

Each entry holds the digest of the one before it, so a change, a gap or an exchange breaks the chain from there
on. Of two writers at once only one gets the next number; the other has to look again at what is true now.
The digest of the newest entry is also noted where the trail does not lie (MLflow, Dagster's events): so that
entries cut off at the end are missed too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mdlc_assets.resources.storage import Storage

NOTHING = "0" * 64
"""What the first entry holds as the digest of the one before it."""


class TrailMovedError(RuntimeError):
    """Somebody else wrote an entry since the trail was read."""


@dataclass(frozen=True)
class Head:
    """Where a trail ends: the number of its newest entry (0 for none) and its digest."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


class AuditTrail:
    """The entries about one model."""

    def __init__(self, storage: Storage, model: str) -> None:
        self.storage, self.folder = storage, f"audit/{model}"

    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first, as they were written."""
        return [json.loads(self.storage.read(name)) for name in self.storage.names(self.folder)]

    def head(self) -> Head:
        """Where the trail ends now."""
        names = self.storage.names(self.folder)
        if not names:
            return Head(0, NOTHING)
        return Head(len(names), _digest(self.storage.read(names[-1])))

    def append(self, entry: dict[str, Any], after: Head) -> Head:
        """Add an entry behind `after`. Raises `TrailMovedError` when that is not the end any more."""
        number = after.number + 1
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        whole = {"number": number, "at": at, **entry, "previous": after.digest}
        content = json.dumps(whole, sort_keys=True, indent=1, allow_nan=False).encode()
        if not self.storage.create(self._name(number), content):
            raise TrailMovedError(f"entry {number} of {self.folder} was written by somebody else meanwhile")
        return Head(number, _digest(content))

    def problems(self, noted: str = "") -> list[str]:
        """What is wrong with the chain, in words; empty when it holds.

        `noted` is a head (`number:digest`) that was written down elsewhere and must lie on the chain.
        """
        wrong = []
        previous, digests = NOTHING, {}
        for number, name in enumerate(self.storage.names(self.folder), start=1):
            content = self.storage.read(name)
            if name != self._name(number):
                wrong.append(f"entry {number} is missing: {name} stands in its place")
                break
            try:
                entry = json.loads(content)
                said = entry["number"], entry["previous"]
            except (ValueError, KeyError, TypeError):
                wrong.append(f"entry {number} cannot be read: {self.storage.location(name)}")
                break
            if said != (number, previous):
                culprit = f"entry {number - 1} was changed" if number > 1 else "entry 1 was changed"
                wrong.append(f"{culprit} after entry {number} was written, or entry {number} itself was exchanged")
                break
            previous = digests[number] = _digest(content)
        if noted and not wrong:
            wanted, _, digest = noted.partition(":")
            if not wanted.isdigit() or (int(wanted) and digests.get(int(wanted)) != digest):
                there = f"the trail ends at entry {len(digests)}"
                wrong.append(
                    f"entry {wanted} with digest {digest[:12]}... was noted elsewhere and is not here; {there}"
                )
        return wrong

    def _name(self, number: int) -> str:
        return f"{self.folder}/{number:08d}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
