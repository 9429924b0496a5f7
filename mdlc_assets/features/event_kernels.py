"""The windows of one entity at one instant, compiled: events come one by one, and answers are wanted at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from mdlc_assets.features.kernel import (
    COUNT,
    DISTINCT,
    FIRST,
    LAST,
    MAX,
    MIN,
    WITHOUT_SQUARES,
    Array,
    add_exactly,
    finish,
    multiply_exactly,
)


@njit(cache=True, nogil=True)
def take_in(time: int, value: Array, size: int, times: Array, values: Array, sums: Array, rows: int) -> int:
    """Puts an event among the `size` ones that an entity has so far, in order of time, after those of the same
    instant, and gives its place. `values[event, value]` and the columns of `sums[event, row]` grow with it."""
    place = size
    while place > 0 and times[place - 1] > time:
        times[place] = times[place - 1]
        values[place] = values[place - 1]
        place -= 1
    times[place] = time
    values[place] = value
    sum_events(place, size + 1, values, sums, rows)
    return place


@njit(cache=True, nogil=True)
def sum_events(first: int, size: int, values: Array, sums: Array, rows: int) -> None:
    """Running sums (`sums[event + 1]` up to and with an event) from the event `first` on."""
    for i in range(first, size):
        sums[i + 1] = sums[i]
        sums[i + 1, 0] += 1.0
        for v in range(values.shape[1]):
            x = values[i, v]
            if x == x:
                row = 1 + rows * v
                sums[i + 1, row] += 1.0
                sums[i + 1, row + 1], sums[i + 1, row + 2] = add_exactly(sums[i, row + 1], sums[i, row + 2], x, 0.0)
                if rows > WITHOUT_SQUARES:
                    square, low = multiply_exactly(x, x)
                    sums[i + 1, row + 3], sums[i + 1, row + 4] = add_exactly(
                        sums[i, row + 3], sums[i, row + 4], square, low
                    )


@njit(cache=True, nogil=True)
def _up_to(times: Array, size: int, instant: int) -> int:
    """How many of the first `size` times are at most `instant`."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if times[middle] <= instant:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def event_columns(
    time: int,
    size: int,
    times: Array,
    values: Array,
    sums: Array,
    rows: int,
    spans: Array,
    columns: Array,
    scales: Array,
    defaults: Array,
    out: Array,
    bounds: Array,
) -> None:
    """An entity's windowed columns at `time`, from its events; settings as for `window_table`. `bounds` receives
    the first event of each span's window and the one after its last. DISTINCT is left to the caller."""
    for span in range(len(spans)):
        end = time - spans[span, 1]
        bounds[span, 1] = _up_to(times, size, end)
        bounds[span, 0] = _up_to(times, bounds[span, 1], end - spans[span, 0])
    for c in range(len(columns)):
        kind, v, scale = columns[c, 1], columns[c, 2], scales[c]
        low, high = bounds[columns[c, 0], 0], bounds[columns[c, 0], 1]
        late, early = sums[high], sums[low]
        row = 1 + rows * v if v >= 0 else 0
        number = late[row] - early[row]
        if number == 0.0 or kind == DISTINCT:
            out[c] = defaults[c]
        elif kind == COUNT:
            out[c] = number
        elif kind < MIN:
            total, total_low = add_exactly(late[row + 1], late[row + 2], -early[row + 1], -early[row + 2])
            square = square_low = 0.0
            if rows > WITHOUT_SQUARES:
                square, square_low = add_exactly(late[row + 3], late[row + 4], -early[row + 3], -early[row + 4])
            out[c] = finish(kind, number, total, square, square_low, total_low, scale)
        else:
            found = np.nan
            for k in range(low, high):
                i = high - 1 - (k - low) if kind == LAST else k
                x = values[i, v]
                if x != x:
                    continue
                if found != found or (kind == MAX and x > found) or (kind == MIN and x < found):
                    found = x
                if kind == FIRST or kind == LAST:
                    break
            out[c] = found / scale


@njit(cache=True, nogil=True)
def item_columns(
    time: int,
    words: Array,
    numbers: Array,
    marks: Array,
    first: int,
    late: bool,
    value_count: int,
    kind_count: int,
    rows: int,
    spans: Array,
    columns: Array,
    kinds: Array,
    scales: Array,
    defaults: Array,
    out: Array,
) -> None:
    """An entity's windowed columns of one family at `time`, from its items (see entity_items.py) in order.

    `numbers` are the same bytes as `words`; the family's begin at word `first`. `marks` say which label holds.
    `kinds[column]` is what a DISTINCT column counts; settings are as for `event_columns`.
    """
    width = value_count + 2 * kind_count
    size = 0
    for i in range(len(words)):
        size += words[i, first]
    times = np.empty(size, np.int64)
    values = np.empty((size, value_count))
    apart = np.empty((size, kind_count, 2), np.int64)
    event = 0
    for i in range(len(words)):
        if not words[i, first]:
            continue
        at = first + 1 + (width * marks[i] if late else 0)
        times[event] = words[i, 0]
        for v in range(value_count):
            values[event, v] = numbers[i, at + v]
        for k in range(kind_count):
            apart[event, k, 0] = words[i, at + value_count + 2 * k]
            apart[event, k, 1] = words[i, at + value_count + 2 * k + 1]
        event += 1
    sums = np.zeros((size + 1, 1 + rows * value_count))
    sum_events(0, size, values, sums, rows)
    bounds = np.zeros((len(spans), 2), np.int64)
    event_columns(time, size, times, values, sums, rows, spans, columns, scales, defaults, out, bounds)
    for c in range(len(columns)):
        if columns[c, 1] == DISTINCT:
            low, high = bounds[columns[c, 0], 0], bounds[columns[c, 0], 1]
            different = _count_different(apart[low:high, kinds[c]])
            out[c] = different if different else defaults[c]


@njit(cache=True, nogil=True)
def _count_different(pairs: Array) -> int:
    """How many different pairs of words there are, pairs of zeros left out."""
    room = 16
    while room < 2 * len(pairs):
        room *= 2
    table = np.zeros((room, 2), np.int64)
    found = 0
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        if a == 0 and b == 0:
            continue
        place = ((a ^ (b >> 7)) * 11_400_714_819_323 ^ (a >> 29)) & (room - 1)
        while (table[place, 0] != 0 or table[place, 1] != 0) and (table[place, 0] != a or table[place, 1] != b):
            place = (place + 1) & (room - 1)
        if table[place, 0] == 0 and table[place, 1] == 0:
            table[place, 0], table[place, 1] = a, b
            found += 1
    return found
