"""Copies of a shape: a fingerprint of each geometry, and the search for those that are equal up to rounding.

A fingerprint is taken from a mesh's distinct vertices, centered and divided by the longest side of their box. It knows
nothing of the order or splitting of vertices, of materials and names, or of the scale at which a shape was rendered.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mesh_io.source_mesh import SourceMesh

# Steps along the longest side to which vertices are rounded for the hash.
STEPS = 8192
# Fixed points from which the distance to the nearest vertex is measured.
ANCHORS = 64
# Unit of the stored distances, and the difference up to which two shapes count as copies; longest side 1. Vertices that
# move by 1e-5 along each axis change the box and thus all points; together a distance changes by at most 6e-5.
UNIT = 1e-6
TOLERANCE = 1e-4


def geometry_fingerprint(mesh: SourceMesh) -> dict[str, Any]:
    """The fingerprint as plain values.

    sha256: of the rounded vertices. distances: from ANCHORS fixed points to the nearest vertex, in UNIT. A distance
    moves no further than the vertices do, so rounding cannot tear two copies apart, as it can with a hash.
    """
    low, high = mesh.bounds()
    points = (np.concatenate([part.vertices for part in mesh.parts]) - (low + high) / 2) / (high - low).max()
    cells = np.unique(np.rint(points * STEPS).astype(np.int32), axis=0)
    distances, _ = cKDTree(points).query(anchors())
    return {
        "sha256": hashlib.sha256(cells.tobytes()).hexdigest(),
        "distances": np.rint(distances / UNIT).astype(int).tolist(),
    }


def anchors() -> NDArray[np.float64]:
    """The fixed points [ANCHORS, 3], spread evenly over the unit cube around the origin (Halton 1960)."""
    return np.stack([[_radical_inverse(i + 1, base) for i in range(ANCHORS)] for base in (2, 3, 5)], 1) - 0.5


def _radical_inverse(number: int, base: int) -> float:
    """The digits of `number`, mirrored at the point."""
    value, place = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        value += digit * place
        place /= base
    return value


def fingerprint_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a meta.json that `copies` looks at; the rest is much larger."""
    return {name: meta[name] for name in ("geometry", "geometry_sha256") if name in meta}


def copies(metas: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Groups of two or more shapes with the same geometry, from their meta.json by id.

    Shapes of older datasets have a hash alone, `geometry_sha256`, and are compared among themselves.
    """
    by_hash: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows: dict[tuple[str, str], list[int]] = {}
    for shape_id, meta in metas.items():
        geometry = meta.get("geometry")
        if geometry is not None and _is_fingerprint(geometry):
            key = ("geometry", str(geometry.get("sha256")))
            rows.setdefault(key, geometry["distances"])
        elif meta.get("geometry_sha256"):
            key = ("geometry_sha256", str(meta["geometry_sha256"]))
        else:
            continue
        by_hash[key].append(shape_id)
    near = list(rows)
    for joined in _joined(len(near), _near_pairs(np.array(list(rows.values()), float))):
        first, *others = (near[row] for row in joined)
        for key in others:
            by_hash[first] += by_hash.pop(key)
    return sorted(sorted(group) for group in by_hash.values() if len(group) > 1)


def _is_fingerprint(value: Any) -> bool:
    distances = value.get("distances") if isinstance(value, dict) else None
    return isinstance(distances, list) and len(distances) == ANCHORS and all(type(d) is int for d in distances)


def _near_pairs(distances: NDArray[np.float64]) -> Iterable[tuple[int, int]]:
    """Pairs of rows [N, ANCHORS] that differ by at most TOLERANCE everywhere."""
    if len(distances) < 2:
        return ()
    return cKDTree(distances * UNIT).query_pairs(TOLERANCE, p=np.inf)


def _joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Connected components of two or more of `count` numbers."""
    owner = list(range(count))

    def root(number: int) -> int:
        while owner[number] != number:
            owner[number] = owner[owner[number]]
            number = owner[number]
        return number

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        owner[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for number in range(count):
        groups[root(number)].append(number)
    return [group for group in groups.values() if len(group) > 1]
