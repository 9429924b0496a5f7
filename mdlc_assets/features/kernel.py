"""The compiled arithmetic that every engine shares: windows over sorted events, and what is said of a window.

Values are float64; NaN stands for no value. Money and other whole numbers come scaled to integers. A sum is held
as two floats, the sum and what was lost in rounding (T. J. Dekker, "A floating-point technique for extending the
available precision", 1971), some 32 digits in all: integers stay exact far beyond 2**53, and the difference of
two running sums of floats keeps its digits. Times are int64 microseconds.

Sums up to some instant are columns of a matrix: row 0 counts events; then for each value come three rows, how many
are known, their sum, its lost part, and where deviations are asked for two more, the sum of squares, its lost part.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int32, int64, njit, types, void

Array = np.ndarray

COUNT, SUM, MEAN, STD, MIN, MAX, FIRST, LAST, DISTINCT = range(9)
WITHOUT_SQUARES, WITH_SQUARES = 3, 5
"""Rows of a value in a matrix of sums."""

_SPLIT = 134_217_729.0  # 2**27 + 1


def _read(kind: types.Type, dimensions: int = 1) -> types.Array:
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


@njit(types.Tuple((int32[::1], int64[::1]))(_read(int32), int64), cache=True, nogil=True)
def stable_order(codes: Array, count: int) -> tuple[Array, Array]:
    """Positions sorted by code (0 to count - 1), those of the same code in their order, and where each code
    begins (count + 1 places): a counting sort. Negative codes are left out."""
    starts = np.zeros(count + 1, np.int64)
    for code in codes:
        if code >= 0:
            starts[code + 1] += 1
    for code in range(count):
        starts[code + 1] += starts[code]
    order = np.empty(starts[count], np.int32)
    following = starts.copy()
    for i in range(len(codes)):
        if codes[i] >= 0:
            order[following[codes[i]]] = i
            following[codes[i]] += 1
    return order, starts


@njit(cache=True, nogil=True)
def _slide_extreme(
    size: int, lows: Array, highs: Array, known: Array, values: Array, sign: float, queue: Array, found: Array
) -> None:
    """The largest (`sign` 1) or smallest (-1) value of each window: a queue of those no later one outdoes."""
    first = last = done = 0
    for i in range(size):
        low, high = known[lows[i]], known[highs[i]]
        if done < low:
            first = last = 0
            done = low
        while done < high:
            while last > first and sign * values[queue[last - 1]] <= sign * values[done]:
                last -= 1
            queue[last] = done
            last += 1
            done += 1
        while first < last and queue[first] < low:
            first += 1
        if low < high:
            found[i] = values[queue[first]]


@njit(cache=True, nogil=True)
def _slide_distinct(
    size: int, lows: Array, highs: Array, known: Array, values: Array, seen: Array, found: Array
) -> None:
    """How many different values (codes from 0) each window holds. `seen` is all zero before and after."""
    begin = end = 0
    distinct = 0.0
    for i in range(size):
        low, high = known[lows[i]], known[highs[i]]
        while end < high:
            code = int(values[end])
            seen[code] += 1
            distinct += seen[code] == 1
            end += 1
        while begin < low:
            code = int(values[begin])
            seen[code] -= 1
            distinct -= seen[code] == 0
            begin += 1
        found[i] = distinct
    for i in range(begin, end):
        seen[int(values[i])] -= 1


@njit(cache=True, nogil=True)
def _sum_up(
    events: int,
    places: Array,
    values: Array,
    plain: bool,
    squared: bool,
    there: Array,
    known: Array,
    sums: Array,
    sums_low: Array,
    squares: Array,
    squares_low: Array,
) -> None:
    """Running sums of an entity's values, and how many are known."""
    k = 0
    total = total_low = square = square_low = 0.0
    for i in range(events):
        value = values[places[i]]
        if value == value:
            there[k] = value
            k += 1
            if plain:
                total += value
                square += value * value
            else:
                total, total_low = add_exactly(total, total_low, value, 0.0)
                if squared:
                    product, low = multiply_exactly(value, value)
                    square, square_low = add_exactly(square, square_low, product, low)
                sums_low[k], squares_low[k] = total_low, square_low
            sums[k], squares[k] = total, square
        known[i + 1] = k


@njit(cache=True, nogil=True)
def _bounds(
    queries: int, query_times: Array, events: int, times: Array, width: int, delay: int, lows: Array, highs: Array
) -> None:
    """The events low, low + 1 ... high - 1 of each window; both only ever grow."""
    low = high = 0
    for i in range(queries):
        end = query_times[i] - delay
        begin = end - width
        while high < events and times[high] <= end:
            high += 1
        while low < high and times[low] <= begin:
            low += 1
        lows[i] = low
        highs[i] = high


@njit(cache=True, nogil=True, error_model="numpy")
def _plain_sums(
    queries: int,
    lows: Array,
    highs: Array,
    known: Array,
    sums: Array,
    mean: bool,
    scale: float,
    default: float,
    answer: Array,
) -> None:
    """SUM or MEAN where one float holds each sum exactly."""
    for i in range(queries):
        low, high = known[lows[i]], known[highs[i]]
        total = (sums[high] - sums[low]) / scale
        if mean:
            total = total / float(max(high - low, 1))
        answer[i] = total if high > low else default


@njit(cache=True, nogil=True)
def gather(values: Array, order: Array) -> Array:
    """`values[order]`."""
    result = np.empty(len(order), values.dtype)
    for i in range(len(order)):
        result[i] = values[order[i]]
    return result


_TABLE = void(
    int64,
    int64,
    _read(int64),
    _read(int64),
    _read(boolean),
    _read(int64),
    _read(boolean),
    _read(float64, 2),
    _read(boolean),
    _read(int64, 2),
    _read(int64, 2),
    _read(float64),
    _read(float64),
    int64,
    float64[:, ::1],
)


@njit(_TABLE, cache=True, nogil=True, error_model="numpy")
def window_table(
    first: int,
    last: int,
    starts: Array,
    times: Array,
    asked: Array,
    place: Array,
    kept: Array,
    values: Array,
    plain: Array,
    spans: Array,
    columns: Array,
    scales: Array,
    defaults: Array,
    codes: int,
    out: Array,
) -> None:
    """Windowed columns for the events of the entities `first` to `last` (excluded).

    All arrays of events are in order of entity and time; `starts` says where each entity begins. An event at t where
    `asked` holds is answered in `out[place]`, a column each, over the events where `kept` holds (all, when it is empty)
    in (t - width - delay, t - delay]. `spans` has rows of width and delay; `columns` rows of span, kind, value.
    `values[value, event]`; `plain` says of a value that sums of it and of its squares are exact in one float.
    """
    most = 0
    for entity in range(first, last):
        most = max(most, starts[entity + 1] - starts[entity])
    count, width_of_row = values.shape[0], len(columns)
    event_places, query_places = np.empty(most, np.int64), np.empty(most, np.int64)
    event_times, query_times = np.empty(most, np.int64), np.empty(most, np.int64)
    lows, highs, queue = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    found = np.empty(most)
    answers = np.empty((width_of_row, most))
    # The values that are there, one after the other, and how many of them the first events hold.
    there, known = np.empty((count, most)), np.zeros((count, most + 1), np.int64)
    sums, sums_low = np.zeros((count, most + 1)), np.zeros((count, most + 1))
    squares, squares_low = np.zeros((count, most + 1)), np.zeros((count, most + 1))
    seen = np.zeros(codes, np.int64)
    unfiltered = len(kept) == 0
    squared = np.zeros(count, np.bool_)
    for c in range(width_of_row):
        if columns[c, 1] == STD:
            squared[columns[c, 2]] = True
    for entity in range(first, last):
        queries = events = 0
        for i in range(starts[entity], starts[entity + 1]):
            if asked[i]:
                query_times[queries] = times[i]
                query_places[queries] = place[i]
                queries += 1
            if unfiltered or kept[i]:
                event_times[events] = times[i]
                event_places[events] = i
                events += 1
        if queries == 0:
            continue
        for v in range(count):
            _sum_up(
                events,
                event_places,
                values[v],
                plain[v],
                squared[v],
                there[v],
                known[v],
                sums[v],
                sums_low[v],
                squares[v],
                squares_low[v],
            )
        for span in range(len(spans)):
            _bounds(queries, query_times, events, event_times, spans[span, 0], spans[span, 1], lows, highs)
            for c in range(width_of_row):
                if columns[c, 0] != span:
                    continue
                kind, v, default, scale, answer = columns[c, 1], columns[c, 2], defaults[c], scales[c], answers[c]
                if kind == COUNT:
                    for i in range(queries):
                        held = highs[i] - lows[i]
                        answer[i] = held if held else default
                elif kind < MIN and plain[v] and not squared[v]:
                    _plain_sums(queries, lows, highs, known[v], sums[v], kind == MEAN, scale, default, answer)
                elif kind < MIN:
                    for i in range(queries):
                        low, high = known[v, lows[i]], known[v, highs[i]]
                        if low == high:
                            answer[i] = default
                            continue
                        total, total_low = add_exactly(
                            sums[v, high], sums_low[v, high], -sums[v, low], -sums_low[v, low]
                        )
                        square, square_low = add_exactly(
                            squares[v, high], squares_low[v, high], -squares[v, low], -squares_low[v, low]
                        )
                        answer[i] = finish(kind, float(high - low), total, square, square_low, total_low, scale)
                else:
                    if kind == MIN or kind == MAX:
                        sign = 1.0 if kind == MAX else -1.0
                        _slide_extreme(queries, lows, highs, known[v], there[v], sign, queue, found)
                    elif kind == DISTINCT:
                        _slide_distinct(queries, lows, highs, known[v], there[v], seen, found)
                    for i in range(queries):
                        low, high = known[v, lows[i]], known[v, highs[i]]
                        if low == high:
                            answer[i] = default
                        elif kind == FIRST:
                            answer[i] = there[v, low] / scale
                        elif kind == LAST:
                            answer[i] = there[v, high - 1] / scale
                        else:
                            answer[i] = found[i] / scale
        # Row by row, so that each far place in memory is visited once.
        for i in range(queries):
            row = out[query_places[i]]
            for c in range(width_of_row):
                row[c] = answers[c, i]


@njit(cache=True, nogil=True)
def turn(first: int, last: int, rows: Array, columns: Array) -> None:
    """`columns[:, first:last] = rows[first:last].T`, a few rows at a time."""
    for begin in range(first, last, 512):
        end = min(begin + 512, last)
        for c in range(rows.shape[1]):
            for i in range(begin, end):
                columns[c, i] = rows[i, c]


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
