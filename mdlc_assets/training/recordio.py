"""Rows as RecordIO-protobuf, which is all that AWS's factorization machines read.

A record is a protobuf message `Record`: `features` and `label`, each a map with one entry `values`, a tensor of 32-bit
floats. RecordIO puts a mark and the length before each, and fills up to four bytes. Rows of one table differ in their
numbers only, so one record is laid out and the numbers are written into copies of it.
"""

from __future__ import annotations

import struct

import numpy as np

CONTENT_TYPE = "application/x-recordio-protobuf"
_MARK = 0xCED7230A
_FEATURES, _LABEL = 1, 2  # fields of Record
_KEY, _VALUE = 1, 2  # of an entry of a map
_FLOAT32_TENSOR, _VALUES = 2, 1  # of Value, of Float32Tensor


def recordio(values: np.ndarray, labels: np.ndarray | None = None) -> bytes:
    """The records of a table: one for each row of `values`, with its label where there are labels."""
    rows, width = values.shape
    if not rows:
        return b""
    record = features = _entry(_FEATURES, width)
    if labels is not None:
        record = features + _entry(_LABEL, 1)
    frame = struct.pack("<II", _MARK, len(record)) + record + bytes(-len(record) % 4)
    found = np.tile(np.frombuffer(frame, np.uint8), (rows, 1))
    _write(found, 8 + len(features), values)
    if labels is not None:
        _write(found, 8 + len(record), labels.reshape(-1, 1))
    return found.tobytes()


def _write(frames: np.ndarray, end: int, numbers: np.ndarray) -> None:
    """Put numbers where a tensor ends: nothing comes after its values."""
    content = np.ascontiguousarray(numbers, "<f4").view(np.uint8).reshape(len(frames), -1)
    frames[:, end - content.shape[1] : end] = content


def _entry(field: int, count: int) -> bytes:
    """A map's only entry, whose tensor has `count` zeros."""
    tensor = _part(_VALUES, bytes(4 * count))
    return _part(field, _part(_KEY, b"values") + _part(_VALUE, _part(_FLOAT32_TENSOR, tensor)))


def _part(field: int, content: bytes) -> bytes:
    """A field that says how long it is."""
    size, length = len(content), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + content
