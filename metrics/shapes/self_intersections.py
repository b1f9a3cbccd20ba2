"""Pairs of faces of one mesh that cross each other."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

# Pairs of faces that are tested together; limits the memory.
CHUNK = 200_000
# An intersection within this share of the edge's length of its end, or as near to the face's border, is a touch.
MARGIN = 1e-9


def count_self_intersections(corners: NDArray[np.float64], faces: NDArray[np.int64]) -> int:
    """How many pairs of faces cross and share no vertex.

    corners [F, 3, 3]: positions of each face's vertices. faces [F, 3]: ids of welded vertices, which tell what is
    shared. Two faces cross if an edge of one passes through the other; coplanar faces do not count.
    """
    pairs = _near_pairs(corners)
    shared = (faces[pairs[:, 0]][:, :, None] == faces[pairs[:, 1]][:, None, :]).any((1, 2))
    pairs = pairs[~shared]
    crossing = 0
    for start in range(0, len(pairs), CHUNK):
        a, b = (corners[pairs[start : start + CHUNK, side]] for side in (0, 1))
        crossing += int((_edges_pierce(a, b) | _edges_pierce(b, a)).sum())
    return crossing


def _near_pairs(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pairs [K, 2] of faces whose boxes overlap, i < j, found by balls around the faces."""
    center = (corners.min(1) + corners.max(1)) / 2
    radius = np.linalg.norm(corners - center[:, None], axis=2).max(1)
    order = np.argsort(radius)
    low, high = corners.min(1), corners.max(1)
    found = []
    # Faces of similar size share a tree, so that one large face does not widen the search for all.
    groups = np.array_split(order, max(1, min(16, len(order) // 64)))
    trees = [cKDTree(center[group]) for group in groups]
    for i, own in enumerate(groups):
        for j in range(i, len(groups)):
            reach = radius[own].max(initial=0) + radius[groups[j]].max(initial=0)
            near = trees[i].sparse_distance_matrix(trees[j], reach, output_type="ndarray")
            a, b = own[near["i"]], groups[j][near["j"]]
            keep = (a != b) & (near["v"] <= radius[a] + radius[b])
            found.append(np.stack([a[keep], b[keep]], 1))
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0) if found else np.empty((0, 2), np.int64)
    a, b = pairs[:, 0], pairs[:, 1]
    return pairs[((low[a] <= high[b]) & (low[b] <= high[a])).all(1)]


def _edges_pierce(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
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
