"""The compiled window kernel: bounds of each window by two pointers, and aggregations between bounds.

All arrays are sorted by entity, then time; times are int64 microseconds. A window is given by `low` and
`high`: it holds the events low, low + 1, ..., high - 1. Within an entity both only ever grow, which is what
makes the sliding aggregations linear.
"""

from __future__ import annotations

import numpy as np
from numba import njit

Array = np.ndarray


@njit(cache=True, nogil=True)
def stable_order(codes: Array, count: int) -> Array:
    """Positions sorted by code (0 to count - 1), those of the same code in their order: a counting sort."""
    starts = np.zeros(count + 1, np.int64)
    for code in codes:
        starts[code + 1] += 1
    for code in range(count):
        starts[code + 1] += starts[code]
    order = np.empty(len(codes), np.int64)
    for i in range(len(codes)):
        order[starts[codes[i]]] = i
        starts[codes[i]] += 1
    return order


@njit(cache=True, nogil=True)
def window_bounds(
    query_entities: Array, query_times: Array, entities: Array, times: Array, width: int, delay: int
) -> tuple[Array, Array]:
    """For each query at time t the events of its entity in (t - width - delay, t - delay]."""
    size, events = len(query_times), len(times)
    lows, highs = np.empty(size, np.int64), np.empty(size, np.int64)
    low = high = 0
    for i in range(size):
        entity, end = query_entities[i], query_times[i] - delay
        begin = end - width
        while high < events and (entities[high] < entity or (entities[high] == entity and times[high] <= end)):
            high += 1
        while low < high and (entities[low] < entity or (entities[low] == entity and times[low] <= begin)):
            low += 1
        lows[i], highs[i] = low, high
    return lows, highs


@njit(cache=True, nogil=True)
def put_back(values: Array, place: Array) -> Array:
    """Each value at its place."""
    result = np.empty(len(values))
    for i in range(len(values)):
        result[place[i]] = values[i]
    return result


@njit(cache=True, nogil=True)
def sliding_extreme(lows: Array, highs: Array, values: Array, sign: int) -> Array:
    """The largest value of each window (`sign` 1) or the smallest (-1); NaN where the window is empty."""
    size = len(lows)
    result = np.full(size, np.nan)
    queue = np.empty(len(values), np.int64)
    first = last = done = 0
    for i in range(size):
        if done < lows[i]:
            first, last, done = 0, 0, lows[i]
        while done < highs[i]:
            while last > first and sign * values[queue[last - 1]] <= sign * values[done]:
                last -= 1
            queue[last] = done
            last += 1
            done += 1
        while first < last and queue[first] < lows[i]:
            first += 1
        if lows[i] < highs[i]:
            result[i] = values[queue[first]]
    return result


@njit(cache=True, nogil=True)
def sliding_distinct(lows: Array, highs: Array, codes: Array, codes_count: int) -> Array:
    """How many different codes (0 to codes_count - 1) each window holds."""
    size = len(lows)
    result = np.zeros(size)
    seen = np.zeros(codes_count, np.int64)
    begin = end = distinct = 0
    for i in range(size):
        while end < highs[i]:
            seen[codes[end]] += 1
            distinct += seen[codes[end]] == 1
            end += 1
        while begin < lows[i]:
            seen[codes[begin]] -= 1
            distinct -= seen[codes[begin]] == 0
            begin += 1
        result[i] = distinct
    return result


@njit(cache=True, nogil=True)
def window_sums(lows: Array, highs: Array, totals: Array) -> Array:
    """Sum of each window; `totals[k]` is the sum of the first k values, so integers stay exact."""
    return totals[highs] - totals[lows]


@njit(cache=True, nogil=True)
def float_sums(lows: Array, highs: Array, values: Array) -> Array:
    """Sum of each window added up anew: differences of running float sums would lose digits."""
    result = np.zeros(len(lows))
    for i in range(len(lows)):
        for k in range(lows[i], highs[i]):
            result[i] += values[k]
    return result


@njit(cache=True, nogil=True)
def float_deviations(lows: Array, highs: Array, values: Array) -> Array:
    """Sample deviation (n - 1) of each window in two passes; 0 for fewer than two values."""
    result = np.zeros(len(lows))
    for i in range(len(lows)):
        size = highs[i] - lows[i]
        if size < 2:
            continue
        mean = 0.0
        for k in range(lows[i], highs[i]):
            mean += values[k]
        mean /= size
        spread = 0.0
        for k in range(lows[i], highs[i]):
            spread += (values[k] - mean) ** 2
        result[i] = np.sqrt(spread / (size - 1))
    return result
