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
