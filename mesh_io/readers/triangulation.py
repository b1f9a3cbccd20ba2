"""Triangulation of polygons: fans for convex ones, ear clipping for others."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torch_utils.text import counted

# Ear clipping of all concave polygons of a file may take about 20 s: 1,000 for each test of an ear, and its corners.
MAX_WORK = 400_000_000


class ComplexPolygonsError(ValueError):
    """A file's concave polygons have too many corners to be triangulated in reasonable time."""


@dataclass
class WorkLimit:
    """Counts the work of ear clipping."""

    left: int = MAX_WORK

    def spend(self, work: int) -> None:
        """ComplexPolygonsError once the limit is used up."""
        self.left -= work
        if self.left < 0:
            raise ComplexPolygonsError("its concave polygons are too complex to be triangulated; export triangles")


def triangulate(
    points: NDArray[np.float64],
    corners: NDArray[np.int64],
    counts: NDArray[np.int64],
    note: Callable[[str], None] = lambda line: None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triangles of polygons.

    points [P, 3]. corners [ΣN]: point ids of all polygons, concatenated; counts [G]: corners of each polygon; those
    with fewer than three give no triangle, and `note` is called with a line.
    Returns triangles [T, 3] as indices into `corners` (so that they apply to per-corner attributes) and each triangle's
    polygon [T], in order of polygons. The winding is kept. ComplexPolygonsError if it would take too long.
    """
    if (counts == 3).all():
        return np.arange(3 * len(counts)).reshape(-1, 3), np.arange(len(counts))
    if short := int((counts < 3).sum()):
        note(f"{counted(short, 'face')} of fewer than three corners left out")
    limit = WorkLimit()
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    triangles, owners = [], []
    for count in np.unique(counts[counts >= 3]):
        which = np.flatnonzero(counts == count)
        slots = starts[which][:, None] + np.arange(count)
        shape = fan(int(count))
        local = np.broadcast_to(shape, (len(which), *shape.shape)).copy()
        if count > 3:
            polygons = points[corners[slots]]
            local = (local + _first_corner(polygons)[:, None, None]) % count
            concave = np.flatnonzero(is_concave(polygons))
            if count == 4:
                # A fan from the reflex corner of a quadrilateral lies inside it.
                local[concave] = (shape + _turns(polygons[concave]).argmin(1)[:, None, None]) % count
            else:
                for row in concave:
                    local[row] = _clip_canonically(polygons[row], limit)
        triangles.append(np.take_along_axis(slots[:, :, None], local.reshape(len(which), -1, 1), 1).reshape(-1, 3))
        owners.append(np.repeat(which, len(shape)))
    if not triangles:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(triangles)[order], owner[order]


def fan(count: int) -> NDArray[np.int64]:
    """[count − 2, 3]: the triangles of a convex polygon, from its first corner."""
    second = np.arange(1, count - 1)
    return np.stack([np.zeros_like(second), second, second + 1], axis=1)


def _first_corner(polygons: NDArray[np.float64]) -> NDArray[np.int64]:
    """A corner of each polygon [G, N, 3], chosen by position alone.

    A face and its duplicate with opposite winding and another first corner then give the same triangles, so the copies
    can be recognized.
    """
    return (polygons @ np.array([0.42, 0.31, 0.85])).argmin(1)


def _clip_canonically(polygon: NDArray[np.float64], limit: WorkLimit) -> NDArray[np.int64]:
    """`clip_ears` from a corner and in a direction that depend on positions alone, like `_first_corner`."""
    order = np.roll(np.arange(len(polygon)), -int(_first_corner(polygon[None])[0]))
    if tuple(polygon[order[1]]) <= tuple(polygon[order[-1]]):
        return order[clip_ears(polygon[order], limit)]
    backward = np.roll(order[::-1], 1)
    return backward[clip_ears(polygon[backward], limit)][:, ::-1]


def polygon_normals(polygons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Newell normals of polygons [G, N, 3]; their length is twice the area."""
    local = polygons - polygons[:, :1]
    return np.cross(local, np.roll(local, -1, axis=1)).sum(1)


def is_concave(polygons: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each polygon [G, N, 3] has a reflex corner, beyond rounding errors."""
    return np.asarray((_turns(polygons) < -1e-6).any(1))


def _turns(polygons: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sine of the turn at each corner [G, N], negative for reflex ones; 0 where an edge has no length."""
    normals = polygon_normals(polygons)
    into = polygons - np.roll(polygons, 1, axis=1)
    out = np.roll(polygons, -1, axis=1) - polygons
    turn = np.einsum("gnc,gc->gn", np.cross(into, out), normals)
    scale = np.linalg.norm(into, axis=2) * np.linalg.norm(out, axis=2) * np.linalg.norm(normals, axis=1)[:, None]
    return turn / np.where(scale > 0, scale, np.inf)


def clip_ears(polygon: NDArray[np.float64], limit: WorkLimit | None = None) -> NDArray[np.int64]:
    """[N − 2, 3]: triangles of one simple polygon [N, 3], by cutting off its ears in the plane of its normal.

    A polygon that intersects itself may run out of ears; the remainder becomes a fan.
    """
    flat = _project(polygon)
    left = list(range(len(polygon)))
    triangles = []
    position, since_cut = 0, 0
    while len(left) > 3 and since_cut <= len(left):
        position %= len(left)
        if limit is not None:
            limit.spend(1000 + len(left))
        before, here, after = left[position - 1], left[position], left[(position + 1) % len(left)]
        if _is_ear(flat, left, before, here, after):
            triangles.append((before, here, after))
            del left[position]
            position, since_cut = position - 1 if position else 0, 0
        else:
            position, since_cut = position + 1, since_cut + 1
    triangles += [(left[0], left[i], left[i + 1]) for i in range(1, len(left) - 1)]
    return np.array(triangles, dtype=np.int64)


def _project(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 2], projected along the dominant axis of the normal, counter-clockwise."""
    normal = polygon_normals(polygon[None])[0]
    axis = int(np.abs(normal).argmax())
    first, second = (axis + 1) % 3, (axis + 2) % 3
    flat = polygon[:, [first, second] if normal[axis] >= 0 else [second, first]]
    return flat - flat.mean(0)


def _is_ear(flat: NDArray[np.float64], left: list[int], before: int, here: int, after: int) -> bool:
    a, b, c = flat[before], flat[here], flat[after]
    area = _cross(b - a, c - a)
    if area < 0:
        return False
    others = flat[left]
    distinct = (others != a).any(1) & (others != b).any(1) & (others != c).any(1)
    others = others[distinct]
    if area == 0:
        return True  # a straight corner: cutting it off changes nothing
    inside = (_cross(b - a, others - a) >= 0) & (_cross(c - b, others - b) >= 0) & (_cross(a - c, others - c) >= 0)
    return not inside.any()


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
