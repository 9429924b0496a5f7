"""DynamoDB's batch calls, which may leave some of what is asked undone: asked again, with pauses that grow."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_WRITTEN, _READ = 25, 100
"""The most that one call takes."""
_TRIES = 8
_FIRST_PAUSE = 0.05


def write_all(client: Any, table: str, requests: Sequence[Mapping[str, Any]], pool: ThreadPoolExecutor | None) -> None:
    """Put and delete requests, no two for the same item; side by side where there is a pool."""
    parts = [requests[i : i + _WRITTEN] for i in range(0, len(requests), _WRITTEN)]
    list((pool.map if pool else map)(lambda part: _write(client, table, part), parts))


def _write(client: Any, table: str, requests: Sequence[Mapping[str, Any]]) -> None:
    left: Any = {table: list(requests)}
    for tried in range(_TRIES):
        left = client.batch_write_item(RequestItems=left).get("UnprocessedItems")
        if not left:
            return
        _pause(tried)
    raise _unprocessed("BatchWriteItem", len(left.get(table, ())))


def get_all(client: Any, table: str, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items of those keys that are there; no key twice."""
    found: list[dict[str, Any]] = []
    for i in range(0, len(keys), _READ):
        left: Any = {table: {"Keys": list(keys[i : i + _READ]), "ConsistentRead": True}}
        for tried in range(_TRIES):
            answer = client.batch_get_item(RequestItems=left)
            found += answer["Responses"].get(table, [])
            left = answer.get("UnprocessedKeys")
            if not left:
                break
            _pause(tried)
        else:
            raise _unprocessed("BatchGetItem", len(left[table]["Keys"]))
    return found


def _pause(tried: int) -> None:
    time.sleep(_FIRST_PAUSE * 2**tried * random.uniform(0.5, 1.0))  # noqa: S311 - to spread callers


def _unprocessed(operation: str, count: int) -> Exception:
    from botocore.exceptions import ClientError

    said = f"{count} requests were left undone after {_TRIES} tries"
    return ClientError({"Error": {"Code": "ProvisionedThroughputExceededException", "Message": said}}, operation)
