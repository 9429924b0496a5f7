"""What an estimator is, as a number: the same for one just fitted and for the same one read from its file.

`joblib.hash` and pickles tell apart what is equal but was put together another way (shared objects, padding
between fields); here only content counts.
"""

from __future__ import annotations

import functools
import hashlib
import types
from typing import Any

import numpy as np


def content_digest(value: Any) -> str:
    """SHA-256 in hex of a value's content: numbers, text, arrays, containers and objects made of them."""
    total = hashlib.sha256()
    _feed(total, value)
    return total.hexdigest()


def _feed(total: Any, value: Any) -> None:
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        total.update(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, np.ndarray):
        _feed_array(total, value)
    elif isinstance(value, dict):
        total.update(f"dict {len(value)};".encode())
        for key in sorted(value, key=repr):
            _feed(total, key)
            _feed(total, value[key])
    elif isinstance(value, list | tuple):
        total.update(f"list {len(value)};".encode())
        for part in value:
            _feed(total, part)
    elif isinstance(value, set | frozenset):
        _feed(total, sorted(value, key=repr))
    elif isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | np.ufunc | np.dtype):
        total.update(f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value)};".encode())
    elif isinstance(value, functools.partial):
        _feed(total, [value.func, value.args, value.keywords])
    else:
        _feed_object(total, value)


def _feed_array(total: Any, array: np.ndarray) -> None:
    total.update(f"array {array.shape} ".encode())
    if array.dtype.names:
        # Field by field: what lies between the fields is whatever was in memory.
        for name in array.dtype.names:
            total.update(name.encode())
            _feed_array(total, array[name])
    elif array.dtype == object:
        for part in array.ravel():
            _feed(total, part)
    else:
        total.update(array.dtype.str.encode())
        total.update(np.ascontiguousarray(array).tobytes())


def _feed_object(total: Any, value: Any) -> None:
    kind = type(value)
    total.update(f"object {kind.__module__}.{kind.__qualname__};".encode())
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        total.update(reduced.encode())
        return
    _, arguments, *rest = reduced
    _feed(total, list(arguments))
    for part in rest:
        # State, and what a list or dictionary of its own holds.
        if isinstance(part, dict):
            # Gradient boosting remembers how many threads it had; the neighbours' index follows from the rows,
            # and counts how often it was asked.
            left_out = {"n_threads", *(["_tree"] if "_fit_X" in part else [])}
            part = {key: kept for key, kept in part.items() if key not in left_out}
        _feed(total, list(part) if hasattr(part, "__next__") else part)
