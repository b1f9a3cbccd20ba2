"""Tetrahedral grids that fill a cube, in two layouts: body-centered cubic ("bcc") and Kuhn's subdivision ("kuhn")."""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor

# Local vertices of the six edges of a tetrahedron: the columns of `tet_edges`.
TET_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
# The steps from an edge's lower vertex to its upper one, half cells, each as one number, in the order of their ends:
# from corner to corner or center to center, where only the half that leads to later vertices occurs, then from a corner
# to a center.
_STEP_WEIGHTS = np.array([25, 5, 1])
_TO_SAME = np.array(list(product((-2, 0, 2), repeat=3)))[14:] @ _STEP_WEIGHTS
_TO_CENTER = np.array(list(product((-1, 1), repeat=3))) @ _STEP_WEIGHTS
_STEPS = np.concatenate([_TO_SAME, _TO_CENTER])


@dataclass(frozen=True)
class CubicGrid:
    """Consecutive vertices of a tet grid that form a cubic grid themselves: the cell corners, or the cell centers.

    A function that separates over the axes needs only their coordinates along one axis. Vertices start : start + side³
    lie at (first + i·step, first + j·step, first + k·step), i slowest, k fastest.
    first, step: world units.
    """

    start: int
    side: int
    first: float
    step: float


@dataclass(frozen=True)
class TetGrid:
    """A tetrahedral grid that fills a cube centered at the origin, without gaps or overlaps.

    positions [V, 3] float32, world units. tets [T, 4] int32, positively oriented: det(v1 − v0, v2 − v0, v3 − v0) > 0.
    edges [E, 2] int32, smaller vertex first, sorted. tet_edges [T, 6] int32: the edges 01, 02, 03, 12, 13, 23 of each
    tetrahedron. boundary [V] bool: on the cube's surface. free [V, 3] bool: axes along which a vertex may be moved; a
    boundary vertex slides on the cube's surface, so that the grid fills the cube however it is deformed.
    center: the vertex at (or nearest to) the origin. cell: side of a cell, world units. cubic_grids: the cubic grids
    that make up the vertices, in order; none after subdivision.

    With the "bcc" layout, no movement of up to 0.25 cell along each free axis flips a tetrahedron.
    """

    positions: Tensor
    tets: Tensor
    edges: Tensor
    tet_edges: Tensor
    boundary: Tensor
    free: Tensor
    center: int
    cell: float
    cubic_grids: tuple[CubicGrid, ...] = ()

    @property
    def num_vertices(self) -> int:
        """V."""
        return self.positions.shape[0]

    def to(self, device: torch.device | str) -> "TetGrid":
        """The grid on `device`; the same object where it is there already."""
        if self.positions.device == torch.device(device):
            return self
        names = ("positions", "tets", "edges", "tet_edges", "boundary", "free")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


@lru_cache(maxsize=8)
def tet_grid(layout: str, cells: int, box: float = 1.0) -> TetGrid:
    """The grid of `cells` cells along the side `box` (world units) of a cube centered at the origin; cached.

    layout "bcc": body-centered cubic. (n + 1)³ cell corners, then n³ cell centers. Each face between two cells spans an
    octahedron with the two centers, cut into four congruent tetrahedra around the centers' axis (Labelle and Shewchuk,
    Isosurface Stuffing, 2007). Each face on the boundary spans half of one, a pyramid, cut into two tetrahedra by a
    diagonal that alternates like a chessboard. Every tetrahedron has the volume cell³ / 12.
    layout "kuhn": (n + 1)³ corners; each cell is cut into six tetrahedra around the same diagonal.
    The tensors are shared between callers: never write to them.
    """
    if layout not in ("bcc", "kuhn"):
        raise ValueError(f"tet_grid(): expected layout 'bcc' or 'kuhn', got {layout!r}")
    if cells < 1:
        raise ValueError(f"tet_grid(): expected at least one cell, got {cells}")
    if not box > 0:
        raise ValueError(f"tet_grid(): expected a box side above 0, got {box}")
    build = _bcc if layout == "bcc" else _kuhn
    points, tets = build(cells)
    tets = _orient(points, tets)
    return _assemble(points, tets, cells, box, centers=layout == "bcc")


@lru_cache(maxsize=8)
def tet_grid_on(layout: str, cells: int, box: float, device: torch.device) -> TetGrid:
    """`tet_grid` on a device; cached, so the copy is made once."""
    return tet_grid(layout, cells, box).to(device)


def connect(points: np.ndarray, tets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [E, 2] (smaller vertex first, sorted) and tet_edges [T, 6], both int32, of tetrahedra [T, 4].

    points [V, 3]: vertices in half cells, as `_bcc` and `_kuhn` number them: corners in their order, then centers.
    """
    # An edge is its lower vertex and one of a few steps, so a table of both takes the place of a sort.
    number = (points @ _STEP_WEIGHTS).astype(np.int32)
    rank = np.zeros(1 + 2 * _STEPS.max(), np.int32)
    rank[_STEPS] = np.arange(len(_STEPS))  # negative steps count from the table's end
    ends = np.full(len(points) * len(_STEPS), -1, np.int32)
    slots = np.empty((len(tets), 6), np.int32)
    columns = np.ascontiguousarray(tets.T, np.int32)
    numbers = number[columns]
    for edge, (a, b) in enumerate(TET_EDGES):
        ahead = numbers[b] - numbers[a]
        step = np.where(columns[a] < columns[b], ahead, -ahead)
        slot = np.minimum(columns[a], columns[b]) * len(_STEPS) + rank[step]
        ends[slot] = np.maximum(columns[a], columns[b])
        slots[:, edge] = slot
    used = ends >= 0
    edges = np.stack([np.flatnonzero(used) // len(_STEPS), ends[used]], 1).astype(np.int32)
    return edges, (np.cumsum(used, dtype=np.int32) - 1)[slots]


def _bcc(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in half cells [V, 3], 0 … 2·cells, and tetrahedra [T, 4] of either orientation."""
    points = np.concatenate([2 * _cubic(cells + 1), 2 * _cubic(cells) + 1])
    corner = np.arange((cells + 1) ** 3, dtype=np.int32).reshape((cells + 1,) * 3)
    center = np.arange(cells**3, dtype=np.int32).reshape((cells,) * 3) + np.int32((cells + 1) ** 3)
    tets = []
    for axis in range(3):
        # Axis 0 is the face's normal; corners of the square in order around it.
        c, q = np.moveaxis(center, axis, 0), np.moveaxis(corner, axis, 0)
        square = np.stack([q[:, :-1, :-1], q[:, 1:, :-1], q[:, 1:, 1:], q[:, :-1, 1:]], -1)
        inner = square[1:-1]
        sides = np.stack([inner, np.roll(inner, -1, -1)], -1)
        ends = np.broadcast_to(np.stack([c[:-1], c[1:]], -1)[..., None, :], sides.shape)
        tets.append(np.concatenate([ends, sides], -1).reshape(-1, 4))
        tets += [_pyramids(c[0], square[0]), _pyramids(c[-1], square[-1])]
    return points, np.concatenate(tets)


def _pyramids(apex: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Pyramids over a layer of squares [n, n, 4] cut into two tetrahedra each, the diagonal alternating: [2n², 4]."""
    odd = np.indices(apex.shape).sum(0) % 2
    q = np.where(odd[..., None] == 1, np.roll(square, -1, -1), square)
    halves = [
        np.stack([apex, q[..., 0], q[..., 1], q[..., 2]], -1),
        np.stack([apex, q[..., 0], q[..., 2], q[..., 3]], -1),
    ]
    return np.stack(halves, -2).reshape(-1, 4)


def _kuhn(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in half cells [V, 3] and tetrahedra [T, 4] of either orientation: a path of axis steps each."""
    points = 2 * _cubic(cells + 1)
    strides = ((cells + 1) ** 2, cells + 1, 1)
    first = np.arange((cells + 1) ** 3).reshape((cells + 1,) * 3)[:-1, :-1, :-1].ravel()
    paths = [np.cumsum([0, *(strides[axis] for axis in order)]) for order in permutations(range(3))]
    return points, (first[:, None, None] + np.array(paths)).reshape(-1, 4)


def _cubic(side: int) -> np.ndarray:
    """Integer points of a cubic grid [side³, 3], the last coordinate fastest."""
    return np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)


def _orient(points: np.ndarray, tets: np.ndarray) -> np.ndarray:
    """The tetrahedra with the last two vertices swapped where the orientation was negative."""
    x, y, z = np.ascontiguousarray(points.T, np.int32)
    columns = np.ascontiguousarray(tets.T)
    (ax, bx, cx), (ay, by, cy), (az, bz, cz) = (
        component[columns[1:]] - component[columns[0]] for component in (x, y, z)
    )
    negative = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx) < 0
    tets[negative] = tets[negative][:, [0, 1, 3, 2]]
    return tets


def _assemble(points: np.ndarray, tets: np.ndarray, cells: int, box: float, centers: bool) -> TetGrid:
    edges, tet_edges = connect(points, tets)
    # (h − cells) · box / (2 · cells) rounds symmetrically: mirrored vertices have exactly mirrored coordinates.
    positions = ((points - cells) * (box / (2 * cells))).astype(np.float32)
    cell = box / cells
    free = (points > 0) & (points < 2 * cells)
    cubic_grids = [CubicGrid(0, cells + 1, -box / 2, cell)]
    if centers:
        cubic_grids.append(CubicGrid((cells + 1) ** 3, cells, (cell - box) / 2, cell))
    return TetGrid(
        positions=torch.from_numpy(positions),
        tets=torch.from_numpy(tets.astype(np.int32, copy=False)),
        edges=torch.from_numpy(edges),
        tet_edges=torch.from_numpy(tet_edges),
        boundary=torch.from_numpy(~free.all(1)),
        free=torch.from_numpy(free),
        center=int(np.square(points - cells).sum(1).argmin()),
        cell=cell,
        cubic_grids=tuple(cubic_grids),
    )
