"""Pairs of faces of one mesh that cross each other, within bounds of time and memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Pairs of boxes or faces that are tested together; limits the memory to about 100 MB.
CHUNK = 1 << 16
# Tests after which a mesh is given up, within half a minute. Long thin faces side by side, such as the fans and
# threads of CAD models, have boxes that overlap by the million.
MAX_BOX_TESTS = 100_000_000
MAX_NEAR_PAIRS = 10_000_000
# An intersection within this share of the edge's length of its end, or as near to the face's border, is a touch.
MARGIN = 1e-9
_MORTON_BITS = 10

Pairs = NDArray[np.int64]
Points = NDArray[np.float64]


class TooManyPairsError(Exception):
    """The faces of a mesh overlap so much that the pairs cannot be tested within the bounds."""


def count_self_intersections(corners: Points, faces: NDArray[np.int64]) -> int:
    """How many pairs of faces cross and share no vertex. TooManyPairsError where that would take too long.

    corners [F, 3, 3]: positions of each face's vertices. faces [F, 3]: ids of welded vertices, which tell what is
    shared. Two faces cross if an edge of one passes through the other; coplanar faces do not count.
    """
    crossing = near = 0
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for pairs in _overlapping_boxes(corners.min(1), corners.max(1)):
        shared = (faces[pairs[:, 0]][:, :, None] == faces[pairs[:, 1]][:, None, :]).any((1, 2))
        pairs = pairs[~shared]
        near += len(pairs)
        if near > MAX_NEAR_PAIRS:
            raise TooManyPairsError
        # An edge can pass through a face only if its triangle has corners on both sides of the face's plane.
        first, second = (_straddles(corners, normals, pairs[:, side], pairs[:, 1 - side]) for side in (0, 1))
        hit = np.zeros(len(pairs), bool)
        for side, candidates in ((0, first), (1, second)):
            a, b = pairs[candidates, side], pairs[candidates, 1 - side]
            hit[candidates] |= _edges_pierce(corners[a], corners[b])
        crossing += int(hit.sum())
    return crossing


def _overlapping_boxes(low: Points, high: Points) -> Iterator[Pairs]:
    """Pairs [K, 2], i ≠ j, of boxes [F, 3] that overlap or touch; every pair once, K ≤ CHUNK.

    The boxes are the leaves of a complete binary tree, in the order of a space-filling curve. Pairs of nodes of one
    level are replaced by the overlapping pairs of their children, depth first, so that few are in memory at a time.
    """
    order = np.argsort(_morton_codes((low + high) / 2), kind="stable")
    levels = _box_tree(low[order], high[order])
    waiting = [(0, np.zeros((1, 2), np.int64))]
    tests = 0
    while waiting:
        depth, pairs = waiting.pop()
        if depth == len(levels) - 1:
            found = pairs[pairs[:, 0] != pairs[:, 1]]
            if len(found):
                yield order[found]
            continue
        # The four pairs of children; of a node with itself, the two of different children are the same.
        children = (2 * pairs[:, None, :] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).reshape(-1, 2)
        children = children[children[:, 0] <= children[:, 1]]
        tests += len(children)
        if tests > MAX_BOX_TESTS:
            raise TooManyPairsError
        low, high = levels[depth + 1]
        a, b = children[:, 0], children[:, 1]
        children = children[((low[a] <= high[b]) & (low[b] <= high[a])).all(1)]
        waiting += [(depth + 1, children[start : start + CHUNK]) for start in range(0, len(children), CHUNK)]


def _box_tree(low: Points, high: Points) -> list[tuple[Points, Points]]:
    """(low, high) of the nodes of each level, the root first; node i has the children 2 i and 2 i + 1."""
    count = 1 << max(len(low) - 1, 0).bit_length()
    padding = [(0, count - len(low)), (0, 0)]
    # Padded boxes end before they begin and overlap nothing.
    low, high = np.pad(low, padding, constant_values=np.inf), np.pad(high, padding, constant_values=-np.inf)
    levels = [(low, high)]
    while len(low) > 1:
        low, high = low.reshape(-1, 2, 3).min(1), high.reshape(-1, 2, 3).max(1)
        levels.append((low, high))
    return levels[::-1]


def _morton_codes(points: Points) -> Pairs:
    """Place of points [F, 3] on a space-filling curve through their box [F]."""
    if not len(points):
        return np.zeros(0, np.int64)
    low, high = points.min(0), points.max(0)
    cells = ((points - low) / np.maximum(high - low, 1e-300) * ((1 << _MORTON_BITS) - 1)).astype(np.int64)
    codes = np.zeros(len(points), np.int64)
    for bit in range(_MORTON_BITS):
        for axis in range(3):
            codes |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return codes


def _straddles(corners: Points, normals: Points, a: Pairs, b: Pairs) -> NDArray[np.bool_]:
    """For each pair, whether face a has corners on both sides of the plane of face b, or on it."""
    side = ((corners[a] - corners[b][:, :1]) * normals[b][:, None]).sum(2)
    return (side.min(1) <= 0) & (side.max(1) >= 0)


def _edges_pierce(a: Points, b: Points) -> NDArray[np.bool_]:
    """For each pair, whether an edge of triangle a [K, 3, 3] passes through the inside of triangle b [K, 3, 3]."""
    hit = np.zeros(len(a), bool)
    first, second = b[:, 1] - b[:, 0], b[:, 2] - b[:, 0]
    for k in range(3):
        start, along = a[:, k], a[:, (k + 1) % 3] - a[:, k]
        # Möller and Trumbore 1997.
        p = np.cross(along, second)
        determinant = (first * p).sum(1)
        scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1) * np.linalg.norm(along, axis=1)
        proper = np.abs(determinant) > MARGIN * scale
        inverse = 1 / np.where(proper, determinant, 1)
        offset = start - b[:, 0]
        u = (offset * p).sum(1) * inverse
        q = np.cross(offset, first)
        v, t = (along * q).sum(1) * inverse, (second * q).sum(1) * inverse
        inside = (u > MARGIN) & (v > MARGIN) & (u + v < 1 - MARGIN) & (t > MARGIN) & (t < 1 - MARGIN)
        hit |= proper & inside
    return hit
