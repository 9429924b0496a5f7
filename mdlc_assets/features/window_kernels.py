"""Windows over all events at once, compiled: entity by entity, each column written from its first row to its last.

Random access to memory is what costs. So events are first laid out entity by entity (`spread`), answers come in that
same order, all columns of an instant side by side, and are brought back to the order of events (`collect`): each
entity's next row lies right behind its last one.

Of the events of entity e, `starts[e]` says where they begin. Their instants have a place more for each entity,
which holds an instant after all others: `times[starts[e] + e + k]` is that of the k-th.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int32, int64, njit, void

from mdlc_assets.features.kernel import (
    COUNT,
    DISTINCT,
    FIRST,
    MAX,
    MEAN,
    MIN,
    STD,
    Array,
    add_exactly,
    finish,
    multiply_exactly,
    read_only,
)

_NEVER = np.iinfo(np.int64).max


@njit(void(read_only(float64), read_only(int32), float64[::1]), cache=True, nogil=True)
def spread(values: Array, places: Array, out: Array) -> None:
    """`out[places[i]] = values[i]` for the events that stand somewhere."""
    for i in range(len(places)):
        if places[i] >= 0:
            out[places[i]] = values[i]


@njit(int64[::1](read_only(int64), read_only(int32), read_only(int32), read_only(int64)), cache=True, nogil=True)
def spread_times(times: Array, codes: Array, places: Array, starts: Array) -> Array:
    """The instants entity by entity, each entity's followed by one after all others."""
    out = np.full(starts[-1] + len(starts) - 1, _NEVER, np.int64)
    for i in range(len(places)):
        if places[i] >= 0:
            out[places[i] + codes[i]] = times[i]
    return out


_COLLECT = void(
    int64,
    int64,
    read_only(int32),
    read_only(float64, 2),
    read_only(float64),
    read_only(int64),
    float64[:, ::1],
)


@njit(_COLLECT, cache=True, nogil=True)
def collect(first: int, last: int, places: Array, answers: Array, defaults: Array, rows: Array, out: Array) -> None:
    """`out[rows[c], i] = answers[places[i], c]` for i from `first` to `last` (excluded), the default at -1."""
    for i in range(first, last):
        place = places[i]
        if place >= 0:
            for c in range(len(rows)):
                out[rows[c], i] = answers[place, c]
        else:
            for c in range(len(rows)):
                out[rows[c], i] = defaults[c]


@njit(cache=True, nogil=True)
def _up_to(times: Array, instants: Array, offset: int, found: Array) -> None:
    """How many of the times are at most `offset` before each instant; both ascend, and the last time is never.

    One step moves either on, without a branch that the processor would have to guess.
    """
    place = i = 0
    while i < len(instants):
        ahead = times[place] <= instants[i] - offset
        found[i] = place
        place += ahead
        i += 1 - ahead


@njit(cache=True, nogil=True)
def _take_known(values: Array, there: Array, known: Array) -> None:
    """The values that are there, and how many of them the first 0, 1, 2 ... events hold."""
    number = 0
    for i in range(len(values)):
        there[number] = values[i]
        number += values[i] == values[i]
        known[i + 1] = number


@njit(cache=True, nogil=True)
def _sum_up(
    number: int,
    there: Array,
    plain: bool,
    squared: bool,
    sums: Array,
    sums_low: Array,
    squares: Array,
    squares_low: Array,
) -> None:
    """Running sums of an entity's values. Where `plain`, the lost parts are zero and stay so."""
    total = total_low = square = square_low = 0.0
    for i in range(number):
        value = there[i]
        if plain:
            total += value
            square += value * value
        else:
            total, total_low = add_exactly(total, total_low, value, 0.0)
            if squared:
                product, low = multiply_exactly(value, value)
                square, square_low = add_exactly(square, square_low, product, low)
            sums_low[i + 1], squares_low[i + 1] = total_low, square_low
        sums[i + 1], squares[i + 1] = total, square


@njit(cache=True, nogil=True, error_model="numpy")
def _plain_sums(
    lows: Array, highs: Array, sums: Array, mean: bool, scale: float, default: float, answer: Array
) -> None:
    """SUM or MEAN where one float holds each sum exactly."""
    for i in range(len(answer)):
        number = highs[i] - lows[i]
        total = (sums[highs[i]] - sums[lows[i]]) / scale
        if mean:
            total = total / float(max(number, 1))
        answer[i] = total if number > 0 else default


@njit(cache=True, nogil=True, error_model="numpy")
def _slide_extreme(
    lows: Array, highs: Array, values: Array, sign: float, scale: float, default: float, queue: Array, answer: Array
) -> None:
    """The largest (`sign` 1) or smallest (-1) value of each window: a queue of those no later one outdoes."""
    first = last = done = 0
    for i in range(len(answer)):
        low, high = lows[i], highs[i]
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
        answer[i] = values[queue[first]] / scale if low < high else default


@njit(cache=True, nogil=True)
def _slide_distinct(lows: Array, highs: Array, values: Array, default: float, seen: Array, answer: Array) -> None:
    """How many different values (codes from 0) each window holds. `seen` is all zero before and after."""
    begin = end = 0
    distinct = 0.0
    for i in range(len(answer)):
        while end < highs[i]:
            code = int(values[end])
            seen[code] += 1
            distinct += seen[code] == 1
            end += 1
        while begin < lows[i]:
            code = int(values[begin])
            seen[code] -= 1
            distinct -= seen[code] == 0
            begin += 1
        answer[i] = distinct if highs[i] > lows[i] else default
    for i in range(begin, end):
        seen[int(values[i])] -= 1


_TABLE = void(
    int64,
    int64,
    read_only(int64),
    read_only(int64),
    read_only(float64, 2),
    read_only(boolean),
    read_only(int64),
    read_only(int64),
    read_only(int64),
    read_only(int64, 2),
    read_only(float64),
    read_only(float64),
    int64,
    float64[:, ::1],
)


@njit(_TABLE, cache=True, nogil=True, error_model="numpy")
def window_table(
    first: int,
    last: int,
    starts: Array,
    times: Array,
    values: Array,
    plain: Array,
    asked_starts: Array,
    asked_times: Array,
    offsets: Array,
    columns: Array,
    scales: Array,
    defaults: Array,
    codes: int,
    answers: Array,
) -> None:
    """Windowed columns of the entities `first` to `last` (excluded), at their asked instants.

    `answers` gets a row for each instant. `starts`, `times` and `values[value]` are of the events that count,
    `asked_starts` and `asked_times` of the instants, both laid out as said above. An edge of a window lies an offset
    before the instant; `columns` has rows of later edge, earlier edge, kind, value. `plain` says of a value that
    sums of it and of its squares are exact in one float; codes of kinds are below `codes`.
    """
    most = most_asked = 0
    for entity in range(first, last):
        most = max(most, starts[entity + 1] - starts[entity])
        most_asked = max(most_asked, asked_starts[entity + 1] - asked_starts[entity])
    count = len(values)
    edges = np.empty((len(offsets), most_asked), np.int64)
    low_known, high_known = np.empty(most_asked, np.int64), np.empty(most_asked, np.int64)
    # The values that are there, one after the other; how many of them the first events hold; their running sums.
    there, known = np.empty((count, most)), np.zeros((count, most + 1), np.int64)
    sums, sums_low = np.zeros((count, most + 1)), np.zeros((count, most + 1))
    squares, squares_low = np.zeros((count, most + 1)), np.zeros((count, most + 1))
    queue, seen = np.empty(most, np.int64), np.zeros(codes, np.int64)
    summed, squared = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for c in range(len(columns)):
        if columns[c, 2] == STD:
            squared[columns[c, 3]] = True
        if COUNT < columns[c, 2] < MIN:
            summed[columns[c, 3]] = True
    for entity in range(first, last):
        begin, events = starts[entity], starts[entity + 1] - starts[entity]
        asked_begin, asked = asked_starts[entity], asked_starts[entity + 1] - asked_starts[entity]
        if asked == 0:
            continue
        own_times = times[begin + entity : begin + entity + events + 1]
        instants = asked_times[asked_begin + entity : asked_begin + entity + asked]
        for k in range(len(offsets)):
            _up_to(own_times, instants, offsets[k], edges[k])
        for v in range(count):
            _take_known(values[v, begin : begin + events], there[v], known[v])
            if summed[v]:
                _sum_up(
                    known[v, events], there[v], plain[v], squared[v], sums[v], sums_low[v], squares[v], squares_low[v]
                )
        for c in range(len(columns)):
            kind, v, default, scale = columns[c, 2], columns[c, 3], defaults[c], scales[c]
            highs, lows = edges[columns[c, 0]], edges[columns[c, 1]]
            answer = answers[asked_begin : asked_begin + asked, c]
            if kind == COUNT:
                for i in range(asked):
                    answer[i] = highs[i] - lows[i] if highs[i] > lows[i] else default
                continue
            if known[v, events] < events:
                for i in range(asked):
                    low_known[i], high_known[i] = known[v, lows[i]], known[v, highs[i]]
                lows, highs = low_known, high_known
            if kind < MIN and plain[v] and kind != STD:
                _plain_sums(lows, highs, sums[v], kind == MEAN, scale, default, answer)
            elif kind < MIN:
                for i in range(asked):
                    low, high = lows[i], highs[i]
                    total, total_low = add_exactly(sums[v, high], sums_low[v, high], -sums[v, low], -sums_low[v, low])
                    square, square_low = add_exactly(
                        squares[v, high], squares_low[v, high], -squares[v, low], -squares_low[v, low]
                    )
                    answer[i] = default
                    if high > low:
                        answer[i] = finish(kind, float(high - low), total, square, square_low, total_low, scale)
            elif kind == MIN or kind == MAX:
                _slide_extreme(lows, highs, there[v], 1.0 if kind == MAX else -1.0, scale, default, queue, answer)
            elif kind == DISTINCT:
                _slide_distinct(lows, highs, there[v], default, seen, answer)
            else:
                for i in range(asked):
                    low, high = lows[i], highs[i]
                    answer[i] = there[v, low if kind == FIRST else high - 1] / scale if high > low else default
