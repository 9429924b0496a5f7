"""A batch of records as AWS Lambda is handed it by Kinesis, through the handler that the local worker has."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mdlc_assets.realtime.stream_handler import EffectsAwayError, StreamHandler
from mdlc_assets.resources.streams.records import Record

_LOG = logging.getLogger("mdlc.stream")


def handle_batch(handler: StreamHandler, event: Mapping[str, Any], at_once: int = 1_000) -> dict[str, Any]:
    """Handle the records of one shard, in order. The answer names the first that is not done, from which Lambda goes on
    later; it is empty when all are done. Poison is put aside by the handler and does not hold up the shard."""
    records = [_record(one) for one in event["Records"]]
    for start in range(0, len(records), at_once):
        try:
            done = handler.handle(records[start : start + at_once])
        except EffectsAwayError as error:
            first = records[start].sequence
            _LOG.warning("from record %s on the batch waits: %s", first, error)
            return {"batchItemFailures": [{"itemIdentifier": first}]}
        _LOG.info("%d landed, %d learnt, %d put aside", done.landed, done.learnt, done.dead.total())
    return {"batchItemFailures": []}


def _record(said: Mapping[str, Any]) -> Record:
    kinesis = said["kinesis"]
    return Record(
        said["eventID"].split(":")[0],
        kinesis["sequenceNumber"],
        kinesis["partitionKey"],
        base64.b64decode(kinesis["data"]),
        datetime.fromtimestamp(kinesis["approximateArrivalTimestamp"], UTC),
    )
