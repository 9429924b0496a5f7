"""The compiled arithmetic that every engine shares: exact sums, and what is said of a window from them.

Values are float64; NaN stands for no value. Money and other whole numbers come scaled to integers. A sum is held
as two floats, the sum and what was lost in rounding (T. J. Dekker, "A floating-point technique for extending the
available precision", 1971), some 32 digits in all: integers stay exact far beyond 2**53, and the difference of
two running sums of floats keeps its digits. Times are int64 microseconds.

Sums up to some instant are columns of a matrix: row 0 counts events; then for each value come three rows, how many
are known, their sum, its lost part, and where deviations are asked for two more, the sum of squares, its lost part.
"""

from __future__ import annotations

import numpy as np
from numba import int32, int64, njit, types

Array = np.ndarray

COUNT, SUM, MEAN, STD, MIN, MAX, FIRST, LAST, DISTINCT = range(9)
WITHOUT_SQUARES, WITH_SQUARES = 3, 5
"""Rows of a value in a matrix of sums."""

_SPLIT = 134_217_729.0  # 2**27 + 1


def read_only(kind: types.Type, dimensions: int = 1) -> types.Array:
    """An array that is only read: Arrow's memory, or NumPy's own."""
    return types.Array(kind, dimensions, "C", readonly=True)


@njit(cache=True, nogil=True)
def add_exactly(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    """The sum of two such pairs."""
    total = a + b
    back = total - a
    low = (a - (total - back)) + (b - back)
    low_total = a_low + b_low
    back = low_total - a_low
    low_low = (a_low - (low_total - back)) + (b_low - back)
    low += low_total
    high = total + low
    low = low - (high - total)
    low += low_low
    total = high + low
    return total, low - (total - high)


@njit(cache=True, nogil=True)
def multiply_exactly(a: float, b: float) -> tuple[float, float]:
    """The product of two floats, with what rounding loses."""
    product = a * b
    wide = _SPLIT * a
    a_high = wide - (wide - a)
    wide = _SPLIT * b
    b_high = wide - (wide - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(cache=True, nogil=True)
def finish(
    kind: int, number: float, total: float, square: float, square_low: float, total_low: float, scale: float
) -> float:
    """SUM, MEAN or STD of `number` (at least one) values from their sum and sum of squares.

    The deviation is that of a sample (n - 1), and 0 for a single value:
    s**2 = (n * sum of squares - sum**2) / (n * (n - 1)).
    """
    if kind == SUM:
        return total / scale
    if kind == MEAN:
        return total / scale / number
    if number < 2:
        return 0.0
    left, left_low = multiply_exactly(number, square)
    right, right_low = multiply_exactly(total, total)
    left_low += number * square_low
    right_low += 2.0 * total * total_low
    spread = add_exactly(left, left_low, -right, -right_low)[0]
    return np.sqrt(max(spread, 0.0) / (number * (number - 1.0))) / scale


@njit(types.Tuple((int32[::1], int64[::1]))(read_only(int32), int64), cache=True, nogil=True)
def layout(codes: Array, count: int) -> tuple[Array, Array]:
    """Where each event stands entity by entity, those of an entity in their order, and where each entity begins
    (count + 1 places). Codes go from 0 to count - 1; an event with a negative one stands nowhere, at -1."""
    starts = np.zeros(count + 1, np.int64)
    for code in codes:
        if code >= 0:
            starts[code + 1] += 1
    for code in range(count):
        starts[code + 1] += starts[code]
    places = np.empty(len(codes), np.int32)
    following = starts.copy()
    for i in range(len(codes)):
        code = codes[i]
        if code >= 0:
            places[i] = following[code]
            following[code] += 1
        else:
            places[i] = -1
    return places, starts


@njit(types.Tuple((int32[::1], int64[::1]))(read_only(int32), int64), cache=True, nogil=True)
def stable_order(codes: Array, count: int) -> tuple[Array, Array]:
    """The inverse of `layout`: which event stands at each place, and where each entity begins."""
    places, starts = layout(codes, count)
    order = np.empty(starts[count], np.int32)
    for i in range(len(places)):
        if places[i] >= 0:
            order[places[i]] = i
    return order, starts


@njit(cache=True, nogil=True)
def running_sums(values: Array, rows: int) -> Array:
    """Matrix of sums of the first 0, 1, 2 ... events of `values[value, event]`, `rows` for each value."""
    count, events = values.shape
    sums = np.empty((1 + rows * count, events + 1))
    for i in range(events + 1):
        sums[0, i] = i
    for v in range(count):
        row = 1 + rows * v
        known = total = total_low = square = square_low = 0.0
        for i in range(events + 1):
            sums[row, i], sums[row + 1, i], sums[row + 2, i] = known, total, total_low
            if rows > WITHOUT_SQUARES:
                sums[row + 3, i], sums[row + 4, i] = square, square_low
            if i < events and values[v, i] == values[v, i]:
                value = values[v, i]
                known += 1.0
                total, total_low = add_exactly(total, total_low, value, 0.0)
                if rows > WITHOUT_SQUARES:
                    product, low = multiply_exactly(value, value)
                    square, square_low = add_exactly(square, square_low, product, low)
    return sums


@njit(cache=True, nogil=True)
def add_between(base: Array, places: Array, sums: Array, lows: Array, highs: Array, rows: int) -> Array:
    """Column by column `base[:, place] + (sums[:, high] - sums[:, low])`; a place of -1 stands for zeros."""
    height, size = sums.shape[0], len(places)
    result = np.empty((height, size))
    row = 0
    while row < height:
        single = row == 0 or (row - 1) % rows == 0  # events, and known values
        for i in range(size):
            place, low, high = places[i], lows[i], highs[i]
            if single:
                result[row, i] = sums[row, high] - sums[row, low]
                if place >= 0:
                    result[row, i] += base[row, place]
                continue
            total, lost = add_exactly(sums[row, high], sums[row + 1, high], -sums[row, low], -sums[row + 1, low])
            if place >= 0:
                total, lost = add_exactly(base[row, place], base[row + 1, place], total, lost)
            result[row, i], result[row + 1, i] = total, lost
        row += 1 if single else 2
    return result


@njit(cache=True, nogil=True)
def from_sums(kind: int, late: Array, early: Array, row: int, squared: bool, scale: float, default: float) -> Array:
    """COUNT, SUM, MEAN or STD of windows, from the sums up to their ends and up to their beginnings.

    `row` is where the value's rows begin, or 0 for COUNT.
    """
    size = late.shape[1]
    result = np.empty(size)
    for i in range(size):
        number = late[row, i] - early[row, i]
        if number == 0.0:
            result[i] = default
        elif kind == COUNT:
            result[i] = number
        else:
            total, total_low = add_exactly(late[row + 1, i], late[row + 2, i], -early[row + 1, i], -early[row + 2, i])
            square = square_low = 0.0
            if squared:
                square, square_low = add_exactly(
                    late[row + 3, i], late[row + 4, i], -early[row + 3, i], -early[row + 4, i]
                )
            result[i] = finish(kind, number, total, square, square_low, total_low, scale)
    return result


@njit(cache=True, nogil=True)
def count_up_to(entities: Array, instants: Array, starts: Array, times: Array) -> Array:
    """How many events, sorted by entity and time, there are up to an entity's instant, all earlier entities
    included (`starts` as of `stable_order`). The instants may come in any order."""
    places = np.empty(len(entities), np.int64)
    for i in range(len(entities)):
        low, high = starts[entities[i]], starts[entities[i] + 1]
        while low < high:
            middle = (low + high) // 2
            if times[middle] <= instants[i]:
                low = middle + 1
            else:
                high = middle
        places[i] = low
    return places
