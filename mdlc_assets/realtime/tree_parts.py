"""Exact contributions of the features to a boosted trees' score, looked up instead of computed.

What a leaf adds to each feature (Lundberg's path-dependent SHAP values, those of XGBoost's `pred_contribs`) follows
from which of the conditions on its path an event meets, and a path of m features has only 2^m such patterns. So when
a model is loaded the parts of each leaf are worked out for all patterns, as Yang's Fast TreeSHAP v2 does; an event
then only looks up the pattern of each leaf.
"""

from __future__ import annotations

import json
from math import factorial
from typing import Any

import numpy as np
from numba import njit

_MOST_PARTS = 8_000_000
"""So many numbers of four bytes: beyond, as for deep trees, XGBoost itself is asked."""


class TreeParts:
    """The looked-up form of one booster. Values that are missing are not for it."""

    def __init__(self, paths: _Paths, width: int) -> None:
        self._starts, self._features = np.array(paths.starts), np.array(paths.features)
        self._lower, self._upper = (np.array(ends, np.float32) for ends in (paths.lower, paths.upper))
        sizes = np.diff(self._starts)
        self._places = np.concatenate([[0], np.cumsum(sizes << sizes)])
        self._parts = np.empty(self._places[-1], np.float32)
        most = int(sizes.max(initial=1))
        weights = np.zeros((most + 1, most + 1))
        for m in range(1, most + 1):
            weights[m, :m] = [factorial(k) * factorial(m - 1 - k) / factorial(m) for k in range(m)]
        _work_out(self._starts, self._places, np.array(paths.left_over), np.array(paths.values), weights, self._parts)
        self._width = width

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Shape (rows, features), in log odds."""
        found = np.zeros((len(rows), self._width))
        known = np.ascontiguousarray(rows, np.float32)
        _look_up(known, self._starts, self._places, self._features, self._lower, self._upper, self._parts, found)
        return found


class _Paths:
    """The ways to all leaves. Of leaf i: its features are `starts[i]` to `starts[i + 1]`, each with the interval
    that leads there and the share of the training events that take its turns."""

    def __init__(self) -> None:
        self.starts, self.values = [0], list[float]()
        self.features, self.lower, self.upper, self.left_over = list[int](), list[float](), list[float](), list[float]()
        self.parts = 0

    def add(self, tree: dict[str, Any]) -> None:
        """All leaves of a tree as XGBoost writes it in JSON."""
        left, right, cover = tree["left_children"], tree["right_children"], tree["sum_hessian"]
        waiting: list[tuple[int, dict[int, tuple[float, float, float]]]] = [(0, {})]
        while waiting and self.parts <= _MOST_PARTS:
            node, path = waiting.pop()
            if left[node] == -1:
                self._add_leaf(path, tree["split_conditions"][node])
                continue
            feature, split = tree["split_indices"][node], tree["split_conditions"][node]
            lower, upper, share = path.get(feature, (-np.inf, np.inf, 1.0))
            for child, ends in ((left[node], (lower, min(upper, split))), (right[node], (max(lower, split), upper))):
                turn = cover[child] / cover[node] if cover[node] else 0.0
                waiting.append((child, {**path, feature: (*ends, share * turn)}))

    def _add_leaf(self, path: dict[int, tuple[float, float, float]], value: float) -> None:
        if not path:
            return  # a tree that does not split moves nothing
        self.features += path
        for lower, upper, share in path.values():
            self.lower.append(lower)
            self.upper.append(upper)
            self.left_over.append(share)
        self.values.append(value)
        self.starts.append(len(self.features))
        self.parts += len(path) << len(path)


def tree_parts(booster: Any, width: int) -> TreeParts | None:
    """The looked-up form of an XGBoost booster of so many features; None for one that XGBoost must take apart itself:
    of other than plain trees, with kinds, of several outputs, or too large to work out."""
    learner = json.loads(booster.save_raw("json"))["learner"]
    boosted = learner["gradient_booster"]
    if boosted["name"] != "gbtree" or any(boosted["model"]["tree_info"]):
        return None
    paths = _Paths()
    for tree in boosted["model"]["trees"]:
        if tree["categories"] or int(tree["tree_param"]["size_leaf_vector"]) > 1:
            return None
        paths.add(tree)
        if paths.parts > _MOST_PARTS:
            return None
    return TreeParts(paths, width) if paths.values else None


@njit(cache=True, nogil=True)
def _work_out(
    starts: np.ndarray,
    places: np.ndarray,
    left_over: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    parts: np.ndarray,
) -> None:
    """For each leaf and pattern the parts of its features: `parts[places[leaf] + pattern * m + feature]`."""
    ways = np.empty(weights.shape[0])
    for leaf in range(len(values)):
        first, m = starts[leaf], starts[leaf + 1] - starts[leaf]
        for pattern in range(1 << m):
            for i in range(m):
                # ways[k]: of the other features k stand in the coalition, weighted by how the others turn.
                ways[0] = 1.0
                count = 0
                for j in range(m):
                    if j == i:
                        continue
                    met, share = float((pattern >> j) & 1), left_over[first + j]
                    count += 1
                    ways[count] = 0.0
                    for k in range(count, 0, -1):
                        ways[k] = ways[k] * share + ways[k - 1] * met
                    ways[0] *= share
                total = 0.0
                for k in range(m):
                    total += weights[m, k] * ways[k]
                met = float((pattern >> i) & 1)
                parts[places[leaf] + pattern * m + i] = values[leaf] * (met - left_over[first + i]) * total


@njit(cache=True, nogil=True)
def _look_up(
    rows: np.ndarray,
    starts: np.ndarray,
    places: np.ndarray,
    features: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    parts: np.ndarray,
    found: np.ndarray,
) -> None:
    for row in range(len(rows)):
        for leaf in range(len(starts) - 1):
            first, m = starts[leaf], starts[leaf + 1] - starts[leaf]
            pattern = 0
            for i in range(m):
                value = rows[row, features[first + i]]
                # No branch: which way it goes is a coin's toss, and a wrong guess costs more than the comparison.
                pattern |= ((value >= lower[first + i]) & (value < upper[first + i])) << i
            place = places[leaf] + pattern * m
            for i in range(m):
                found[row, features[first + i]] += parts[place + i]
