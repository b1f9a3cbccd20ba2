"""Volume subdivision: a finer grid near the surface, at inference (Shen et al. 2021, DMTet, section 3.1.2)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geometry.tet_grid import TetGrid, connect

# A tetrahedron with midpoints m01 … m23 (local ids 4 … 9, in the order of tet_edges) leaves four corner tetrahedra and
# an octahedron, which is cut around one of three diagonals; the other four midpoints form the ring around it.
_CORNERS = ((0, 4, 5, 6), (1, 4, 7, 8), (2, 5, 7, 9), (3, 6, 8, 9))
_DIAGONALS = ((4, 9), (5, 8), (6, 7))
_RINGS = ((5, 6, 8, 7), (4, 6, 9, 7), (4, 5, 9, 8))


@dataclass(frozen=True)
class Subdivision:
    """A finer grid and where its vertices come from.

    grid: covers only the neighborhood of the surface, and has no `cubic_grids`. parents [V', 2] int64: each vertex is
    the mean of these two vertices of the coarse grid (twice the same one if the vertex was kept).
    """

    grid: TetGrid
    parents: Tensor

    def interpolate(self, values: Tensor) -> Tensor:
        """Values [..., V] on the coarse grid, interpolated to the fine one: [..., V']."""
        return (values[..., self.parents[:, 0]] + values[..., self.parents[:, 1]]) / 2


def subdivide(grid: TetGrid, sdf: Tensor, positions: Tensor | None = None) -> Subdivision:
    """Split into eight each tetrahedron that the surface of one sample crosses, and each that shares a vertex with one.

    sdf [V]: negative inside. positions [V, 3]: the deformed grid, world units; default the grid's own. The octahedron
    in the middle of each tetrahedron is cut around its shortest diagonal, which keeps the shapes of a body-centered
    cubic grid. With an `interpolate`d SDF the surface stays the same; evaluate the network at the new positions to
    refine it. Repeat for finer grids. Without a surface, the fine grid is empty. Runs on the CPU; the result is on the
    input's device.
    """
    if sdf.shape != (grid.num_vertices,):
        raise ValueError(f"subdivide(): expected sdf [{grid.num_vertices}], got shape {list(sdf.shape)}")
    points = (grid.positions if positions is None else positions.detach()).cpu().double().numpy()
    tets, tet_edges, edges = (table.cpu().numpy() for table in (grid.tets, grid.tet_edges, grid.edges))
    near = _near_surface((sdf.detach() < 0).cpu().numpy(), tets)
    tets, tet_edges = tets[near], tet_edges[near]
    kept, kept_ids = np.unique(tets, return_inverse=True)
    split, split_ids = np.unique(tet_edges, return_inverse=True)
    parents = np.concatenate([np.stack([kept, kept], -1), edges[split]]).astype(np.int64)
    points = points[parents].mean(1)
    local = np.concatenate([kept_ids.reshape(-1, 4), split_ids.reshape(-1, 6) + len(kept)], -1)
    fine = _split(points, local)
    return Subdivision(_grid(grid, points, fine, parents), torch.from_numpy(parents).to(sdf.device))


def _near_surface(inside: np.ndarray, tets: np.ndarray) -> np.ndarray:
    """Tetrahedra with vertices on both sides, and those that share a vertex with one: [T] bool."""
    signs = inside[tets].sum(1)
    touched = np.zeros(len(inside), bool)
    touched[tets[(signs > 0) & (signs < 4)]] = True
    return touched[tets].any(1)


def _split(points: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Eight positively oriented tetrahedra for each row of [T, 10] corners and midpoints: [8T, 4]."""
    corners = local[:, np.array(_CORNERS)].reshape(-1, 4)
    lengths = [np.linalg.norm(points[local[:, a]] - points[local[:, b]], axis=1) for a, b in _DIAGONALS]
    shortest = np.argmin(np.round(np.stack(lengths, -1) / max(float(np.max(lengths, initial=0)), 1e-300), 6), -1)
    diagonal = np.take_along_axis(local, np.array(_DIAGONALS)[shortest], 1)
    ring = np.take_along_axis(local, np.array(_RINGS)[shortest], 1)
    around = np.stack([ring, np.roll(ring, -1, 1)], -1)
    middle = np.concatenate([np.broadcast_to(diagonal[:, None], around.shape), around], -1).reshape(-1, 4)
    tets = np.concatenate([corners, middle])
    p = points[tets]
    a, b, c = (p[:, k] - p[:, 0] for k in (1, 2, 3))
    negative = (a * np.cross(b, c)).sum(-1) < 0
    tets[negative] = tets[negative][:, [0, 1, 3, 2]]
    return tets


def _grid(coarse: TetGrid, points: np.ndarray, tets: np.ndarray, parents: np.ndarray) -> TetGrid:
    edges, tet_edges = connect(tets, len(points))
    free = coarse.free.cpu().numpy()[parents].any(1)
    return TetGrid(
        positions=torch.from_numpy(points.astype(np.float32)),
        tets=torch.from_numpy(tets.astype(np.int32)),
        edges=torch.from_numpy(edges),
        tet_edges=torch.from_numpy(tet_edges),
        boundary=torch.from_numpy(~free.all(1)),
        free=torch.from_numpy(free),
        center=int(np.square(points).sum(1).argmin()) if len(points) else 0,
        cell=coarse.cell / 2,
    ).to(coarse.positions.device)
