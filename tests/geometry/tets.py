"""Orientation of tetrahedra."""

import torch
from torch import Tensor

from geometry.tet_grid import TetGrid


def tet_volumes(positions: Tensor, tets: Tensor) -> Tensor:
    """Signed volumes [..., T], world units³, of tetrahedra [T, 4] with vertices [..., V, 3]; above 0 if oriented."""
    corner = positions[..., tets[:, 0], :]
    a, b, c = (positions[..., tets[:, k], :] - corner for k in (1, 2, 3))
    return (a * torch.linalg.cross(b, c)).sum(-1) / 6


def flipped_share(grid: TetGrid, positions: Tensor) -> Tensor:
    """Share of tetrahedra that lose their orientation (volume ≤ 0) under moved positions [B, V, 3]: [B], no gradient.

    Only free coordinates count as moved.
    """
    moved = torch.where(grid.free, positions.detach(), grid.positions.to(positions.dtype))
    return (tet_volumes(moved, grid.tets) <= 0).to(positions.dtype).mean(-1)
