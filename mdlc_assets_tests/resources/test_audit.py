"""The audit trail: it only grows, one writer at a time, and a change shows. In a folder and on S3."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mdlc_assets.resources.audit import AuditTrail, Head, TrailMovedError
from mdlc_assets.resources.storage import FolderStorage, open_storage


@pytest.fixture(params=["folder", "s3"])
def trail(request: pytest.FixtureRequest, tmp_path: Path) -> AuditTrail:
    root = request.getfixturevalue("s3_root") if request.param == "s3" else str(tmp_path)
    return AuditTrail(open_storage(root), "cards")


def _write(trail: AuditTrail, count: int) -> Head:
    head = trail.head()
    for i in range(count):
        head = trail.append({"action": "approve", "version": i}, head)
    return head


def test_it_grows_and_holds(trail: AuditTrail) -> None:
    assert str(trail.head()) == f"0:{'0' * 64}"
    head = _write(trail, 12)
    assert head == trail.head()
    assert [entry["version"] for entry in trail.entries()] == list(range(12))
    assert trail.problems() == trail.problems(str(head)) == []


def test_of_two_writers_one_has_to_look_again(trail: AuditTrail) -> None:
    head = _write(trail, 1)
    trail.append({"version": 1}, head)
    with pytest.raises(TrailMovedError, match="entry 2 of audit/cards was written by somebody else"):
        trail.append({"version": 2}, head)
    assert [entry["version"] for entry in trail.entries()] == [0, 1]


def _rush(root: str, writer: int) -> int:
    trail, written = AuditTrail(open_storage(root), "cards"), 0
    while written < 20:
        try:
            trail.append({"writer": writer}, trail.head())
            written += 1
        except TrailMovedError:
            continue
    return written


def test_four_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.starmap(_rush, [(str(tmp_path), writer) for writer in range(4)]) == [20] * 4
    trail = AuditTrail(FolderStorage(tmp_path), "cards")
    entries = trail.entries()
    assert [entry["number"] for entry in entries] == list(range(1, 81))
    assert trail.problems() == []
    assert not list(tmp_path.rglob(".*"))


def test_writers_on_s3_at_once_lose_nothing(s3_root: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_rush, [s3_root] * 4, range(4))) == [20] * 4
    trail = AuditTrail(open_storage(s3_root), "cards")
    assert len(trail.entries()) == 80
    assert trail.problems() == []


@pytest.mark.parametrize("how", ["changed", "cut off", "taken out", "exchanged", "unreadable", "newest changed"])
def test_what_was_tampered_with_is_named(trail: AuditTrail, how: str) -> None:
    noted = str(_write(trail, 5))
    third, fifth = "audit/cards/00000003.json", "audit/cards/00000005.json"
    if how == "changed":
        entry = json.loads(trail.storage.read(third)) | {"version": 9}
        trail.storage.write(third, json.dumps(entry, sort_keys=True, indent=1).encode())
        assert trail.problems() == ["entry 3 was changed after entry 4 was written, or entry 4 itself was exchanged"]
    elif how == "taken out":
        trail.storage.delete(third)
        assert trail.problems() == ["entry 3 is missing: audit/cards/00000004.json stands in its place"]
    elif how == "exchanged":
        trail.storage.write(third, trail.storage.read("audit/cards/00000002.json"))
        assert "entry 3 itself was exchanged" in trail.problems()[0]
    elif how == "unreadable":
        trail.storage.write(third, b"{}")
        assert trail.problems()[0].startswith("entry 3 cannot be read")
    elif how == "cut off":
        trail.storage.delete(fifth)
        assert trail.problems() == []
        assert "the trail ends at entry 4" in trail.problems(noted)[0]
    else:
        entry = json.loads(trail.storage.read(fifth)) | {"version": 9}
        trail.storage.write(fifth, json.dumps(entry, sort_keys=True, indent=1).encode())
        assert trail.problems() == []
        assert trail.problems(noted)[0].startswith("entry 5 with digest")
