"""Records are read back by protobuf's own parser, from a schema put together here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mdlc_assets.training.recordio import recordio


def _record_class() -> Any:
    """`Record` as AWS's guide gives it, with the parts that are used."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="record.proto", package="aialgs", syntax="proto2")
    tensor = file.message_type.add(name="Float32Tensor")
    for number, (name, kind) in enumerate([("values", "FLOAT"), ("keys", "UINT64"), ("shape", "UINT64")], 1):
        made = tensor.field.add(name=name, number=number, label=3, type=getattr(field, f"TYPE_{kind}"))
        made.options.packed = True
    value = file.message_type.add(name="Value")
    value.field.add(
        name="float32_tensor", number=2, label=1, type=field.TYPE_MESSAGE, type_name=".aialgs.Float32Tensor"
    )
    record = file.message_type.add(name="Record")
    for number, name in enumerate(("features", "label"), 1):
        entry = record.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=1, type=field.TYPE_STRING)
        entry.field.add(name="value", number=2, label=1, type=field.TYPE_MESSAGE, type_name=".aialgs.Value")
        record.field.add(
            name=name, number=number, label=3, type=field.TYPE_MESSAGE, type_name=f".aialgs.Record.{entry.name}"
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("aialgs.Record"))


def _records(content: bytes) -> Iterator[Any]:
    kind, at = _record_class(), 0
    while at < len(content):
        mark, length = struct.unpack_from("<II", content, at)
        assert mark == 0xCED7230A
        yield kind.FromString(content[at + 8 : at + 8 + length])
        at += 8 + -(-length // 4) * 4
    assert at == len(content)


@pytest.mark.parametrize("width", [1, 3, 27, 31, 32, 4000])
def test_protobuf_reads_what_was_written(width: int) -> None:
    generator = np.random.default_rng(width)
    values, labels = generator.normal(size=(5, width)), np.array([0, 1, 1, 0, 1], np.int8)
    found = list(_records(recordio(values, labels)))
    assert len(found) == 5
    for record, row, label in zip(found, values, labels, strict=True):
        assert list(record.features["values"].float32_tensor.values) == row.astype(np.float32).tolist()
        assert list(record.label["values"].float32_tensor.values) == [label]
    bare = list(_records(recordio(values)))
    assert [len(record.label) for record in bare] == [0] * 5
    assert list(bare[4].features["values"].float32_tensor.values) == values[4].astype(np.float32).tolist()


def test_no_rows_are_no_records() -> None:
    assert recordio(np.empty((0, 3))) == b""
