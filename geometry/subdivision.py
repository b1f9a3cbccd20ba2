"""Volume subdivision: a tetrahedral grid of half the cell size, near the surface only (Shen et al. 2021, DMTet)."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from geometry.tet_grid import TetGrid, tet_grid
from torch_utils.ops.subdivided_tets import DIAGONALS, FACE_EDGES, SubdivisionTables


@dataclass(frozen=True)
class SubdividedGrid:
    """A tet grid with a vertex at the middle of each edge: V + E vertices, of which only those near a surface are used.

    coarse: the grid. positions [V + E, 3], world units. free [V + E, 3] bool and cell as of `TetGrid`; the cell is half
    of the coarse one. on_box [E] bool: edges on the cube's surface. tables: how each tetrahedron splits into eight.
    """

    coarse: TetGrid
    positions: Tensor
    free: Tensor
    on_box: Tensor
    cell: float
    tables: SubdivisionTables

    @property
    def num_vertices(self) -> int:
        """V + E."""
        return self.positions.shape[0]

    def to(self, device: torch.device | str) -> "SubdividedGrid":
        """The grid on `device`; the same object where it is there already."""
        if self.positions.device == torch.device(device):
            return self
        names = ("tets", "edges", "tet_edges", "tet_faces", "face_edges", "splits")
        tables = replace(self.tables, **{name: getattr(self.tables, name).to(device) for name in names})
        vertices = (self.positions.to(device), self.free.to(device), self.on_box.to(device))
        return SubdividedGrid(self.coarse.to(device), *vertices, self.cell, tables)


def subdivided(grid: TetGrid) -> SubdividedGrid:
    """Every tetrahedron of a grid (on the CPU) split into eight at the middles of its edges.

    The octahedron in the middle of each is cut around its shortest diagonal. A body-centered cubic grid becomes the one
    of half the cell size, except in the layer on the boundary: elsewhere no movement of up to 0.25 of its cells along
    each axis flips a tetrahedron.
    """
    positions = torch.cat([grid.positions, grid.positions[grid.edges].mean(1)])
    of_middle = grid.free[grid.edges].any(1)
    # Edges are numbered by their vertices, so the edges of rising vertices rise, too.
    tets, tet_edges = (np.sort(each.numpy(), axis=1) for each in (grid.tets, grid.tet_edges))
    tet_faces, face_edges = _number_faces(tets, tet_edges, grid.num_vertices)
    splits = _shortest_diagonals(grid.positions.numpy(), grid.edges.numpy(), tet_edges)
    splits += 3 * _odd(grid.tets.numpy())
    tables = SubdivisionTables(
        torch.from_numpy(tets),
        grid.edges,
        torch.from_numpy(tet_edges),
        torch.from_numpy(tet_faces),
        torch.from_numpy(face_edges),
        torch.from_numpy(splits),
        num_vertices=grid.num_vertices,
    )
    free = torch.cat([grid.free, of_middle])
    return SubdividedGrid(grid, positions, free, ~of_middle.all(1), grid.cell / 2, tables)


@lru_cache(maxsize=4)
def subdivided_on(layout: str, cells: int, box: float, device: torch.device) -> SubdividedGrid:
    """`subdivided` of `tet_grid(layout, cells, box)` on a device; cached. Never write to its tensors."""
    return subdivided(tet_grid(layout, cells, box)).to(device)


def _odd(tets: np.ndarray) -> np.ndarray:
    """Whether an odd number of swaps sorts the vertices of tetrahedra [T, 4]: bool [T]."""
    swaps = sum(tets[:, i] > tets[:, j] for i in range(4) for j in range(i + 1, 4))
    return np.asarray(swaps % 2 == 1)


def _number_faces(tets: np.ndarray, tet_edges: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """The face opposite each vertex of tetrahedra [T, 4], and the edges of each face, rising [F, 3]; both int32."""
    opposite = np.array([[j for j in range(4) if j != k] for k in range(4)])
    corners = np.sort(tets[:, opposite].astype(np.int64), axis=-1)
    keys = (corners[..., 0] * num_vertices + corners[..., 1]) * num_vertices + corners[..., 2]
    order = np.argsort(keys, axis=None)
    ordered = keys.ravel()[order]
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    numbers = np.empty(len(ordered), np.int32)
    numbers[order] = np.cumsum(first, dtype=np.int32) - 1
    tet, opposite_vertex = np.divmod(order[first], 4)
    face_edges = tet_edges[tet[:, None], np.array(FACE_EDGES)[opposite_vertex]]
    return numbers.reshape(-1, 4), np.sort(face_edges, axis=-1).astype(np.int32, copy=False)


def _shortest_diagonals(positions: np.ndarray, edges: np.ndarray, tet_edges: np.ndarray) -> np.ndarray:
    """The index into `DIAGONALS` of each tetrahedron's shortest diagonal [T] int32; of equals, the first."""
    middles = positions[edges].mean(1)[tet_edges]
    lengths = np.stack([np.linalg.norm(middles[:, a - 4] - middles[:, b - 4], axis=1) for a, b in DIAGONALS], -1)
    # Rounded, so that lengths that are equal but for rounding count as equal.
    return np.argmin(np.round(lengths / max(float(lengths.max(initial=0)), 1e-300), 6), -1).astype(np.int32)
