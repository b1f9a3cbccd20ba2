"""Cubic grids, for FlexiCubes."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from geometry.tet_grid import CubicGrid


@dataclass(frozen=True)
class CubeGrid:
    """A cubic grid that fills a cube centered at the origin.

    cells: cubes along a side. positions [V, 3] float32, world units, V = (cells + 1)³, the last coordinate fastest.
    edges [E, 2] int32, the smaller vertex first. boundary [V] bool: on the cube's surface. free [V, 3] bool: axes along
    which a vertex may be moved; a boundary vertex slides on the cube's surface. center: the vertex nearest to the
    origin. cell: side of a cell, world units. cubic_grids: the grid itself, see `tet_grid.CubicGrid`.
    """

    cells: int
    positions: Tensor
    edges: Tensor
    boundary: Tensor
    free: Tensor
    center: int
    cell: float
    cubic_grids: tuple[CubicGrid, ...]

    @property
    def num_vertices(self) -> int:
        """V."""
        return self.positions.shape[0]

    def to(self, device: torch.device | str) -> "CubeGrid":
        """The grid on `device`; the same object where it is there already."""
        if self.positions.device == torch.device(device):
            return self
        names = ("positions", "edges", "boundary", "free")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def cube_grid(cells: int, box: float = 1.0) -> CubeGrid:
    """The grid of `cells` cubes along the side `box` (world units)."""
    if cells < 2:
        raise ValueError(f"cube_grid(): expected at least two cells, got {cells}")
    if not box > 0:
        raise ValueError(f"cube_grid(): expected a box side above 0, got {box}")
    side, cell = cells + 1, box / cells
    at = torch.cartesian_prod(*[torch.arange(side)] * 3)
    ids = torch.arange(side**3).view(side, side, side)
    ends = [(ids.narrow(axis, 0, cells), ids.narrow(axis, 1, cells)) for axis in range(3)]
    edges = torch.cat([torch.stack([a.reshape(-1), b.reshape(-1)], 1) for a, b in ends]).int()
    free = (at > 0) & (at < cells)
    # (2h − cells) · box / (2 · cells) rounds symmetrically: mirrored vertices have exactly mirrored coordinates.
    positions = ((2 * at - cells).double() * (box / (2 * cells))).float()
    center = int((2 * at - cells).square().sum(1).argmin())
    return CubeGrid(cells, positions, edges, ~free.all(1), free, center, cell, (CubicGrid(0, side, -box / 2, cell),))


@lru_cache(maxsize=8)
def cube_grid_on(cells: int, box: float, device: torch.device) -> CubeGrid:
    """`cube_grid` on a device; cached, so never write to its tensors."""
    return cube_grid(cells, box).to(device)
