"""Keeping every sample's surface present, closed and in one part."""

import torch
from torch import Tensor

from geometry.tet_grid import TetGrid
from torch_utils.ops.connect_components import connect_components

# Both in lattice cells: how far a repair pushes the SDF past zero, and the least SDF of a sealed boundary vertex
# (above zero, so that the cap has no zero-area triangles; small, so that surfaces near the box hardly move).
PUSH_CELLS = 0.5
SEAL_CELLS = 0.05
# A bridge between two parts is a cell thick; of bridges that cost alike the one over fewer vertices is taken.
BRIDGE_CELLS = 0.5
BRIDGE_STEP_CELLS = 0.05


def empty_samples(sdf: Tensor) -> Tensor:
    """Samples without a sign change: [B] bool. sdf [B, V]; the grid is connected, so these have no surface."""
    inside = sdf < 0
    return ~(inside.any(1) & ~inside.all(1))


def repair_empty(sdf: Tensor, grid: TetGrid) -> tuple[Tensor, Tensor]:
    """Give samples without a surface one; the others pass through untouched, gradient included.

    sdf [B, V], world units. Where all is outside the grid's center is pushed inside, where all is inside the boundary
    is pushed outside, by half a cell; such samples carry no gradient (`regularizers.repair_loss` pulls them back).
    Returns the SDF and the samples concerned, [B] bool; the number of repairs is its sum. No host synchronization.
    """
    empty = empty_samples(sdf)
    push = PUSH_CELLS * grid.cell
    fixed = sdf.detach().clone()
    everywhere = (fixed[:, 0] < 0) & empty
    fixed = torch.where(everywhere[:, None] & grid.boundary, push, fixed)
    nowhere = empty & ~everywhere
    fixed[:, grid.center] = torch.where(nowhere, -push, fixed[:, grid.center])
    return torch.where(empty[:, None], fixed, sdf), empty


def seal_boundary(sdf: Tensor, grid: TetGrid) -> Tensor:
    """Raise the SDF [B, V] of boundary vertices to at least 0.05 cell, so that every surface closes inside the box."""
    return torch.where(grid.boundary, sdf.clamp(min=SEAL_CELLS * grid.cell), sdf)


def join_loose_parts(sdf: Tensor, grid: TetGrid) -> Tensor:
    """Make the inside of every sample [B, V] one connected component (`ops.connect_components`).

    No gradient, and the boundary stays outside: seal first. Cavities stay.
    """
    return connect_components(sdf, grid.edges, grid.boundary, BRIDGE_CELLS * grid.cell, BRIDGE_STEP_CELLS * grid.cell)
